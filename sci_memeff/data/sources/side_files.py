"""Files that a data folder may hold besides structures and alignments, all optional.

chain_data_cache.json   OpenFold's index of chains; what it lists is not read to be listed
clusters.txt            one cluster of chains on each line, names parted by blanks; it may
                        name chains that the folder lacks, which count in the cluster's size
validation.txt          names parted by blanks or lines; these are never trained on
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from sci_memeff.data.files import read_text
from sci_memeff.data.sources.layout import DataFolder
from sci_memeff.data.sources.record import Record, key_of
from sci_memeff.errors import BadDataError

__all__ = ["INDEX", "cluster_sizes", "read_index", "records_to_hold_out"]

INDEX = "chain_data_cache.json"
_CLUSTERS = "clusters.txt"
_VALIDATION = "validation.txt"


def read_index(folder: DataFolder) -> dict[str, Record]:
    """Records by key, from the file that OpenFold's scripts write; empty where there is none."""
    path = folder.root / INDEX
    if not path.is_file():
        return {}
    try:
        chains = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise _bad_index(error.msg, path, line=error.lineno) from None
    if not isinstance(chains, dict):
        raise _bad_index(f"it is a {type(chains).__name__}", path)
    index = {}
    for name, values in chains.items():
        try:
            index[key_of(name)] = _indexed(name, values)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise _bad_index(f"{type(error).__name__}: {error}", path, field=name) from None
    return index


def _bad_index(why: str, path: Path, **place: Any) -> BadDataError:
    return BadDataError(
        f"is no index of chains ({why})",
        source=str(path),
        mend='give {"1ubq_A": {"seq": "MQIF…", "resolution": 1.8, "release_date": '
        '"1987-04-16", "cluster_size": 1}, …}, or remove the file',
        **place,
    )


def _indexed(name: str, values: Mapping[str, Any]) -> Record:
    sequence, released = values["seq"], values.get("release_date")
    resolution = float(values.get("resolution") or 0.0)
    if not (isinstance(sequence, str) and (sequence.isalpha() or not sequence)):
        raise ValueError(f"seq is {sequence!r}")
    if not 0.0 <= resolution < math.inf:
        raise ValueError(f"resolution is {resolution}")
    return Record(
        name,
        sequence,
        resolution or None,  # 0 stands for none
        date.fromisoformat(released) if released else None,
        max(int(values.get("cluster_size", 1)), 1),  # −1 stands for unknown
    )


def cluster_sizes(folder: DataFolder, records: Iterable[Record]) -> dict[str, int]:
    """Chains in the cluster of each chain, by key; nothing where there is no file.

    Errors: BadDataError for a chain of two clusters, and where no cluster has any of `records`.
    """
    path = folder.root / _CLUSTERS
    if not path.is_file():
        return {}
    lines: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        cluster = line.split()
        for name in map(key_of, cluster):
            if name in lines:
                raise BadDataError(
                    f"{name} stands in line {lines[name]} already",
                    source=str(path),
                    line=number,
                    mend="give each chain one cluster, a line of its own",
                )
            lines[name], sizes[name] = number, len(cluster)
    here = [record.name for record in records]
    if here and not any(key_of(name) in sizes for name in here):
        raise BadDataError(
            f"names none of the chains that are here, but {', '.join(list(sizes)[:3])} …",
            source=str(path),
            mend=f"write ENTRY_CHAIN with author chain ids, as in {here[0]}",
        )
    return sizes


def records_to_hold_out(folder: DataFolder, records: Iterable[Record]) -> tuple[Record, ...]:
    """The experiments among `records` that validation.txt names; none where there is no file.

    Errors: BadDataError where it names a chain that is not among them.
    """
    path = folder.root / _VALIDATION
    names = read_text(path).split() if path.is_file() else []
    known = {key_of(record.name): record for record in records if not record.is_distillation}
    if missing := [name for name in names if key_of(name) not in known]:
        raise BadDataError(
            f"names chains that are not there: {', '.join(missing)}",
            source=str(path),
            mend=f"name some of {', '.join([one.name for one in known.values()][:10])}",
        )
    return tuple(known[key_of(name)] for name in dict.fromkeys(names))
