"""The loop with the real network, losses and bundled proteins, as small as they go."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch

from sci_memeff import Plan
from sci_memeff.alphafold.config import ModelConfig
from sci_memeff.alphafold.losses import AlphaFoldLoss
from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.data.config import DataConfig
from sci_memeff.data.features.pipeline import training_example
from sci_memeff.data.proteins.reading import read_chain, read_prediction
from sci_memeff.data.sources.layout import DataFolder
from sci_memeff.errors import BadDataError
from sci_memeff.precision import RECIPES
from sci_memeff.training import preset, train_alphafold
from sci_memeff.training.config import RecipeName
from sci_memeff.training.inference import load_model
from sci_memeff.training.presets import Preset
from sci_memeff.training.randomness import sown
from sci_memeff.training.reports import Silent
from sci_memeff.training.step import Trainer

DATA = Path(__file__).parents[2] / "data"

MODEL = ModelConfig(
    c_m=16,
    c_z=8,
    c_s=16,
    c_e=8,
    c_t=8,
    num_evoformer_blocks=1,
    num_extra_msa_blocks=1,
    num_template_blocks=1,
    num_structure_iterations=2,
    num_heads_msa=2,
    num_heads_pair=2,
    num_heads_ipa=2,
    c_hidden_msa=4,
    c_hidden_extra_msa=4,
    c_hidden_opm=4,
    c_hidden_triangle_multiplication=8,
    c_hidden_triangle_attention=4,
    c_hidden_template_attention=4,
    c_hidden_template_multiplication=8,
    c_hidden_ipa=4,
    c_resnet=8,
    c_plddt=8,
)


def tiny(steps: int) -> Preset:
    """Dropout, recycling, templates and every loss, at sizes of a few."""
    base = preset("finetuning")
    return Preset(
        name="tiny",
        model=MODEL,
        data=replace(
            DataConfig(),
            crop_size=20,
            max_msa_clusters=4,
            max_extra_msa=4,
            max_templates=1,
            max_recycling=1,
        ),
        loss=base.loss,
        optimizer=replace(base.optimizer, batch_size=2),
        run=replace(base.run, steps=steps, workers=0, checkpoint_every=2, validate_every=0),
    )


def losses(folder: Path) -> list[str]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [row["loss"] for row in csv.DictReader(file)]


class Cut(Silent):
    def stepped(self, report) -> None:
        if report.step == 3:
            raise RuntimeError("power cut")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alphafold") / "run"
    fitted = train_alphafold(tiny(4), DATA, folder)
    assert fitted.summary is not None
    assert len(fitted.scores) == fitted.summary.proteins == 5
    assert fitted.summary.lddt_ca is not None
    assert 0.0 < fitted.summary.lddt_ca < 1.0
    return folder


def test_run_cut_short_resumes_bit_for_bit(run, tmp_path):
    with pytest.raises(RuntimeError, match="power cut"):
        train_alphafold(tiny(4), DATA, tmp_path, reporter=Cut())
    train_alphafold(tiny(4), DATA, tmp_path, resume=True)
    assert losses(tmp_path) == losses(run)
    assert len(set(losses(run))) == 4


def test_kept_files_change_no_number(run, tmp_path):
    settings = tiny(4)
    cached = replace(settings, run=replace(settings.run, cache_dir=str(tmp_path / "cache")))
    train_alphafold(cached, DATA, tmp_path / "run")
    assert losses(tmp_path / "run") == losses(run)
    assert list((tmp_path / "cache").iterdir())


@pytest.mark.data
@pytest.mark.parametrize("name", ["102m_A", "5zyh_A", "7zzx_B", "8f9h_A", "2q2k_A", "6kwc_A"])
def test_real_protein_makes_an_update(real_data, name):
    folder = DataFolder(real_data)
    read = read_prediction if name == "6kwc_A" else read_chain
    settings = replace(tiny(1), data=replace(tiny(1).data, crop_size=48))
    example = training_example(read(folder, name, settings.data), settings.data, seed=0, sample=0)
    config = replace(settings.optimizer, batch_size=1)
    with sown(0):
        model = AlphaFold(settings.model)
    trainer = Trainer(
        model, AlphaFoldLoss(settings.loss), config, seed=0, device=torch.device("cpu")
    )
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = trainer.advance(iter([(0, example)]), lambda: False)
    assert report is not None
    assert report.updated, report.problem
    assert report.names == (name,)
    assert any(not torch.equal(model.state_dict()[key], value) for key, value in before.items())


def test_chains_left_out_are_named_and_counted(tmp_path):
    class Heard(Silent):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def noted(self, line: str) -> None:
            self.lines.append(line)

    settings = replace(tiny(1), data=replace(tiny(1).data, max_length=40))
    train_alphafold(settings, DATA, tmp_path, reporter=(heard := Heard()))
    assert "left out 1ubq_A: it has 76 residues, more than 40" in heard.lines
    assert sum(line.startswith("left out") for line in heard.lines) == 4


def test_predicted_structures_are_written(run):
    assert len(list((run / "structures").glob("*.cif"))) == 5
    assert len(list((run / "structures").glob("*.pdb"))) == 5


def test_weights_of_a_run_start_another(run, tmp_path):
    model, data = load_model(run, None, pytest.fail)
    assert data.crop_size == 20
    assert not model.training
    other = replace(tiny(1), optimizer=replace(tiny(1).optimizer, learning_rate=1e-12))
    fitted = train_alphafold(other, DATA, tmp_path, weights=run)
    trained = fitted.trainer.model.state_dict()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(trained[name], tensor, atol=1e-9, rtol=0.0)


def test_folder_without_proteins_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadDataError, match="nothing to train on"):
        train_alphafold(tiny(1), tmp_path / "empty", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_in_a_recipe_is_planned_in_it_and_resumed_in_it(tmp_path):
    settings = tiny(2)
    settings = replace(settings, run=replace(settings.run, recipe="bf16"))
    train_alphafold(settings, DATA, tmp_path / "whole")
    assert Plan.load(tmp_path / "whole" / "plan.json") == Plan(recipe="bf16")
    train_alphafold(tiny(2), DATA, tmp_path / "exact")
    whole, plain = ([float(loss) for loss in losses(tmp_path / x)] for x in ("whole", "exact"))
    assert whole == pytest.approx(plain, rel=0.05)
    assert whole[1] != plain[1]  # before the first update, most layers give zeros
    first = replace(settings, run=replace(settings.run, steps=1))
    train_alphafold(first, DATA, tmp_path / "cut")
    train_alphafold(settings, DATA, tmp_path / "cut", resume=True)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_settings_name_every_recipe():
    assert get_args(RecipeName) == tuple(RECIPES)
