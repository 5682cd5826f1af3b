"""mmCIF files of the PDB: the protein chains of one model, with the whole of their sequences.

Label numbering (label_asym_id, label_seq_id) decides what is where; author numbering is kept
as names. AlphaFold 2 reads the same items (Supplement 1.2.1).
"""

from __future__ import annotations

from collections import Counter
from datetime import date
from pathlib import Path

import gemmi
import numpy as np

from sci_memeff.data.files import read_text
from sci_memeff.data.formats.assemble import AtomTable, Polymer, build_chain
from sci_memeff.data.formats.cif_table import columns, first_value, numbers, read_block, values
from sci_memeff.data.formats.polymers import protein_chains
from sci_memeff.data.formats.structure import Chain, Structure
from sci_memeff.errors import BadDataError

__all__ = ["parse_mmcif", "read_mmcif"]

# AlphaFold 2 keeps the last that is a number of refine, em, reflns.
_RESOLUTION = (
    "_reflns.d_resolution_high",
    "_em_3d_reconstruction.resolution",
    "_refine.ls_d_res_high",
)
_RELEASE = "_pdbx_audit_revision_history.revision_date"
_PDB_OWN = "_pdbx_database_status."  # a table that every entry of the PDB has, and no model
_SITE = "_atom_site."


def read_mmcif(path: str | Path, *, model: int = 1) -> Structure:
    """The structure in a file (.gz accepted); as `parse_mmcif`."""
    return parse_mmcif(read_text(path), source=str(path), model=model)


def parse_mmcif(text: str, *, source: str, model: int = 1) -> Structure:
    """The protein chains (polypeptide(L)) of the `model`-th model in the file, from 1.

    Atoms that cannot be used are left out and counted in `dropped`; `assemble.build_chain` says
    which of several alternatives is kept. A chain without any coordinates is left out.

    Errors: BadDataError with the line or the item for text that is not mmCIF, cut short, or lacks
    sequence, coordinates, the model asked for or any protein.
    """
    block = read_block(text, _SITE, source=source)
    polymers = protein_chains(block, source=source)
    table = _SiteTable(block, source)
    rows, num_models = table.rows_of_model(model)
    chains, dropped = _chains(polymers, table, rows)
    if not chains:
        raise BadDataError(
            f"no protein chain has coordinates (left out: {dict(dropped) or 'nothing'})",
            source=source,
            field=_SITE + "*",
            mend="fetch the file again, or leave this entry out",
        )
    return Structure(
        entry_id=(first_value(block, "_entry.id") or block.name).lower(),
        chains=chains,
        resolution=_resolution(block),
        release_date=_release_date(block, source),
        method=", ".join(filter(None, values(block, "_exptl.method"))).upper(),
        num_models=num_models,
        dropped=dict(dropped),
    )


def _chains(
    polymers: list[tuple[Polymer, dict[str, int]]], table: _SiteTable, rows: np.ndarray
) -> tuple[dict[str, Chain], Counter[str]]:
    """By author id, what these rows hold of each polymer; and what was left out of them."""
    chains: dict[str, Chain] = {}
    dropped: Counter[str] = Counter()
    for polymer, row_of_number in polymers:
        mine = rows[table.label_asym[rows] == polymer.label_id]
        known = np.array([table.label_seq[row] in row_of_number for row in mine], dtype=bool)
        dropped["a number outside the sequence"] += int((~known).sum())
        mine = mine[known]
        if not len(mine):
            continue
        residue = np.array([row_of_number[table.label_seq[row]] for row in mine], dtype=np.int64)
        author_id = str(table.author_asym[mine[0]])
        chain, left_out = build_chain(author_id, polymer, table.atoms(mine, residue))
        dropped += left_out
        if author_id in chains:
            dropped["a second chain of the same author id"] += int(chain.mask.sum())
        elif chain.mask.any():
            chains[author_id] = chain
    return chains, +dropped


class _SiteTable:
    """The columns of _atom_site that are needed, one entry for each row of the file."""

    def __init__(self, block: gemmi.cif.Block, source: str) -> None:
        names = ["label_asym_id", "label_seq_id", "label_comp_id", "label_atom_id"]
        names += ["Cartn_x", "Cartn_y", "Cartn_z"]
        asym, seq, comp, atom, *xyz = columns(block, _SITE, names, source=source)
        self._block, self._source, self._length = block, source, len(asym)
        self.label_asym = np.array(asym, dtype=object)
        self.label_seq = seq
        # the dictionary's rule: author items that are absent are those of the label
        self.author_asym = self._optional("auth_asym_id", asym)
        author_seq = self._optional("auth_seq_id", seq)
        self._author_number = author_seq + self._optional("pdbx_PDB_ins_code", [""])
        self._component = np.array(comp, dtype=object)
        self._name = np.array(atom, dtype=object)
        self._alternate = self._optional("label_alt_id", [""])
        self._model = self._optional("pdbx_PDB_model_num", ["1"])
        self._occupancy = self._numbers("occupancy", "1")
        self._b_factor = self._numbers("B_iso_or_equiv", "0")
        self._positions = np.stack(
            [
                numbers(column, source=source, field=f"{_SITE}Cartn_{axis}")
                for axis, column in zip("xyz", xyz, strict=True)
            ],
            axis=1,
        )

    def _optional(self, name: str, default: list[str]) -> np.ndarray:
        if values(self._block, _SITE + name):
            default = columns(self._block, _SITE, ["Cartn_x", name], source=self._source)[1]
        elif len(default) == 1:
            default = default * self._length
        return np.array(default, dtype=object)

    def _numbers(self, name: str, default: str) -> np.ndarray:
        column = self._optional(name, [default])
        return numbers(column.tolist(), source=self._source, field=_SITE + name)

    def rows_of_model(self, model: int) -> tuple[np.ndarray, int]:
        """The rows of the `model`-th model, and how many models there are."""
        models = list(dict.fromkeys(self._model))
        if not 1 <= model <= len(models):
            raise BadDataError(
                f"no model {model}: the file has {len(models)}",
                source=self._source,
                field=_SITE + "pdbx_PDB_model_num",
                mend=f"ask for a model from 1 to {len(models)}",
            )
        return np.flatnonzero(self._model == models[model - 1]), len(models)

    def atoms(self, rows: np.ndarray, residue: np.ndarray) -> AtomTable:
        """The atoms of these rows, which stand at these places of the sequence."""
        return AtomTable(
            residue=residue,
            component=self._component[rows],
            name=self._name[rows],
            alternate=self._alternate[rows],
            occupancy=self._occupancy[rows],
            b_factor=self._b_factor[rows],
            positions=self._positions[rows],
            author_number=self._author_number[rows],
        )


def _resolution(block: gemmi.cif.Block) -> float | None:
    for tag in _RESOLUTION:
        number = gemmi.cif.as_number(first_value(block, tag) or "?")
        if np.isfinite(number) and number > 0:
            return float(number)
    return None


def _release_date(block: gemmi.cif.Block, source: str) -> date | None:
    """The earliest revision.

    The PDB writes this table behind the coordinates, so a file that was cut in between lacks it,
    and templates would be let in that are too young.
    """
    try:
        dates = [date.fromisoformat(value) for value in values(block, _RELEASE) if value]
    except ValueError as error:
        raise BadDataError(
            str(error), source=source, field=_RELEASE, mend="write dates as 2024-02-14"
        ) from None
    if not dates and _PDB_OWN in block.get_mmcif_category_names():
        raise BadDataError(
            "has no release date, as every entry of the PDB has",
            source=source,
            field=_RELEASE,
            mend="fetch the file again: it may be cut short, or older than 2017",
        )
    return min(dates, default=None)
