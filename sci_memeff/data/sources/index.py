"""The chains of a data folder and what is known of them before their features are computed.

Files that a folder may hold besides structures and alignments, all optional:

    chain_data_cache.json   OpenFold's index of chains; what it lists is not read to be listed
    clusters.txt            one cluster of chains on each line, names parted by blanks
    validation.txt          names parted by blanks or lines; these are never trained on
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from sci_memeff.data.files import read_text
from sci_memeff.data.formats.structure import Chain, Structure
from sci_memeff.data.sources.layout import DataFolder, split_name
from sci_memeff.errors import BadDataError

__all__ = ["Record", "list_records", "validation_names"]

_INDEX = "chain_data_cache.json"
_CLUSTERS = "clusters.txt"
_VALIDATION = "validation.txt"


@dataclass(frozen=True)
class Record:
    """One chain that could be trained on."""

    name: str
    """ENTRY_CHAIN, or the name of a prediction."""
    sequence: str
    resolution: float | None = None
    """Å."""
    release_date: date | None = None
    cluster_size: int = 1
    """Chains of its cluster, itself counted."""
    is_distillation: bool = False
    """A predicted structure."""


def list_records(folder: DataFolder) -> tuple[list[Record], dict[str, str]]:
    """Every chain of the folder; and the files that cannot be read, with the reason.

    Of an entry that has chains with alignments, those; of another, the first chain of each
    different sequence. Predictions come last. Errors: BadDataError for a bad index.
    """
    index = _read_index(folder)
    unreadable: dict[str, str] = {}
    records = [*_experiments(folder, index, unreadable), *_predictions(folder, index, unreadable)]
    sizes = _cluster_sizes(folder)
    return [
        replace(record, cluster_size=sizes.get(_key(record.name), record.cluster_size))
        for record in records
    ], unreadable


def validation_names(folder: DataFolder) -> tuple[str, ...]:
    """The chains that validation.txt names; none where there is no such file."""
    path = folder.root / _VALIDATION
    return tuple(read_text(path).split()) if path.is_file() else ()


def _experiments(
    folder: DataFolder, index: Mapping[str, Record], unreadable: dict[str, str]
) -> Iterator[Record]:
    aligned: dict[str, list[str]] = defaultdict(list)
    for name in folder.aligned_chains():
        if "_" in name:
            aligned[split_name(name)[0]].append(name)
    listed: dict[str, list[Record]] = defaultdict(list)
    for record in index.values():
        listed[record.name.partition("_")[0].lower()].append(record)
    for entry_id in folder.entries():
        if entry_id in listed:
            keys = {_key(name) for name in aligned[entry_id]}
            yield from (one for one in listed[entry_id] if not keys or _key(one.name) in keys)
            continue
        try:
            structure = folder.structure(entry_id)
        except BadDataError as error:
            unreadable[entry_id] = error.wrong
            continue
        for name in aligned[entry_id] or _different_chains(structure):
            try:
                chain = structure.chain(split_name(name)[1])
            except BadDataError as error:
                unreadable[name] = error.wrong
            else:
                yield _record(name, chain, structure)


def _different_chains(structure: Structure) -> list[str]:
    first: dict[str, str] = {}
    for chain in structure.chains.values():
        first.setdefault(chain.sequence, f"{structure.entry_id}_{chain.author_id}")
    return list(first.values())


def _predictions(
    folder: DataFolder, index: Mapping[str, Record], unreadable: dict[str, str]
) -> Iterator[Record]:
    for name in folder.predictions():
        if _key(name) in index:
            yield replace(index[_key(name)], name=name, is_distillation=True)
            continue
        try:
            structure = folder.prediction(name)
        except BadDataError as error:
            unreadable[name] = error.wrong
            continue
        chain = next(iter(structure.chains.values()))
        yield replace(_record(name, chain, structure), is_distillation=True)


def _record(name: str, chain: Chain, structure: Structure) -> Record:
    return Record(name, chain.sequence, structure.resolution, structure.release_date)


def _read_index(folder: DataFolder) -> dict[str, Record]:
    """Records by key, from the file that OpenFold's scripts write; empty where there is none."""
    path = folder.root / _INDEX
    if not path.is_file():
        return {}
    try:
        items = json.loads(read_text(path)).items()
        return {_key(name): _indexed(name, values) for name, values in items}
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, BadDataError):
            raise
        raise BadDataError(
            f"is no index of chains ({type(error).__name__}: {error})",
            source=str(path),
            mend='give {"1ubq_A": {"seq": "MQIF…", "resolution": 1.8, "release_date": '
            '"1987-04-16", "cluster_size": 1}, …}, or remove the file',
        ) from None


def _indexed(name: str, values: Mapping[str, Any]) -> Record:
    resolution, released = values.get("resolution"), values.get("release_date")
    size = int(values.get("cluster_size", 1))
    return Record(
        name,
        str(values["seq"]),
        float(resolution) if resolution else None,  # 0 stands for none
        date.fromisoformat(released) if released else None,
        max(size, 1),  # −1 stands for unknown
    )


def _cluster_sizes(folder: DataFolder) -> dict[str, int]:
    path = folder.root / _CLUSTERS
    if not path.is_file():
        return {}
    clusters = [line.split() for line in read_text(path).splitlines()]
    return {_key(name): len(cluster) for cluster in clusters for name in cluster}


def _key(name: str) -> str:
    """Entry ids are written in either case, chain ids are not."""
    entry_id, *chain = name.split("_", 1)
    return "_".join([entry_id.lower(), *chain])
