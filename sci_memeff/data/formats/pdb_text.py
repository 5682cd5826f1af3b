"""Structures as PDB files, for the programs that read nothing else."""

from __future__ import annotations

import gemmi
import numpy as np

from sci_memeff.chemistry import ATOM37
from sci_memeff.data.formats.labels import author_number, check_finite, three_letters
from sci_memeff.data.formats.structure import Chain, Structure
from sci_memeff.errors import BadDataError

__all__ = ["format_pdb"]

_LIMIT = 9999.0  # Å: eight columns with three decimals and a sign


def format_pdb(structure: Structure) -> str:
    """The text of a PDB file, SEQRES lines and B-factors included.

    Errors: BadDataError for what the format cannot hold: chain names of more than one character
    and coordinates beyond four digits; and as `format_mmcif`.
    """
    built = gemmi.Structure()
    built.name = structure.entry_id
    built.resolution = structure.resolution or 0.0
    if structure.method:
        built.info["_exptl.method"] = structure.method
    model = gemmi.Model(1)
    for chain in structure.chains.values():
        _check_fits_pdb(chain, structure.entry_id)
        model.add_chain(_gemmi_chain(chain, structure.entry_id))
    built.add_model(model)
    built.setup_entities()
    for chain in built[0]:
        entity = built.get_entity_of(chain.get_polymer())
        entity.full_sequence = [three_letters(c) for c in structure.chains[chain.name].sequence]
    return built.make_pdb_string()


def _check_fits_pdb(chain: Chain, source: str) -> None:
    check_finite(chain, source)
    if len(chain.author_id) != 1 or np.abs(chain.positions).max(initial=0) > _LIMIT:
        raise BadDataError(
            f"chain {chain.author_id!r} does not fit into a PDB file",
            source=source,
            mend="write mmCIF: PDB files have one character for a chain and four digits of Å",
        )


def _gemmi_chain(chain: Chain, source: str) -> gemmi.Chain:
    built = gemmi.Chain(chain.author_id)
    for row in np.flatnonzero(chain.mask.any(axis=1)).tolist():
        number, insertion = author_number(chain, row, source)
        residue = gemmi.Residue()
        residue.name = three_letters(chain.sequence[row])
        residue.seqid = gemmi.SeqId(int(number), insertion or " ")
        residue.entity_type = gemmi.EntityType.Polymer
        for column in np.flatnonzero(chain.mask[row]).tolist():
            atom = gemmi.Atom()
            atom.name = ATOM37[column]
            atom.element = gemmi.Element(atom.name[0])
            atom.pos = gemmi.Position(*(float(value) for value in chain.positions[row, column]))
            atom.b_iso = float(chain.b_factors[row, column])
            residue.add_atom(atom)
        built.add_residue(residue)
    return built
