"""`sci-memeff data`: fetch proteins, look at a folder of them, and at the features of one."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from sci_memeff.cli.failures import BAD_INPUT, readable
from sci_memeff.data.config import DataConfig
from sci_memeff.data.features.pipeline import training_example
from sci_memeff.data.filters import split_records
from sci_memeff.data.proteins.reading import read_chain, read_prediction
from sci_memeff.data.sources.fetch import FetchReport, Servers
from sci_memeff.data.sources.fetch import fetch as fetch_all
from sci_memeff.data.sources.index import list_records
from sci_memeff.data.sources.layout import DataFolder
from sci_memeff.data.sources.record import Record
from sci_memeff.data.sources.side_files import records_to_hold_out
from sci_memeff.errors import BadDataError
from sci_memeff.training.presets import preset

__all__ = ["app"]

app = typer.Typer(
    help="Fetch proteins, check a folder of them, look at features.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Folder = Annotated[Path, typer.Argument(help="Folder with mmcif/ and alignments/ENTRY_CHAIN/.")]
SERVERS = Servers()


@app.command(
    epilog="""
**Examples**

    sci-memeff data fetch 1ubq_A 102m_A --to mydata

    sci-memeff data fetch 1ubq 4zey --to mydata     (structures only)

What is there is not fetched again. The last line printed is JSON.
"""
)
@readable
def fetch(
    names: Annotated[
        list[str], typer.Argument(help="1ubq: the entry; 1ubq_A: the chain's alignments as well.")
    ],
    to: Annotated[Path, typer.Option(help="Folder to add to.")] = Path("data"),
    alignments: Annotated[bool, typer.Option(help="Fetch alignments from OpenProteinSet.")] = True,
    entries_from: Annotated[str, typer.Option(help="A mirror of RCSB.")] = SERVERS.entries,
    alignments_from: Annotated[
        str, typer.Option(help="A mirror of OpenProteinSet.")
    ] = SERVERS.alignments,
) -> None:
    """Fetch entries from RCSB and alignments from OpenProteinSet."""

    def tell(name: str, report: FetchReport) -> None:
        print(f"{name}: {report.failed[name].wrong if name in report.failed else 'there'}")

    servers = Servers(entries=entries_from, alignments=alignments_from)
    report = fetch_all(names, to, servers=servers, alignments=alignments, progress=tell)
    for error in report.failed.values():
        print(f"error: {error}", file=sys.stderr)
    counts = {
        "fetched": len(report.fetched),
        "present": len(report.present),
        "absent": len(report.absent),
        "failed": len(report.failed),
    }
    print(json.dumps(counts))
    if report.failed:
        raise typer.Exit(BAD_INPUT)


@app.command("list", epilog="**Example**: `sci-memeff data list data`")
@readable
def list_chains(folder: Folder) -> None:
    """The chains of a folder: what each has, and which are left out and why."""
    data = DataFolder(folder)
    listed, unreadable, unused = list_records(data)
    kept, refused = split_records(listed, DataConfig())
    table = Table("chain", "residues", "resolution, Å", "released", "alignments", "hits")
    for record in kept:
        files = data.alignments(record.name)
        table.add_row(
            record.name,
            str(len(record.sequence)),
            "–" if record.resolution is None else f"{record.resolution:g}",
            "–" if record.release_date is None else str(record.release_date),
            str(len(files.msas)),
            str(len(files.hits)),
        )
    Console().print(table)
    _end(kept, unreadable | refused | unused)


@app.command(epilog="**Example**: `sci-memeff data check data`")
@readable
def check(folder: Folder) -> None:
    """Read every file of a folder as training would; name each that is bad, and the mend.

    Exits with 2 where a file is bad or nothing could be trained on.
    """
    data = DataFolder(folder)
    config = preset("finetuning").data
    listed, bad, unused = list_records(data)
    records_to_hold_out(data, listed)
    kept, refused = split_records(listed, config)
    for record in kept:
        try:
            _features(data, record, config)
        except BadDataError as error:
            bad[record.name] = str(error)
    good = [record for record in kept if record.name not in bad]
    _end(good, bad | refused | unused)
    if bad or not good:
        raise typer.Exit(BAD_INPUT)


@app.command(epilog="**Example**: `sci-memeff data features data 1ubq_A`")
@readable
def features(
    folder: Folder,
    chain: Annotated[str, typer.Argument(help="ENTRY_CHAIN, or the name of a prediction.")],
) -> None:
    """The features of one training example: name, shape and type of each.

    Sizes are those of fine-tuning; the last axis counts passes through the network.
    """
    data = DataFolder(folder)
    is_distillation = chain in data.predictions()
    record = Record(chain, "", is_distillation=is_distillation)
    found = _features(data, record, preset("finetuning").data)
    table = Table("feature", "shape", "type")
    for name, array in found.items():
        table.add_row(name, " × ".join(str(size) for size in array.shape), str(array.dtype))
    Console().print(table)
    size = sum(array.nbytes for array in found.values())
    residues = len(found["aatype"])
    print(json.dumps({"name": chain, "residues": residues, "features": len(found), "bytes": size}))


def _features(data: DataFolder, record: Record, config: DataConfig) -> Mapping:
    read = read_prediction if record.is_distillation else read_chain
    return training_example(read(data, record.name, config), config, seed=0, sample=0).features


def _end(kept: list[Record], dropped: Mapping[str, str]) -> None:
    for name, reason in dropped.items():
        print(f"left out {name}: {reason}")
    if not kept and not dropped:
        print("no structures: put ENTRY.cif into mmcif/ of the folder (sci-memeff data fetch can)")
    residues = sum(len(record.sequence) for record in kept)
    print(json.dumps({"chains": len(kept), "residues": residues, "left_out": len(dropped)}))
