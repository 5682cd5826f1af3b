"""`sci-memeff predict`: from a chain and from a sequence, and what is refused."""

import json

import pytest
from typer.testing import CliRunner

from sci_memeff.cli import predict as command
from sci_memeff.cli.main import app
from sci_memeff.data.config import DataConfig
from sci_memeff.data.formats.mmcif import read_mmcif

SEQUENCE = "MKVIFLKDVKGMGKKGEIK"


def predict(*args: object):
    return CliRunner().invoke(app, ["predict", *map(str, args)])


@pytest.fixture(scope="module")
def weights(tmp_path_factory, data, tiny):
    out = tmp_path_factory.mktemp("predict") / "run"
    args = ["train", "--data", data, "--out", out, "--config", tiny, "--steps", 1]
    result = CliRunner().invoke(app, list(map(str, args)))
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture
def fasta(tmp_path):
    path = tmp_path / "mine.fasta"
    path.write_text(f">mine\n{SEQUENCE}\n")
    return path


def test_chain_of_a_data_folder_is_scored(tmp_path, weights, data):
    result = predict("--weights", weights, "--data", data, "--chain", "1psm_A", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.splitlines()[-1])
    assert (found["name"], found["residues"]) == ("1psm_A", 38)
    assert 0.0 <= found["lddt_ca"] <= 1.0
    assert [tmp_path / f"1psm_A.{end}" for end in ("cif", "pdb", "json")] == sorted(
        tmp_path.iterdir(), key=lambda path: ("cif", "pdb", "json").index(path.suffix[1:])
    )
    assert len(json.loads((tmp_path / "1psm_A.json").read_text())["plddt"]) == 38


def test_sequence_with_alignments_is_predicted(tmp_path, weights, fasta):
    folder = tmp_path / "alignments_of_mine"
    folder.mkdir()
    (folder / "hits.a3m").write_text(f">mine\n{SEQUENCE}\n>other\n{SEQUENCE.replace('V', 'L')}\n")
    checkpoint = weights / "checkpoints" / "step-00000001"
    args = ["--weights", checkpoint, "--fasta", fasta, "--out", tmp_path / "out"]
    alone, aligned = predict(*args), predict(*args, "--alignments", folder)
    assert alone.exit_code == aligned.exit_code == 0, aligned.output
    one, two = (json.loads(result.stdout.splitlines()[-1]) for result in (alone, aligned))
    assert one["residues"] == two["residues"] == len(SEQUENCE)
    assert "lddt_ca" not in two
    chain = read_mmcif(tmp_path / "out" / "mine.cif").chain("A")
    assert chain.sequence == SEQUENCE


def test_alignments_reach_the_features(tmp_path, fasta):
    folder = tmp_path / "of_mine"
    folder.mkdir()
    (folder / "hits.a3m").write_text(f">mine\n{SEQUENCE}\n>other\n{SEQUENCE.replace('V', 'L')}\n")
    protein = command._protein(fasta, folder, None, None, DataConfig())
    assert protein.alignment.msa.shape == (2, len(SEQUENCE))
    assert protein.name == "mine"


def test_data_folder_gives_the_templates(tmp_path, data, fasta, monkeypatch):
    given = {}
    make = command.sequence_protein

    def noted(*args, **options):
        given.update(options)
        return make(*args, **options)

    monkeypatch.setattr(command, "sequence_protein", noted)
    command._protein(fasta, None, data, None, DataConfig())
    assert given["read"]("1ubq").entry_id == "1ubq"
    command._protein(fasta, None, None, None, DataConfig())
    assert given["read"] is None


def test_seed_draws_other_rows(tmp_path, weights, fasta, monkeypatch):
    seeds = []
    example = command.evaluation_example

    def noted(protein, config, *, seed):
        seeds.append(seed)
        return example(protein, config, seed=seed)

    monkeypatch.setattr(command, "evaluation_example", noted)
    args = ["--weights", weights, "--fasta", fasta, "--out", tmp_path / "out"]
    assert predict(*args).exit_code == predict(*args, "--seed", 5).exit_code == 0
    assert seeds == [0, 5]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "what to predict is not named"),
        (["--fasta", "a", "--chain", "1ubq_A"], "what to predict is named twice"),
        (["--chain", "1ubq_A"], "give --data DIR"),
        (["--fasta", "nowhere.fasta"], "nowhere.fasta: cannot be read"),
        (["--fasta", "nowhere.fasta", "--device", "tpu"], "--device 'tpu' is no"),
    ],
)
def test_what_cannot_be_done_is_said(weights, args, message):
    result = predict("--weights", weights, *args)
    assert result.exit_code == 2
    assert message in result.stderr


def test_question_is_read_before_the_weights():
    result = predict("--weights", "nowhere", "--chain", "1ubq_A")
    assert result.exit_code == 2
    assert "give --data DIR" in result.stderr


def test_folder_without_alignments_is_refused(tmp_path, weights, fasta):
    (tmp_path / "none").mkdir()
    args = ["--weights", weights, "--fasta", fasta, "--out", tmp_path / "out"]
    result = predict(*args, "--alignments", tmp_path / "none")
    assert result.exit_code == 2
    assert "none: holds no alignment" in result.stderr
    assert "mend: name the folder with the .a3m" in result.stderr
    assert not (tmp_path / "out").exists()


def test_folder_that_cannot_be_written_is_said(weights, fasta):
    result = predict("--weights", weights, "--fasta", fasta, "--out", fasta / "out")
    assert result.exit_code == 2
    assert "mend: name a folder that can be written with --out" in result.stderr


def test_unknown_network_and_unknown_weights_are_refused(fasta, tmp_path):
    result = predict("--weights", "params.npz", "--model", "model_9", "--fasta", fasta)
    assert result.exit_code == 2
    assert "no published model 'model_9'" in result.stderr
    result = predict("--weights", tmp_path, "--fasta", fasta)
    assert result.exit_code == 2
    assert "a folder without checkpoints" in result.stderr
