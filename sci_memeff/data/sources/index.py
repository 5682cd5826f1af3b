"""The chains of a data folder and what is known of them before their features are computed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from sci_memeff.data.formats.structure import Structure
from sci_memeff.data.sources.layout import DataFolder, split_name
from sci_memeff.data.sources.record import Record, key_of
from sci_memeff.data.sources.side_files import INDEX, cluster_sizes, read_index
from sci_memeff.errors import BadDataError

__all__ = ["Listing", "Record", "list_records"]


class Listing(NamedTuple):
    """The chains of a folder, and by name why others are not among them."""

    records: list[Record]
    unreadable: dict[str, str]
    """Entries, chains and predictions whose files are bad."""
    unused: dict[str, str]
    """Alignments that belong to none of these."""


def list_records(folder: DataFolder) -> Listing:
    """Every chain of the folder.

    Of an entry that has chains with alignments, those; of another, the first chain of each
    different sequence. Predictions come last. Errors: BadDataError for a bad index or clusters.
    """
    index = read_index(folder)
    unreadable: dict[str, str] = {}
    records = [*_experiments(folder, index, unreadable), *_predictions(folder, index, unreadable)]
    sizes = cluster_sizes(folder, records)
    records = [
        replace(record, cluster_size=sizes.get(key_of(record.name), record.cluster_size))
        for record in records
    ]
    return Listing(records, unreadable, _unused(folder, records, unreadable))


def _experiments(
    folder: DataFolder, index: Mapping[str, Record], unreadable: dict[str, str]
) -> Iterator[Record]:
    aligned: dict[str, list[str]] = defaultdict(list)
    for name in folder.aligned_chains():
        entry_id, _, author_id = name.partition("_")
        if author_id:
            aligned[entry_id.lower()].append(name)
    listed: dict[str, list[Record]] = defaultdict(list)
    for record in index.values():
        listed[record.name.partition("_")[0].lower()].append(record)
    for entry_id in folder.entries():
        if entry_id in listed:
            keys = {key_of(name) for name in aligned[entry_id]}
            yield from (one for one in listed[entry_id] if not keys or key_of(one.name) in keys)
            continue
        try:
            structure = folder.structure(entry_id)
        except BadDataError as error:
            unreadable[entry_id] = str(error)
            continue
        for name in aligned[entry_id] or _different_chains(structure):
            try:
                chain = structure.chain(split_name(name)[1])
            except BadDataError as error:
                unreadable[name] = str(error)
            else:
                yield Record(name, chain.sequence, structure.resolution, structure.release_date)


def _different_chains(structure: Structure) -> list[str]:
    first: dict[str, str] = {}
    for chain in structure.chains.values():
        first.setdefault(chain.sequence, f"{structure.entry_id}_{chain.author_id}")
    return list(first.values())


def _predictions(
    folder: DataFolder, index: Mapping[str, Record], unreadable: dict[str, str]
) -> Iterator[Record]:
    for name in folder.predictions():
        if key_of(name) in index:
            yield replace(index[key_of(name)], name=name, is_distillation=True)
            continue
        try:
            chain = folder.prediction(name)
        except BadDataError as error:
            unreadable[name] = str(error)
        else:
            yield Record(name, chain.sequence, is_distillation=True)


def _unused(
    folder: DataFolder, records: Iterable[Record], unreadable: Mapping[str, str]
) -> dict[str, str]:
    """Why folders of alignments belong to no chain; those of unreadable files are named already."""
    used = {key_of(record.name) for record in records}
    used |= {key_of(name) for name in unreadable}
    entries = set(folder.entries())
    reasons = {}
    for name in folder.aligned_chains():
        entry_id = name.partition("_")[0].lower()
        if key_of(name) in used or entry_id in unreadable:
            continue
        if entry_id not in entries:
            reason = f"has alignments and no structure: {entry_id}.cif is not in {folder.mmcif_dir}"
        elif key_of(name) == entry_id or name.endswith("_"):
            reason = "has alignments and is no chain: the folder's name must be ENTRY_CHAIN"
        else:
            reason = f"has alignments and is not in {INDEX}"
        reasons[name] = reason
    return reasons
