"""Text ↔ frozen records: mmCIF, PDB, A3M, Stockholm, FASTA and HHsearch's results.

`structure`, `msa` and `hhr` say what is read; each format has its own reader, `write` the writers.
"""
