"""The protein sequences of an mmCIF file, residues without coordinates included."""

from __future__ import annotations

from collections import defaultdict

import gemmi
from Bio.Data.PDBData import protein_letters_3to1_extended

from sci_memeff.chemistry import RESTYPES, THREE_TO_ONE
from sci_memeff.data.formats.assemble import Polymer
from sci_memeff.data.formats.cif_table import columns, values
from sci_memeff.errors import BadDataError

__all__ = ["one_letter", "protein_chains"]

_PROTEIN = "polypeptide(L)"
_POLY = "_entity_poly."
_SEQ = "_entity_poly_seq."


def protein_chains(block: gemmi.cif.Block, *, source: str) -> list[tuple[Polymer, dict[str, int]]]:
    """Each protein chain of the file, with the row of each of its residue numbers (label_seq_id).

    Errors: BadDataError where the file has no sequences, or none of a protein.
    """
    types = columns(block, _POLY, ["entity_id", "type"], source=source)
    proteins = {
        entity for entity, kind in zip(*types, strict=True) if kind.lower() == _PROTEIN.lower()
    }
    residues = _residues(block, source)
    canonical = _canonical(block)
    chains = []
    for label_id, entity in zip(
        *columns(block, "_struct_asym.", ["id", "entity_id"], source=source), strict=True
    ):
        if entity in proteins and residues[entity]:
            numbered = residues[entity]
            components = tuple(numbered[number] for number in sorted(numbered))
            letters = canonical.get(entity, "")
            letters = letters if len(letters) == len(components) else ""
            sequence = "".join(
                one_letter(component, letters[at : at + 1])
                for at, component in enumerate(components)
            )
            rows = {str(number): row for row, number in enumerate(sorted(numbered))}
            chains.append((Polymer(label_id, components, sequence), rows))
    if not chains:
        raise BadDataError(
            f"no protein chain: its polymers are {', '.join(sorted(set(types[1])))}",
            source=source,
            field=_POLY + "type",
            mend=f"give an entry with a polymer of type {_PROTEIN}",
        )
    return chains


def one_letter(component: str, canonical: str = "") -> str:
    """The residue type of a three-letter name: one of the twenty, or X.

    A modified residue is its parent: the letter that the file's canonical sequence gives, or where
    it gives none the PDB's own table of parents (Biopython), which AlphaFold 2 uses.
    """
    letter = THREE_TO_ONE.get(component)
    if letter is None:
        letter = canonical or protein_letters_3to1_extended.get(component, "X")
    return letter if len(letter) == 1 and letter in RESTYPES else "X"


def _residues(block: gemmi.cif.Block, source: str) -> dict[str, dict[int, str]]:
    """Entity → residue number → name; the first name where the number has several."""
    residues: dict[str, dict[int, str]] = defaultdict(dict)
    table = columns(block, _SEQ, ["entity_id", "num", "mon_id"], source=source)
    for entity, number, component in zip(*table, strict=True):
        try:
            residues[entity].setdefault(int(number), component)
        except ValueError:
            raise BadDataError(
                f"{number!r} is no residue number",
                source=source,
                field=_SEQ + "num",
                mend="number the residues of each entity from 1",
            ) from None
    return residues


def _canonical(block: gemmi.cif.Block) -> dict[str, str]:
    """Entity → canonical one-letter sequence, for the entities that have one."""
    entities = values(block, _POLY + "entity_id")
    texts = values(block, _POLY + "pdbx_seq_one_letter_code_can")
    if len(texts) != len(entities):
        return {}
    joined = ("".join(text.split()).upper() for text in texts)
    return dict(zip(entities, joined, strict=True))
