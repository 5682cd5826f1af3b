"""Structures as minimal mmCIF, which our own reader takes back unchanged.

Positions are written to 0.001 Å and B-factors to 0.01, as the PDB writes them. The tables are those
that AlphaFold-class pipelines ask of an entry: the sequence with its unresolved residues, both
numberings, method, resolution and release date.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import gemmi
import numpy as np

from sci_memeff.chemistry import ATOM37
from sci_memeff.data.formats.labels import author_number, check_finite, three_letters
from sci_memeff.data.formats.structure import Structure

__all__ = ["format_mmcif"]


def format_mmcif(structure: Structure, *, plddt: bool = False) -> str:
    """The text of an mmCIF file; with `plddt`, the B-factors are given as confidence as well.

    Confidence is that of a chain's residues (their mean over atoms) and of the whole, in the
    ModelCIF dictionary's ma_qa_metric tables.

    Errors: BadDataError for an atom that is not finite, or an author number that is none.
    """
    document = gemmi.cif.Document()
    block = document.add_new_block("_".join(structure.entry_id.split()) or "unnamed")
    _add_header(block, structure)
    _add_sequences(block, structure)
    _add(block, "atom_site", _ATOM_SITE, _atom_rows(structure))
    if plddt:
        _add_confidence(block, structure)
    return document.as_string(gemmi.cif.WriteOptions(gemmi.cif.Style.Pdbx))


def _add(block: gemmi.cif.Block, category: str, names: str, rows: Iterable[tuple]) -> None:
    """A table of strings and numbers; "" is written as '?'."""
    loop = block.init_mmcif_loop(f"_{category}.", names.split())
    for row in rows:
        loop.add_row([gemmi.cif.quote(str(value)) if value != "" else "?" for value in row])


def _add_header(block: gemmi.cif.Block, structure: Structure) -> None:
    entry = structure.entry_id
    _add(block, "entry", "id", [(entry,)])
    if structure.method:
        methods = structure.method.split(", ")
        _add(block, "exptl", "entry_id method", [(entry, method) for method in methods])
    if structure.resolution is not None:
        _add(block, "refine", "entry_id ls_d_res_high", [(entry, structure.resolution)])
    if structure.release_date is not None:
        names = "ordinal data_content_type major_revision minor_revision revision_date"
        row = (1, "Structure model", 1, 0, structure.release_date.isoformat())
        _add(block, "pdbx_audit_revision_history", names, [row])


def _add_sequences(block: gemmi.cif.Block, structure: Structure) -> None:
    chains = list(structure.chains.values())
    entities = _entities(structure)
    strands = {
        sequence: ",".join(chain.author_id for chain in chains if chain.sequence == sequence)
        for sequence in entities
    }
    _add(block, "entity", "id type", [(entity, "polymer") for entity in entities.values()])
    _add(
        block,
        "entity_poly",
        "entity_id type nstd_linkage nstd_monomer pdbx_seq_one_letter_code "
        "pdbx_seq_one_letter_code_can pdbx_strand_id",
        [
            (entity, "polypeptide(L)", "no", "no", sequence, sequence, strands[sequence])
            for sequence, entity in entities.items()
        ],
    )
    _add(
        block,
        "entity_poly_seq",
        "entity_id num mon_id hetero",
        [
            (entity, number, three_letters(letter), "n")
            for sequence, entity in entities.items()
            for number, letter in enumerate(sequence, start=1)
        ],
    )
    names = sorted({three_letters(letter) for sequence in entities for letter in sequence})
    # OpenFold knows a protein by the word peptide, in small letters as the PDB's entries have it
    kinds = [(n, "peptide linking" if n == "GLY" else "L-peptide linking") for n in names]
    _add(block, "chem_comp", "id type", kinds)
    _add(
        block,
        "struct_asym",
        "id entity_id",
        [(chain.label_id, entities[chain.sequence]) for chain in chains],
    )
    _add(
        block,
        "pdbx_poly_seq_scheme",
        "asym_id entity_id seq_id mon_id auth_seq_num auth_mon_id pdb_strand_id pdb_ins_code "
        "hetero",
        _scheme_rows(structure),
    )


def _entities(structure: Structure) -> dict[str, int]:
    """Sequence → entity, numbered from 1: chains of one sequence are one entity."""
    sequences = dict.fromkeys(chain.sequence for chain in structure.chains.values())
    return {sequence: number for number, sequence in enumerate(sequences, start=1)}


def _scheme_rows(structure: Structure) -> Iterator[tuple]:
    entities = _entities(structure)
    for chain in structure.chains.values():
        for row, letter in enumerate(chain.sequence):
            number, insertion = author_number(chain, row, structure.entry_id)
            name = three_letters(letter)
            yield (
                *(chain.label_id, entities[chain.sequence], row + 1, name),
                *(number, name if number else "", chain.author_id, insertion or ".", "n"),
            )


_ATOM_SITE = (
    "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id "
    "label_entity_id label_seq_id pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy "
    "B_iso_or_equiv auth_seq_id auth_comp_id auth_asym_id auth_atom_id pdbx_PDB_model_num"
)


def _atom_rows(structure: Structure) -> Iterator[tuple]:
    entities = _entities(structure)
    serial = 0
    for chain in structure.chains.values():
        check_finite(chain, structure.entry_id)
        for row, atom in np.argwhere(chain.mask).tolist():
            serial += 1
            number, insertion = author_number(chain, row, structure.entry_id)
            name, three = ATOM37[atom], three_letters(chain.sequence[row])
            # adding zero makes -0.000 plain zero
            xyz = [f"{value:.3f}" for value in np.round(chain.positions[row, atom], 3) + 0.0]
            yield (
                *("ATOM", serial, name[0], name, ".", three),
                *(chain.label_id, entities[chain.sequence], row + 1, insertion, *xyz),
                *("1.00", f"{chain.b_factors[row, atom]:.2f}"),
                *(number, three, chain.author_id, name, 1),
            )


def _add_confidence(block: gemmi.cif.Block, structure: Structure) -> None:
    _add(
        block,
        "ma_qa_metric",
        "id mode name software_group_id type",
        [(1, "global", "pLDDT", "", "pLDDT"), (2, "local", "pLDDT", "", "pLDDT")],
    )
    local = [
        (chain, row, float(chain.b_factors[row][chain.mask[row]].mean()))
        for chain in structure.chains.values()
        for row in range(len(chain))
        if chain.mask[row].any()
    ]
    whole = f"{np.mean([value for _, _, value in local]):.2f}"
    _add(
        block,
        "ma_qa_metric_global",
        "metric_id metric_value model_id ordinal_id",
        [(1, whole, 1, 1)],
    )
    _add(
        block,
        "ma_qa_metric_local",
        "label_asym_id label_comp_id label_seq_id metric_id metric_value model_id ordinal_id",
        [
            (
                chain.label_id,
                three_letters(chain.sequence[row]),
                row + 1,
                2,
                f"{value:.2f}",
                1,
                ordinal,
            )
            for ordinal, (chain, row, value) in enumerate(local, start=1)
        ],
    )
