"""From files to a `Protein`: structure, alignments and templates of one chain."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from sci_memeff.data.config import DataConfig
from sci_memeff.data.formats.hhr import TemplateHit
from sci_memeff.data.formats.msa import Msa
from sci_memeff.data.formats.structure import Structure
from sci_memeff.data.proteins.alignment import merge_msas
from sci_memeff.data.proteins.record import Protein, Target, Templates, no_templates
from sci_memeff.data.proteins.template_search import Query, ReadStructure, find_templates
from sci_memeff.data.sources.layout import DataFolder, split_name
from sci_memeff.errors import BadDataError

__all__ = ["read_chain", "read_prediction", "sequence_protein", "template_structure"]

_log = logging.getLogger(__name__)


def template_structure(folder: DataFolder, entry_id: str) -> Structure | None:
    """The structure of an entry, None where the folder has no file of it."""
    try:
        folder.mmcif_path(entry_id)
    except BadDataError:
        return None
    return folder.structure(entry_id)


def read_chain(
    folder: DataFolder, name: str, config: DataConfig, *, read: ReadStructure | None = None
) -> Protein:
    """The measured chain ENTRY_CHAIN; `read` finds template structures, by default in `folder`.

    Errors: BadDataError of the parsers, for an unknown chain, and where an alignment is not of
    the chain's sequence.
    """
    entry_id, author_id = split_name(name)
    structure = folder.structure(entry_id)
    chain = structure.chain(author_id)
    query = Query(chain.sequence, structure.entry_id, structure.release_date)
    target = Target(chain.positions, chain.mask, structure.resolution or 0.0)
    return replace(_protein(folder, name, query, config, read), target=target)


def read_prediction(
    folder: DataFolder, name: str, config: DataConfig, *, read: ReadStructure | None = None
) -> Protein:
    """The predicted structure of that name, as a target to distil from.

    Residues whose pLDDT is below `distillation_plddt` have no atoms (Supplement 1.3). Errors:
    BadDataError as `read_chain`, and where no residue is left.
    """
    chain = folder.prediction(name)
    confident = (chain.b_factors >= config.distillation_plddt) & chain.mask
    mask = chain.mask & confident.any(axis=1, keepdims=True)
    if not mask.any():
        raise BadDataError(
            f"no residue has a pLDDT of {config.distillation_plddt:g} or more "
            f"(the highest is {chain.b_factors.max():g})",
            source=str(folder.prediction_path(name)),
            field="B-factor",
            mend="give pLDDT from 0 to 100 in the B-factor column, or take this prediction away",
        )
    positions = np.where(mask[..., None], chain.positions, np.float32(0.0))
    target = Target(positions, mask, is_distillation=True)
    protein = _protein(folder, name, Query(chain.sequence), config, read)
    return replace(protein, target=target)


def sequence_protein(
    name: str,
    sequence: str,
    config: DataConfig,
    *,
    msas: Mapping[str, Msa] | None = None,
    hits: Sequence[TemplateHit] = (),
    read: ReadStructure | None = None,
) -> Protein:
    """A protein of which nothing but the sequence need be known, to predict its structure.

    `msas` are keyed by file name, `read` finds the structures of the `hits`. Errors: BadDataError
    for a sequence that has other characters than capitals, or none.
    """
    if not (sequence.isascii() and sequence.isalpha() and sequence.isupper()):
        raise BadDataError(
            f"the sequence is {sequence[:30]!r}",
            source=name,
            mend="give one-letter codes in capitals, X for unknown residues",
        )
    templates = no_templates(len(sequence))
    if hits and read is not None and config.max_templates:
        templates = _templates(name, Query(sequence), hits, read, config)
    return Protein(name, sequence, merge_msas(sequence, msas or {}), templates)


def _protein(
    folder: DataFolder,
    name: str,
    query: Query,
    config: DataConfig,
    read: ReadStructure | None,
) -> Protein:
    """What a folder holds of a chain besides its structure."""

    def read_from_folder(entry_id: str) -> Structure | None:
        return template_structure(folder, entry_id)

    templates = no_templates(len(query.sequence))
    if config.max_templates:
        hits = folder.template_hits(name)
        templates = _templates(name, query, hits, read or read_from_folder, config)
    alignment = merge_msas(query.sequence, folder.msas(name))
    return Protein(name, query.sequence, alignment, templates)


def _templates(
    name: str,
    query: Query,
    hits: Sequence[TemplateHit],
    read: ReadStructure,
    config: DataConfig,
) -> Templates:
    """The usable hits; the log is told of the others."""
    search = find_templates(query, hits, read, config)
    for hit, reason in search.refused.items():
        _log.info("%s: %s is no template: %s", name, hit, reason)
    return search.templates
