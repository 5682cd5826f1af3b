"""Networks for predictions: what they are fed, and what is refused."""

import pytest

from sci_memeff.alphafold.config import ModelConfig
from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.errors import BadConfigError
from sci_memeff.training import inference
from sci_memeff.training.inference import load_model


@pytest.fixture
def unread(monkeypatch):
    """The published networks, one block deep, with the weights that they start with."""
    published = inference.model_config
    shallow = {"num_evoformer_blocks": 1, "num_extra_msa_blocks": 1, "c_m": 8, "c_s": 8, "c_z": 8}

    def small(name: str) -> ModelConfig:
        config = published(name)
        return ModelConfig(**shallow, templates=config.templates, ptm=config.ptm)

    monkeypatch.setattr(inference, "model_config", small)
    monkeypatch.setattr(inference, "load_any", lambda model, path, warn: None)


@pytest.mark.parametrize(
    ("name", "extra", "templates"),
    [
        ("model_1", 5120, 4),
        ("model_2_ptm", 1024, 4),
        ("model_3", 5120, 0),
        ("model_4_ptm", 5120, 0),
        ("model_5", 1024, 0),
    ],
)
def test_published_networks_see_what_they_were_trained_on(unread, tmp_path, name, extra, templates):
    """Supplement, Table 5; templates take up room among the 512 clusters."""
    model, data = load_model(tmp_path / "weights.npz", name, pytest.fail)
    assert isinstance(model, AlphaFold)
    assert not model.training
    assert (data.max_extra_msa, data.max_templates) == (extra, templates)
    assert data.num_clusters == 512 - templates
    assert data.max_passes == 4


def test_unknown_network(tmp_path):
    with pytest.raises(BadConfigError, match="no published model 'model_6'"):
        load_model(tmp_path / "weights.npz", "model_6", pytest.fail)


def test_a_run_knows_its_own_network(tmp_path):
    with pytest.raises(BadConfigError, match="leave out the model"):
        load_model(tmp_path, "model_3", pytest.fail)
