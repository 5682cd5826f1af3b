"""Where proteins come from: a folder, the index of its chains, the servers that fill it."""
