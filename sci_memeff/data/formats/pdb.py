"""PDB files: predicted structures as distillation targets, or any other kept in this format."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import gemmi
import numpy as np

from sci_memeff.data.files import read_text
from sci_memeff.data.formats.assemble import AtomTable, Polymer, build_chain
from sci_memeff.data.formats.polymers import one_letter
from sci_memeff.data.formats.structure import Chain, Structure
from sci_memeff.errors import BadDataError

__all__ = ["parse_pdb", "read_pdb"]

# What each ATOM line must hold as numbers: columns of the format, counted from 0.
_NUMBERS = {
    "x": slice(30, 38),
    "y": slice(38, 46),
    "z": slice(46, 54),
    "occupancy": slice(54, 60),
    "B-factor": slice(60, 66),
}
_MAY_LACK = ("occupancy", "B-factor")


def read_pdb(path: str | Path, *, model: int = 1) -> Structure:
    """The structure in a file (.gz accepted), named for the file; as `parse_pdb`."""
    name = Path(path).name.removesuffix(".gz")
    return parse_pdb(
        read_text(path), source=str(path), entry_id=name.removesuffix(".pdb"), model=model
    )


def parse_pdb(text: str, *, source: str, entry_id: str, model: int = 1) -> Structure:
    """The protein chains of the `model`-th model in the file, from 1.

    The sequence is that of the SEQRES lines where there are any, else the residues that have atoms,
    in order. B-factors are passed on as they are: pLDDT (0 to 100) in predictions. PDB
    files have no label numbering, so a chain's label id is its author id, and they have no release
    date.

    Errors: BadDataError with the line for atoms whose columns are shifted or hold no numbers, for a
    file that ends in an atom, and where the model asked for, or any protein, is missing.
    """
    _check_atoms(text, source)
    _check_end(text, source)
    try:
        # one byte for each character, or the columns behind it would shift
        structure = gemmi.read_pdb_string(text.encode("ascii", "replace").decode())
        structure.setup_entities()
        structure.assign_label_seq_id()
    except (ValueError, RuntimeError, IndexError) as error:
        raise BadDataError(
            f"is not PDB: {error}", source=source, mend="fetch or write the file again"
        ) from None
    if not 1 <= model <= len(structure):
        raise BadDataError(
            f"no model {model}: the file has {len(structure)}",
            source=source,
            mend=f"ask for a model from 1 to {len(structure)}"
            if len(structure)
            else "give a PDB file with ATOM lines",
        )
    chains: dict[str, Chain] = {}
    dropped: Counter[str] = Counter()
    for chain in structure[model - 1]:
        built = _chain(chain, structure)
        if built is not None and built[0].mask.any() and chain.name not in chains:
            chains[chain.name] = built[0]
            dropped += built[1]
    if not chains:
        raise BadDataError(
            "no protein chain with coordinates",
            source=source,
            mend="give a file with the ATOM lines of a protein",
        )
    return Structure(
        entry_id=entry_id,
        chains=chains,
        resolution=structure.resolution or None,
        method=structure.info["_exptl.method"].upper() if "_exptl.method" in structure.info else "",
        num_models=len(structure),
        dropped=dict(dropped),
    )


def _check_atoms(text: str, source: str) -> None:
    """Refuse what gemmi would read as zero."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.startswith(("ATOM", "HETATM")):
            continue
        for name, columns in _NUMBERS.items():
            value = line[columns].strip()
            if name in _MAY_LACK and not value:
                continue
            try:
                float(value)
            except ValueError:
                raise BadDataError(
                    f"{value!r} (columns {columns.start + 1} to {columns.stop}) is no number",
                    source=source,
                    line=number,
                    field=name,
                    mend="keep the columns of the PDB format; fetch or write the file again",
                ) from None


def _check_end(text: str, source: str) -> None:
    """Refuse a model that does not end, and an atom, or the beginning of its line, at the end."""
    lines = text.rstrip().split("\n")
    ends = [at for at, line in enumerate(lines, start=1) if line.startswith(("MODEL ", "ENDMDL"))]
    open_model = ends[-1] if ends and lines[ends[-1] - 1].startswith("MODEL ") else 0
    last = lines[-1]
    in_atom = last != "" and ("HETATM".startswith(last[:6]) or "ATOM".startswith(last[:4]))
    if open_model or in_atom:
        end = "ENDMDL" if open_model else "END"
        raise BadDataError(
            "a model begins and never ends" if open_model else "ends in an atom, not in TER or END",
            source=source,
            line=open_model or len(lines),
            mend=f"fetch or write the file again: it may be cut short; if it is whole, add {end}",
        )


def _chain(chain: gemmi.Chain, structure: gemmi.Structure) -> tuple[Chain, Counter[str]] | None:
    """The protein part of a chain; None where there is none."""
    residues = list(chain.get_polymer())
    if chain.get_polymer().check_polymer_type() != gemmi.PolymerType.PeptideL:
        return None
    entity = structure.get_entity_of(chain.get_polymer())
    full = [gemmi.Entity.first_mon(item) for item in entity.full_sequence] if entity else []
    rows = [residue.label_seq for residue in residues]
    if full and all(row is not None and 1 <= row <= len(full) for row in rows):
        places = [int(row) - 1 for row in rows if row is not None]
    else:
        # dict.fromkeys: two residues of one number are alternatives at one place
        order = {
            number: place for place, number in enumerate(dict.fromkeys(map(_number, residues)))
        }
        places = [order[_number(residue)] for residue in residues]
        full = [""] * len(order)
        for place, residue in zip(reversed(places), reversed(residues), strict=True):
            full[place] = residue.name
    sequence = "".join(map(one_letter, full))
    table = _atoms(residues, places)
    return build_chain(chain.name, Polymer(chain.name, tuple(full), sequence), table)


def _number(residue: gemmi.Residue) -> str:
    return str(residue.seqid)


def _atoms(residues: list[gemmi.Residue], places: list[int]) -> AtomTable:
    pairs = [
        (place, residue, atom)
        for place, residue in zip(places, residues, strict=True)
        for atom in residue
    ]
    return AtomTable(
        residue=np.array([place for place, _, _ in pairs], dtype=np.int64),
        component=np.array([residue.name for _, residue, _ in pairs], dtype=object),
        name=np.array([atom.name for _, _, atom in pairs], dtype=object),
        alternate=np.array([atom.altloc.strip("\0 ") for _, _, atom in pairs], dtype=object),
        occupancy=np.array([atom.occ for _, _, atom in pairs], dtype=np.float64),
        b_factor=np.array([atom.b_iso for _, _, atom in pairs], dtype=np.float64),
        positions=np.array([atom.pos.tolist() for _, _, atom in pairs], np.float64).reshape(-1, 3),
        author_number=np.array([_number(residue) for _, residue, _ in pairs], dtype=object),
    )
