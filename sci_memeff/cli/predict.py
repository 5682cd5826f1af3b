"""`sci-memeff predict`: a structure from a sequence and its alignments."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from sci_memeff.cli.devices import chosen_device
from sci_memeff.cli.failures import readable
from sci_memeff.data.config import DataConfig
from sci_memeff.data.features.pipeline import evaluation_example
from sci_memeff.data.formats.fasta import read_query
from sci_memeff.data.proteins.reading import read_chain, sequence_protein, template_structure
from sci_memeff.data.proteins.record import Protein
from sci_memeff.data.sources.layout import DataFolder
from sci_memeff.errors import BadConfigError, BadDataError
from sci_memeff.training.folder import make_folder
from sci_memeff.training.inference import load_model
from sci_memeff.training.prediction import predict as run_model
from sci_memeff.training.prediction import prediction
from sci_memeff.training.scores import mean_lddt_ca
from sci_memeff.training.structures import write_confidence, write_structures

__all__ = ["EPILOG", "predict"]

EPILOG = """
**Examples**

A protein of the data folder, with the weights of a run, compared with its known structure:

    sci-memeff predict --weights runs/demo --data data --chain 1ubq_A

A sequence with alignments (.a3m, .sto) in a folder, with published weights:

    sci-memeff predict --weights params_model_1_ptm.npz --fasta mine.fasta --alignments DIR

Add --data with mmcif/ where the alignments hold .hhr hits, to use them as templates.

Written to --out: NAME.cif and NAME.pdb (pLDDT as B-factors) and NAME.json (pLDDT per residue,
predicted aligned errors, pTM). The last line printed is JSON.
"""


@readable
def predict(
    weights: Annotated[
        Path,
        typer.Option(
            help="A run folder, one of its checkpoints, an OpenFold .pt, a DeepMind .npz."
        ),
    ],
    fasta: Annotated[Path | None, typer.Option(help="File with one sequence.")] = None,
    alignments: Annotated[
        Path | None, typer.Option(help="Folder of the sequence's .a3m, .sto and .hhr files.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Data folder: of --chain, and of template structures.")
    ] = None,
    chain: Annotated[
        str | None, typer.Option(help="ENTRY_CHAIN of the data folder, in place of --fasta.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("predictions"),
    model: Annotated[
        str | None,
        typer.Option(
            help="Which network a published file is of: model_1 to model_5_ptm (model_1_ptm where "
            "none is named). A run knows its own."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of the rows drawn from the alignments.", min=0)] = 0,
) -> None:
    """Predict a structure from a sequence and its alignments."""
    _check_query(fasta, alignments, data, chain)
    where = chosen_device(device)
    network, config = load_model(weights, model, lambda line: print(line, file=sys.stderr))
    protein = _protein(fasta, alignments, data, chain, config)
    example = evaluation_example(protein, config, seed=seed)
    make_folder(out, mend="name a folder that can be written with --out")
    outputs, features = run_model(network.to(where), example, where)
    found = prediction(protein.name, outputs, features)
    files = [*write_structures(out, found), write_confidence(out / f"{found.name}.json", found)]
    summary: dict[str, object] = {
        "name": found.name,
        "residues": len(found.sequence),
        "plddt": round(float(found.plddt.mean()), 2),
    }
    if found.ptm is not None:
        summary["ptm"] = round(found.ptm, 4)
    if protein.target is not None and math.isfinite(lddt := mean_lddt_ca(outputs, features)):
        summary["lddt_ca"] = round(lddt, 4)
    print(json.dumps(summary | {"files": [str(file) for file in files]}))


def _check_query(
    fasta: Path | None, alignments: Path | None, data: Path | None, chain: str | None
) -> None:
    """Before anything is read: weights are large."""
    if (fasta is None) == (chain is None):
        raise BadConfigError(
            "what to predict is named twice" if fasta else "what to predict is not named",
            mend="give --fasta FILE, or --chain ENTRY_CHAIN with --data DIR",
        )
    if chain is not None and (data is None or alignments is not None):
        raise BadConfigError(
            f"--chain {chain} is read from a data folder, alignments too",
            mend="give --data DIR with mmcif/ and alignments/, and no --alignments",
        )


def _protein(
    fasta: Path | None,
    alignments: Path | None,
    data: Path | None,
    chain: str | None,
    config: DataConfig,
) -> Protein:
    templates = None if data is None else DataFolder(data)
    if chain is not None and templates is not None:
        return read_chain(templates, chain, config)
    assert fasta is not None
    query = read_query(fasta)
    msas, hits = {}, ()
    if alignments is not None:
        folder = DataFolder(alignments, alignment_dir=alignments.absolute().parent)
        msas = folder.msas(alignments.name)
        hits = folder.template_hits(alignments.name)
        if not msas and not hits:
            raise BadDataError(
                "holds no alignment",
                source=str(alignments),
                mend="name the folder with the .a3m, .sto or .hhr files of this sequence, "
                "or leave out --alignments",
            )
    read = None if templates is None else lambda entry: template_structure(templates, entry)
    name = fasta.name.removesuffix(".gz").rpartition(".")[0] or fasta.name
    return sequence_protein(name, query.sequence, config, msas=msas, hits=hits, read=read)
