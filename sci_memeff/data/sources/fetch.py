"""Entries from RCSB and alignments from OpenProteinSet, into the layout of `DataFolder`.

What is there already is not fetched again, so a fetch that was broken off goes on where it was.
Each file is read before it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sci_memeff.data.files import decode
from sci_memeff.data.formats.a3m import parse_a3m
from sci_memeff.data.formats.hhr import parse_hhr
from sci_memeff.data.formats.mmcif import parse_mmcif
from sci_memeff.data.sources.download import NotFoundError, download
from sci_memeff.data.sources.layout import split_name
from sci_memeff.errors import BadDataError

__all__ = ["FetchReport", "Servers", "fetch", "fetch_alignments", "fetch_entry"]

# What OpenProteinSet has below each ENTRY_CHAIN.
_ALIGNMENTS = (
    "a3m/bfd_uniclust_hits.a3m",
    "a3m/mgnify_hits.a3m",
    "a3m/uniref90_hits.a3m",
    "hhr/pdb70_hits.hhr",
)


@dataclass(frozen=True)
class Servers:
    """Where to fetch from; a mirror takes the place of either."""

    entries: str = "https://files.rcsb.org/download"
    """Has ENTRY.cif.gz."""
    alignments: str = "https://openfold.s3.amazonaws.com/pdb"
    """Has ENTRY_CHAIN/a3m/*.a3m and ENTRY_CHAIN/hhr/*.hhr."""
    timeout: float = 60.0
    """Seconds without an answer."""


@dataclass
class FetchReport:
    """What became of the names asked for."""

    fetched: list[Path] = field(default_factory=list)
    present: list[Path] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    """Addresses of searches that OpenProteinSet lacks for a chain of which it has others."""
    failed: dict[str, BadDataError] = field(default_factory=dict)
    """Name → why."""

    def add(self, path: Path, *, was_there: bool) -> None:
        """Count a file that is there now."""
        (self.present if was_there else self.fetched).append(path)


def fetch(
    names: Iterable[str],
    root: str | Path,
    *,
    servers: Servers | None = None,
    alignments: bool = True,
    progress: Callable[[str, FetchReport], None] | None = None,
) -> FetchReport:
    """Fetch entries ("1ubq") and chains ("1ubq_A": the entry, and the chain's alignments).

    A name that fails does not stop the others: it is in the report. `progress` is called after
    each name.
    """
    servers = servers or Servers()
    report = FetchReport()
    for name in names:
        try:
            entry_id = split_name(name)[0] if "_" in name else name.lower()
            fetch_entry(entry_id, root, servers=servers, report=report)
            if alignments and "_" in name:
                fetch_alignments(name, root, servers=servers, report=report)
        except BadDataError as error:
            report.failed[name] = error
        if progress is not None:
            progress(name, report)
    return report


def fetch_entry(
    entry_id: str,
    root: str | Path,
    *,
    servers: Servers | None = None,
    report: FetchReport | None = None,
) -> Path:
    """Fetch root/mmcif/ENTRY.cif.gz, unless the entry is there.

    Errors: BadDataError for a name that is no PDB id, for what `download` refuses, and for a file
    that does not read as an entry with protein.
    """
    servers, report = servers or Servers(), report or FetchReport()
    entry_id = entry_id.lower()
    if not (entry_id.isascii() and entry_id.isalnum()):
        raise BadDataError(
            f"{entry_id!r} is no PDB id", source=entry_id, mend="give four letters, as in 1ubq"
        )
    plain = Path(root) / "mmcif" / f"{entry_id}.cif"
    path = plain.with_suffix(".cif.gz")
    there = next((file for file in (plain, path) if file.is_file()), None)
    if there is None:
        address = f"{servers.entries.rstrip('/')}/{entry_id}.cif.gz"
        download(
            address,
            path,
            check=lambda raw: parse_mmcif(decode(raw, source=address), source=address),
            timeout=servers.timeout,
        )
    report.add(there or path, was_there=there is not None)
    return there or path


def fetch_alignments(
    name: str,
    root: str | Path,
    *,
    servers: Servers | None = None,
    report: FetchReport | None = None,
) -> tuple[Path, ...]:
    """Fetch root/alignments/ENTRY_CHAIN/*, the searches of OpenProteinSet that are not there.

    Errors: BadDataError as `fetch_entry`. OpenProteinSet keeps one chain of each sequence; where
    this one is not it, the error says so.
    """
    servers, report = servers or Servers(), report or FetchReport()
    name = "_".join(split_name(name))
    if not (name.isascii() and name.replace("_", "").isalnum()):
        raise BadDataError(
            f"{name!r} is no chain name", source=name, mend="write ENTRY_CHAIN, as in 1ubq_A"
        )
    base = f"{servers.alignments.rstrip('/')}/{name}"
    paths, absent = [], []
    for file in _ALIGNMENTS:
        path = Path(root) / "alignments" / name / Path(file).name
        was_there = path.is_file()
        try:
            if not was_there:
                _fetch_alignment(f"{base}/{file}", path, servers.timeout)
        except NotFoundError:
            absent.append(f"{base}/{file}")
        else:
            report.add(path, was_there=was_there)
            paths.append(path)
    if not paths:
        raise NotFoundError(
            f"no alignments of {name} (404)",
            source=base,
            mend="OpenProteinSet has one chain of each sequence: its duplicate_pdb_chains.txt "
            "names the one that stands for yours; or go on without alignments",
        )
    report.absent += absent
    return tuple(paths)


def _fetch_alignment(address: str, path: Path, timeout: float) -> None:
    parse = parse_hhr if path.suffix == ".hhr" else parse_a3m
    download(
        address,
        path,
        check=lambda raw: parse(decode(raw, source=address), source=address),
        timeout=timeout,
    )
