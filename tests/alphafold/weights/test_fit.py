from dataclasses import replace

import numpy as np
import pytest
import torch

from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.alphafold.weights import load_deepmind, load_openfold, save_openfold

from .files import CONFIG, refuses, written
from .layout import EVOFORMER, ROOT, params


@pytest.mark.parametrize(
    ("file_has", "model_has", "listed", "mend"),
    [
        ({"templates": False}, {}, r"129 tensors missing \(template_embedder", "model_3_ptm"),
        ({}, {"templates": False}, r"129 tensors unexpected \(template_embedder", "model_1_ptm"),
        ({"ptm": False}, {}, r"2 tensors missing \(aux_heads.tm.linear.weight, ", "'model_1'"),
        ({"ptm": False, "templates": False}, {}, "tensors missing", "'model_3'"),
    ],
)
def test_other_networks_are_named(tmp_path, file_has, model_has, listed, mend):
    path = written(tmp_path / "p.npz", params(replace(CONFIG, **file_has)))
    model = AlphaFold(replace(CONFIG, **model_has))
    refuses(load_deepmind, model, path, match=f"(?s){listed}.*mend: .*{mend}")


def test_other_sizes_are_listed(tmp_path, model):
    other = replace(CONFIG, c_s=CONFIG.c_s + 4, num_evoformer_blocks=3)
    path = written(tmp_path / "p.npz", params(other))
    refuses(
        load_deepmind,
        model,
        path,
        match=r"(?s)p\.npz does not fit the model: 93 tensors unexpected \(evoformer\.blocks\.2.*"
        r", … and 90 more\); \d+ tensors of another shape \(evoformer\.linear\.weight "
        r"\(24, 16\), in the model \(20, 16\).*mend: build the model with the ModelConfig",
    )


def test_missing_and_strange_arrays_are_listed(tmp_path, model, arrays):
    rest = {k: v for k, v in arrays.items() if k != f"{EVOFORMER}/preprocess_1d//bias"}
    path = written(tmp_path / "p.npz", rest | {f"{ROOT}/other//weights": np.zeros(3)})
    refuses(
        load_deepmind,
        model,
        path,
        match=r"1 tensor missing \(input_embedder.linear_tf_m.bias\); "
        r"1 tensor unexpected \(alphafold/alphafold_iteration/other//weights\)",
    )


def test_a_multimer_is_told(tmp_path, model, arrays):
    extra = {f"{EVOFORMER}/~_relative_encoding/position_activations//weights": np.zeros((73, 4))}
    path = written(tmp_path / "p.npz", arrays | extra)
    refuses(load_deepmind, model, path, match="multimer's weights, another network")
    linear = {"evoformer.blocks.0.pair_stack.tri_mul_in.linear_ab_g.bias": torch.zeros(3)}
    torch.save(model.state_dict() | linear, tmp_path / "p.pt")
    refuses(load_openfold, model, tmp_path / "p.pt", match="multimer's weights, another network")


def test_a_config_of_other_blocks_is_listed(tmp_path, model):
    config = replace(CONFIG, num_resnet_blocks=3)
    path = tmp_path / "p.pt"
    save_openfold(AlphaFold(config), path)
    refuses(load_openfold, model, path, match=r"4 tensors unexpected \(.*layers\.2\.linear_1")
