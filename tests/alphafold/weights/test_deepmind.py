"""DeepMind's files: each layer's answer, computed from the arrays by DeepMind's own equations."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from sci_memeff.alphafold.geometry import Rigid, quaternion_to_rotation
from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.alphafold.weights import load_deepmind

from ..networks import random_mask
from .files import CONFIG, Trap, refuses, written
from .layout import EVOFORMER, ROOT, TEMPLATE, Arrays, params

S, N, T = 4, 5, 3


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


def test_a_lone_array_is_no_file_of_weights(tmp_path, model):
    np.save(tmp_path / "p.npy", np.zeros(3))
    refuses(load_deepmind, model, tmp_path / "p.npy", match="is no .npz")
