"""Residue types, their names, and the tokens of an alignment.

The order of the types is that of their three-letter names; AlphaFold 2's features, weights and
every table of this package are indexed by it.
"""

from __future__ import annotations

import numpy as np

from sci_memeff.chemistry.frozen import frozen

__all__ = [
    "MSA_ALPHABET",
    "MSA_GAP",
    "MSA_MASKED",
    "MSA_TOKEN",
    "NUM_MSA_TOKENS",
    "NUM_RESTYPES",
    "ONE_TO_THREE",
    "RESTYPES",
    "RESTYPE_INDEX",
    "THREE_LETTERS",
    "THREE_TO_ONE",
    "UNKNOWN",
]

RESTYPES = "ARNDCQEGHILKMFPSTWYV"
_NAMES = "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL"
THREE_LETTERS = tuple(_NAMES.split())
RESTYPE_INDEX = {letter: index for index, letter in enumerate(RESTYPES)}
UNKNOWN = len(RESTYPES)  # every residue that is none of the twenty, written X
NUM_RESTYPES = len(RESTYPES) + 1

ONE_TO_THREE = dict(zip(RESTYPES, THREE_LETTERS, strict=True))
# Selenomethionine is a methionine grown for phasing; AlphaFold 2 reads it as one.
THREE_TO_ONE = dict(zip(THREE_LETTERS, RESTYPES, strict=True)) | {"MSE": "M"}

MSA_ALPHABET = RESTYPES + "X-"
MSA_GAP = MSA_ALPHABET.index("-")
MSA_MASKED = len(MSA_ALPHABET)  # stands where a letter was hidden for the masked-MSA loss
NUM_MSA_TOKENS = len(MSA_ALPHABET) + 1

# Codes for two amino acids that sequencing cannot tell apart, and rare ones: HHblits' reading.
_READ_AS = {"B": "D", "Z": "E", "J": "X", "O": "X", "U": "C", ".": "-"}


def _msa_tokens() -> np.ndarray:
    tokens = np.full(256, UNKNOWN)
    for token, letter in enumerate(MSA_ALPHABET):
        tokens[ord(letter)] = token
    for letter, reading in _READ_AS.items():
        tokens[ord(letter)] = MSA_ALPHABET.index(reading)
    return tokens


MSA_TOKEN = frozen(_msa_tokens(), np.uint8)
"""Token of an aligned letter, by its ASCII code: upper case only, insertions taken out before."""
