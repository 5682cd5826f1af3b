"""All that the files say of one chain, as one `Protein`; nothing random happens here."""
