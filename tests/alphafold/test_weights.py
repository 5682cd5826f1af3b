from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sci_memeff.alphafold.config import ModelConfig, model_config
from sci_memeff.alphafold.geometry import Rigid, quaternion_to_rotation
from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.alphafold.weights import (
    load_deepmind,
    load_openfold,
    load_weights,
    save_openfold,
)
from sci_memeff.alphafold.weights.names import ARRAYS, STACKED
from sci_memeff.errors import BadWeightsError

from .deepmind import EVOFORMER, ROOT, TEMPLATE, Arrays, params
from .networks import SMALL, random_mask

CONFIG = replace(SMALL, num_extra_msa_blocks=3, num_template_blocks=2)
S, N, T = 4, 5, 3


@pytest.fixture
def model() -> AlphaFold:
    return AlphaFold(CONFIG)


def unchanged(model: nn.Module) -> Callable[[], bool]:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return lambda: all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def refuses(load: Callable, model: nn.Module, path: Path, match: str) -> None:
    same = unchanged(model)
    with pytest.raises(BadWeightsError, match=match):
        load(model, path)
    assert same()


# DeepMind's files


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return params(CONFIG)


def written(path: Path, arrays: Arrays) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.fixture
def file(tmp_path, arrays) -> Path:
    return written(tmp_path / "params_model_1_ptm.npz", arrays)


def test_the_table_has_every_array_and_no_other(arrays):
    assert set(arrays) == ARRAYS.keys() | STACKED.keys()
    assert not ARRAYS.keys() & STACKED.keys()


@pytest.mark.parametrize("name", ["model_1_ptm", "model_4", "model_5_ptm"])
def test_the_table_has_a_place_for_every_tensor_once(name):
    config = model_config(name)
    with torch.device("meta"):
        tensors = AlphaFold(config).state_dict()
    present = [p.name for p in ARRAYS.values()]
    for stack, count in (("evoformer", 48), ("extra_msa_stack", 4), ("template_embedder", 2)):
        places = [p.name for p in STACKED.values() if p.name.startswith(stack)]
        present += [name.format(i) for name in places for i in range(count)]
    if not config.templates:
        present = [name for name in present if not name.startswith("template_embedder")]
    if not config.ptm:
        present = [name for name in present if not name.startswith("aux_heads.tm")]
    assert sorted(present) == sorted(tensors)


def test_every_number_is_loaded_once(model, file, arrays):
    load_deepmind(model, file)
    theirs = np.sort(np.concatenate([array.ravel() for array in arrays.values()]))
    ours = np.sort(torch.cat([tensor.flatten() for tensor in model.state_dict().values()]).numpy())
    assert np.array_equal(ours, theirs)


@pytest.fixture
def loaded(model, file) -> AlphaFold:
    load_deepmind(model, file)
    return model.double().eval()


class Reader:
    """One module's arrays in float64, and the layers of DeepMind's code on them."""

    def __init__(self, arrays: Arrays, path: str, layer: int | None = None) -> None:
        self.arrays, self.path, self.layer = arrays, path, layer

    def __getitem__(self, name: str) -> np.ndarray:
        array = self.arrays[self.path + name].astype(np.float64)
        return array if self.layer is None else array[self.layer]

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self[f"{name}//weights"] + self[f"{name}//bias"]

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return normed * self[f"{name}//scale"] + self[f"{name}//offset"]

    def attention(self, name: str, x_q: np.ndarray, x_kv: np.ndarray, bias, gated=True):
        query_w = self[f"{name}//query_w"]
        q = np.einsum("bqa,ahc->bqhc", x_q, query_w) * query_w.shape[-1] ** -0.5
        k = np.einsum("bka,ahc->bkhc", x_kv, self[f"{name}//key_w"])
        v = np.einsum("bka,ahc->bkhc", x_kv, self[f"{name}//value_w"])
        weights = softmax(np.einsum("bqhc,bkhc->bhqk", q, k) + bias)
        mean = np.einsum("bhqk,bkhc->bqhc", weights, v)
        if gated:
            gate = np.einsum("bqc,chv->bqhv", x_q, self[f"{name}//gating_w"])
            mean = mean * sigmoid(gate + self[f"{name}//gating_b"])
        out = np.einsum("bqhc,hco->bqo", mean, self[f"{name}//output_w"])
        return out + self[f"{name}//output_b"]


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def normal(*shape: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def mask(*shape: int) -> np.ndarray:
    return random_mask(*shape, generator=torch.Generator().manual_seed(4)).numpy()


def assert_same(ours: Tensor, theirs: np.ndarray) -> None:
    torch.testing.assert_close(ours.detach(), torch.from_numpy(theirs), rtol=1e-10, atol=1e-10)


def tensors(*arrays: np.ndarray) -> list[Tensor]:
    return [torch.from_numpy(array) for array in arrays]


@pytest.mark.parametrize("layer", [0, 1])
def test_row_attention_from_the_arrays(loaded, arrays, layer):
    m, z, msa_mask = normal(S, N, CONFIG.c_m), normal(N, N, CONFIG.c_z), mask(S, N)
    path = f"{EVOFORMER}/evoformer_iteration/msa_row_attention_with_pair_bias"
    reader = Reader(arrays, path, layer)
    pair_bias = np.einsum(
        "qkc,ch->hqk", reader.norm("/feat_2d_norm", z), reader["//feat_2d_weights"]
    )
    x = reader.norm("/query_norm", m)
    bias = 1e9 * (msa_mask - 1)[:, None, None, :] + pair_bias
    ours = loaded.evoformer.blocks[layer].msa_att_row(*tensors(m, z, msa_mask))
    assert_same(ours, reader.attention("/attention", x, x, bias))


def test_column_attention_from_the_arrays(loaded, arrays):
    m, msa_mask = normal(S, N, CONFIG.c_m), mask(S, N)
    reader = Reader(arrays, f"{EVOFORMER}/evoformer_iteration/msa_column_attention", 1)
    x = reader.norm("/query_norm", m.swapaxes(0, 1))
    theirs = reader.attention("/attention", x, x, 1e9 * (msa_mask.T - 1)[:, None, None, :])
    assert_same(
        loaded.evoformer.blocks[1].msa_att_col(*tensors(m, msa_mask)), theirs.swapaxes(0, 1)
    )


def test_global_attention_from_the_arrays(loaded, arrays):
    m, msa_mask = normal(S, N, CONFIG.c_e), mask(S, N)
    reader = Reader(arrays, f"{EVOFORMER}/extra_msa_stack/msa_column_global_attention", 2)
    x = reader.norm("/query_norm", m.swapaxes(0, 1))
    query = (x * msa_mask.T[..., None]).sum(1) / (msa_mask.sum(0)[:, None] + 1e-10)
    q = np.einsum("ba,ahc->bhc", query, reader["/attention//query_w"])
    k, v = (x @ reader[f"/attention//{name}_w"] for name in ("key", "value"))
    logits = np.einsum("bhc,bkc->bhk", q * q.shape[-1] ** -0.5, k)
    weights = softmax(logits + 1e9 * (msa_mask.T - 1)[:, None, :])
    mean = np.einsum("bhk,bkc->bhc", weights, v)
    gate = np.einsum("bqc,chv->bqhv", x, reader["/attention//gating_w"])
    gated = mean[:, None] * sigmoid(gate + reader["/attention//gating_b"])
    theirs = np.einsum("bqhc,hco->bqo", gated, reader["/attention//output_w"])
    theirs = (theirs + reader["/attention//output_b"]).swapaxes(0, 1)
    ours = loaded.extra_msa_stack.blocks[2].msa_att_col(*tensors(m, msa_mask))
    # The mean's denominator holds 1e-8 here, as in OpenFold v2, and 1e-10 there.
    torch.testing.assert_close(ours.detach(), torch.from_numpy(theirs), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("direction", "equation"), [("outgoing", "ikc,jkc->ijc"), ("incoming", "kjc,kic->ijc")]
)
def test_triangle_multiplication_from_the_arrays(loaded, arrays, direction, equation):
    z, pair_mask = normal(N, N, CONFIG.c_z), mask(N, N)
    path = f"{EVOFORMER}/evoformer_iteration/triangle_multiplication_{direction}"
    reader = Reader(arrays, path, 1)
    x = reader.norm("/layer_norm_input", z)
    left, right = (
        pair_mask[..., None]
        * reader.linear(f"/{side}_projection", x)
        * sigmoid(reader.linear(f"/{side}_gate", x))
        for side in ("left", "right")
    )
    product = reader.norm("/center_layer_norm", np.einsum(equation, left, right))
    theirs = reader.linear("/output_projection", product)
    theirs = theirs * sigmoid(reader.linear("/gating_linear", x))
    pair_stack = loaded.evoformer.blocks[1].pair_stack
    layer = pair_stack.tri_mul_out if direction == "outgoing" else pair_stack.tri_mul_in
    assert_same(layer(*tensors(z, pair_mask)), theirs)


@pytest.mark.parametrize("node", ["starting", "ending"])
def test_triangle_attention_from_the_arrays(loaded, arrays, node):
    t, pair_mask = normal(N, N, CONFIG.c_t), mask(N, N)
    stack = f"{TEMPLATE}/single_template_embedding/template_pair_stack/__layer_stack_no_state"
    reader = Reader(arrays, f"{stack}/triangle_attention_{node}_node", 1)
    flipped = node == "ending"
    x, x_mask = (t.swapaxes(0, 1), pair_mask.T) if flipped else (t, pair_mask)
    x = reader.norm("/query_norm", x)
    bias = np.einsum("qkc,ch->hqk", x, reader["//feat_2d_weights"])
    theirs = reader.attention("/attention", x, x, 1e9 * (x_mask - 1)[:, None, None, :] + bias)
    block = loaded.template_embedder.template_pair_stack.blocks[1]
    layer = block.tri_att_end if flipped else block.tri_att_start
    assert_same(layer(*tensors(t, pair_mask)), theirs.swapaxes(0, 1) if flipped else theirs)


def test_outer_product_mean_from_the_arrays(loaded, arrays):
    m, msa_mask = normal(S, N, CONFIG.c_m), mask(S, N)
    reader = Reader(arrays, f"{EVOFORMER}/evoformer_iteration/outer_product_mean", 0)
    x = reader.norm("/layer_norm_input", m)
    left, right = (
        msa_mask[..., None] * reader.linear(f"/{side}_projection", x) for side in ("left", "right")
    )
    theirs = np.einsum("sic,sje,cef->ijf", left, right, reader["//output_w"]) + reader["//output_b"]
    theirs = theirs / (1e-3 + np.einsum("si,sj->ij", msa_mask, msa_mask))[..., None]
    assert_same(loaded.evoformer.blocks[0].outer_product_mean(*tensors(m, msa_mask)), theirs)


def test_transition_from_the_arrays(loaded, arrays):
    m = normal(S, N, CONFIG.c_m)
    reader = Reader(arrays, f"{EVOFORMER}/evoformer_iteration/msa_transition", 1)
    hidden = reader.linear("/transition1", reader.norm("/input_layer_norm", m)).clip(min=0)
    assert_same(
        loaded.evoformer.blocks[1].msa_transition(*tensors(m)),
        reader.linear("/transition2", hidden),
    )


def test_template_attention_from_the_arrays(loaded, arrays):
    z, t = normal(N, N, CONFIG.c_z), normal(T, N, N, CONFIG.c_t)
    template_mask = np.array([1.0, 0.0, 1.0])
    reader = Reader(arrays, TEMPLATE)
    x_q = z.reshape(N * N, 1, -1)
    x_kv = np.moveaxis(t, 0, 2).reshape(N * N, T, -1)
    bias = 1e9 * (template_mask - 1)[None, None, None, :]
    theirs = reader.attention("/attention", x_q, x_kv, bias, gated=False).reshape(N, N, -1)
    ours = loaded.template_embedder.template_pointwise_att(*tensors(z, t, template_mask))
    assert_same(ours, theirs)


def test_invariant_point_attention_from_the_arrays(loaded, arrays):
    s, z, s_mask = normal(N, CONFIG.c_s), normal(N, N, CONFIG.c_z), np.array([1.0, 1, 0, 1, 1])
    quaternion, shift = tensors(normal(N, 4), normal(N, 3))
    rotation = quaternion_to_rotation(quaternion)
    path = f"{ROOT}/structure_module/fold_iteration/invariant_point_attention"
    reader = Reader(arrays, path)
    frames = (rotation.numpy(), shift.numpy())
    ours = loaded.structure_module.ipa(*tensors(s, z), Rigid(rotation, shift), *tensors(s_mask))
    assert_same(ours, point_attention(reader, (s, z, s_mask), *frames))


def point_attention(reader: Reader, inputs: tuple, rotation: np.ndarray, shift: np.ndarray):
    """As DeepMind's code has it, with distances as differences."""
    s, z, s_mask = inputs
    h, p, c = CONFIG.num_heads_ipa, CONFIG.num_query_points, CONFIG.c_hidden_ipa

    def points(name: str) -> np.ndarray:
        x, y, w = np.split(reader.linear(name, s), 3, axis=-1)
        local = np.stack([x, y, w], axis=-1)
        globally = np.einsum("nij,npj->npi", rotation, local) + shift[:, None]
        return globally.reshape(N, h, -1, 3)

    q = reader.linear("/q_scalar", s).reshape(N, h, c)
    k, v = np.split(reader.linear("/kv_scalar", s).reshape(N, h, 2 * c), [c], axis=-1)
    q_points = points("/q_point_local")
    k_points, v_points = np.split(points("/kv_point_local"), [p], axis=2)
    squares = ((q_points[:, None] - k_points[None]) ** 2).sum(-1).sum(-1)
    head_weights = np.log1p(np.exp(reader["//trainable_point_weights"]))
    logits = np.einsum("qhc,khc->hqk", q, k) * np.sqrt(1 / (3 * c))
    logits += np.moveaxis(reader.linear("/attention_2d", z), -1, 0) * np.sqrt(1 / 3)
    scale = head_weights * np.sqrt(1 / (3 * p * 9 / 2))
    logits -= 0.5 * np.moveaxis(squares * scale, -1, 0)
    weights = softmax(logits - 1e5 * (1 - s_mask[:, None] * s_mask))
    seen = np.einsum("hqk,khpx->qhpx", weights, v_points) - shift[:, None, None]
    seen = np.einsum("nji,nhpj->nhpi", rotation, seen).reshape(N, -1, 3)
    gathered = [
        np.einsum("hqk,khc->qhc", weights, v).reshape(N, -1),
        *np.moveaxis(seen, -1, 0),
        np.sqrt(1e-8 + (seen**2).sum(-1)),
        np.einsum("hqk,qkc->qhc", weights, z).reshape(N, -1),
    ]
    return reader.linear("/output_projection", np.concatenate(gathered, axis=-1))


def test_networks_of_every_kind_load(tmp_path):
    for templates, ptm in itertools.product((True, False), repeat=2):
        config = replace(CONFIG, templates=templates, ptm=ptm)
        path = written(tmp_path / f"params_{templates}_{ptm}.npz", params(config))
        load_deepmind(AlphaFold(config), path)


# What does not fit, and files that are no good


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


@pytest.mark.parametrize("shape", [(), (3,), (0, 4)])
def test_arrays_of_any_shape_are_refused(tmp_path, model, arrays, shape):
    for name in (
        f"{EVOFORMER}/preprocess_1d//weights",
        f"{EVOFORMER}/evoformer_iteration/outer_product_mean//output_w",
    ):
        path = written(tmp_path / "p.npz", arrays | {name: np.zeros(shape)})
        refuses(load_deepmind, model, path, match="does not fit the model")


def test_whole_numbers_are_refused(tmp_path, model, arrays):
    name = f"{EVOFORMER}/preprocess_1d//bias"
    path = written(tmp_path / "p.npz", arrays | {name: np.zeros(16, dtype=np.int32)})
    refuses(load_deepmind, model, path, match=r"1 arrays are not of floating point .*int32")


def test_pickled_arrays_are_refused(tmp_path, model, arrays):
    name = f"{EVOFORMER}/preprocess_1d//bias"
    path = written(tmp_path / "p.npz", arrays | {name: np.array([Trap()], dtype=object)})
    refuses(load_deepmind, model, path, match="(?s)pickle.*mend: unpack or download")


class Trap:
    """Fails when it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("a file was executed",)


@pytest.mark.parametrize("loader", [load_deepmind, load_openfold])
@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "flipped", "absent"])
def test_damaged_files_are_refused(tmp_path, model, file, loader, damage):
    path = tmp_path / "p.npz"
    if loader is load_openfold:
        path = tmp_path / "p.pt"
        save_openfold(model, path)
    else:
        file.rename(path)
    content = path.read_bytes()
    half = len(content) // 2
    if damage == "absent":
        path.unlink()
    else:
        path.write_bytes(
            {
                "empty": b"",
                "text": b"no weights at all\n",
                "truncated": content[:half],
                "flipped": content[:half] + bytes(255 - b for b in content[half:]),
            }[damage]
        )
    wrong = "there is no such file" if damage == "absent" else "is damaged, "
    refuses(loader, model, path, match=f"(?s){path.name}.*{wrong}.*mend: ")


def test_a_lone_array_is_no_file_of_weights(tmp_path, model):
    np.save(tmp_path / "p.npy", np.zeros(3))
    refuses(load_deepmind, model, tmp_path / "p.npy", match="is no .npz")


# OpenFold's files


def other_weights() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {k: torch.randn_like(v) for k, v in AlphaFold(CONFIG).state_dict().items()}


def holds(model: nn.Module, weights: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def old_name(name: str) -> str:
    """The name of a tensor before OpenFold v2."""
    for new, old in (
        ("template_embedder.template_single_embedder", "template_angle_embedder"),
        ("template_embedder.", ""),
        (".linear_q_points.linear.", ".linear_q_points."),
        (".linear_kv_points.linear.", ".linear_kv_points."),
    ):
        name = name.replace(new, old)
    if ".blocks." in name and not name.startswith("template"):
        for part in ("msa_transition", "outer_product_mean"):
            name = name.replace(f".{part}.", f".core.{part}.")
        name = name.replace(".pair_stack.", ".core.")
    return name


def prefixed(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in weights.items()}


ZEROS = {name: torch.zeros(1) for name in ("evoformer.linear.weight",)}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: w,
        lambda w: prefixed("model.", w),
        lambda w: prefixed("module.model.", w),
        lambda w: {"state_dict": prefixed("model.", w), "epoch": 3, "callbacks": {}},
        lambda w: {"module": prefixed("module.model.", w), "global_steps": 7},
        lambda w: {"ema": {"params": w, "decay": 0.999}, "state_dict": prefixed("model.", ZEROS)},
        lambda w: {old_name(name): tensor for name, tensor in w.items()},
        lambda w: {"state_dict": {f"model.{old_name(name)}": t for name, t in w.items()}},
    ],
    ids=["plain", "model", "module", "lightning", "deepspeed", "ema", "v1", "v1 in lightning"],
)
def test_openfold_in_every_wrapping(tmp_path, model, wrap):
    weights = other_weights()
    torch.save(wrap(weights), tmp_path / "p.pt")
    assert not holds(model, weights)
    load_openfold(model, tmp_path / "p.pt")
    assert holds(model, weights)


def test_old_names_are_old():
    names = [old_name(name) for name in AlphaFold(CONFIG).state_dict()]
    for name in (
        "template_angle_embedder.linear_1.weight",
        "template_pair_embedder.linear.weight",
        "template_pair_stack.blocks.0.tri_att_end.mha.linear_o.bias",
        "template_pointwise_att.mha.linear_q.weight",
        "evoformer.blocks.0.core.msa_transition.linear_1.bias",
        "evoformer.blocks.1.core.tri_mul_in.linear_a_p.weight",
        "extra_msa_stack.blocks.2.core.pair_transition.layer_norm.bias",
        "extra_msa_stack.blocks.0.core.outer_product_mean.linear_out.weight",
        "structure_module.ipa.linear_kv_points.weight",
    ):
        assert name in names
    assert len(set(names)) == len(names)


def test_openfold_of_another_kind_is_named(tmp_path, model):
    rest = {k: v for k, v in other_weights().items() if not k.startswith("template_embedder.")}
    torch.save(rest, tmp_path / "p.pt")
    refuses(load_openfold, model, tmp_path / "p.pt", match="(?s)129 tensors missing.*model_3_ptm")


def test_half_precision_loads_into_full(tmp_path, model):
    weights = {name: tensor.bfloat16() for name, tensor in other_weights().items()}
    torch.save(weights, tmp_path / "p.pt")
    load_openfold(model, tmp_path / "p.pt")
    assert holds(model, {name: tensor.float() for name, tensor in weights.items()})
    torch.save({name: tensor.long() for name, tensor in weights.items()}, tmp_path / "p.pt")
    refuses(load_openfold, model, tmp_path / "p.pt", match="tensors not of floating point")


def test_python_objects_are_refused(tmp_path, model):
    torch.save({"ema": {"params": other_weights()}, "hyper_parameters": Trap()}, tmp_path / "p.pt")
    refuses(
        load_openfold,
        model,
        tmp_path / "p.pt",
        match=r"(?s)holds Python objects beside tensors.*mend: .*\['ema'\]\['params'\]",
    )


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (torch.zeros(3), "holds Tensor and no tensors by name"),
        ({}, "no tensors by name"),
        ({"epoch": 3, "lr": 0.1}, r"2 entries are no tensors by name \('epoch', 'lr'\)"),
        ({3: torch.zeros(1)}, r"1 entries are no tensors by name \(3\)"),
    ],
)
def test_content_of_another_kind_is_refused(tmp_path, model, content, match):
    torch.save(content, tmp_path / "p.pt")
    refuses(load_openfold, model, tmp_path / "p.pt", match=match)


def test_saved_weights_load_again(tmp_path, model):
    other = AlphaFold(CONFIG)
    other.load_state_dict(other_weights())
    path = tmp_path / "p.pt"
    save_openfold(AlphaFold(CONFIG), path)
    save_openfold(other, path)
    assert [p.name for p in tmp_path.iterdir()] == ["p.pt"]
    plain = torch.load(path, weights_only=True)
    assert list(plain) == list(model.state_dict())
    load_weights(model, path)
    assert holds(model, other_weights())


def test_a_failed_save_leaves_the_old_file(tmp_path, model, monkeypatch):
    path = tmp_path / "p.pt"
    save_openfold(model, path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="no space"):
        save_openfold(model, path)
    assert path.read_bytes() == before


def test_the_ending_tells_the_kind(tmp_path, model, file):
    load_weights(model, file)
    loaded = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    checkpoint = tmp_path / "epoch.ckpt"
    torch.save({"state_dict": prefixed("model.", loaded)}, checkpoint)
    other = AlphaFold(CONFIG)
    load_weights(other, checkpoint)
    assert holds(other, loaded)
    refuses(load_weights, model, tmp_path / "p.h5", match="(?s)'.h5' is none of .*mend: .*npz")


def test_a_config_of_other_blocks_is_listed(tmp_path, model):
    config: ModelConfig = replace(CONFIG, num_resnet_blocks=3)
    path = tmp_path / "p.pt"
    save_openfold(AlphaFold(config), path)
    refuses(load_openfold, model, path, match=r"4 tensors unexpected \(.*layers\.2\.linear_1")
