"""DeepMind's files as its JAX code writes them: each array's name and shape, and what it means.

Written from the modules of that code and not from the table that loads them, so that the two can
be compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sci_memeff.alphafold.config import ModelConfig

Array = NDArray[np.floating]
Arrays = dict[str, Array]

ROOT = "alphafold/alphafold_iteration"
EVOFORMER = f"{ROOT}/evoformer"
TEMPLATE = f"{EVOFORMER}/template_embedding"


@dataclass
class Writer:
    """Collects random arrays; inside a stack of layers each has a leading axis."""

    rng: np.random.Generator
    arrays: Arrays = field(default_factory=dict)
    layers: tuple[int, ...] = ()

    def add(self, name: str, *shape: int) -> None:
        assert name not in self.arrays
        size = np.prod(shape[:-1]) if len(shape) > 1 else 4
        values = self.rng.normal(size=(*self.layers, *shape)) / np.sqrt(size)
        self.arrays[name] = values.astype(np.float32)

    def linear(self, path: str, c_in: int, c_out: int) -> None:
        self.add(f"{path}//weights", c_in, c_out)
        self.add(f"{path}//bias", c_out)

    def norm(self, path: str, c: int) -> None:
        self.add(f"{path}//scale", c)
        self.add(f"{path}//offset", c)

    def attention(self, path: str, c_q: int, c_kv: int, heads: int, c: int) -> None:
        for name, c_in in (("query", c_q), ("key", c_kv), ("value", c_kv)):
            self.add(f"{path}//{name}_w", c_in, heads, c)
        self.add(f"{path}//output_w", heads, c, c_q)
        self.add(f"{path}//output_b", c_q)

    def gate(self, path: str, c_q: int, heads: int, c: int) -> None:
        self.add(f"{path}//gating_w", c_q, heads, c)
        self.add(f"{path}//gating_b", heads, c)

    def self_attention(self, path: str, c_in: int, heads: int, c: int) -> None:
        self.norm(f"{path}/query_norm", c_in)
        self.attention(f"{path}/attention", c_in, c_in, heads, c)
        self.gate(f"{path}/attention", c_in, heads, c)

    def global_attention(self, path: str, c_in: int, heads: int, c: int) -> None:
        self.norm(f"{path}/query_norm", c_in)
        self.add(f"{path}/attention//query_w", c_in, heads, c)
        self.add(f"{path}/attention//key_w", c_in, c)
        self.add(f"{path}/attention//value_w", c_in, c)
        self.add(f"{path}/attention//output_w", heads, c, c_in)
        self.add(f"{path}/attention//output_b", c_in)
        self.gate(f"{path}/attention", c_in, heads, c)

    def transition(self, path: str, c: int, factor: int) -> None:
        self.norm(f"{path}/input_layer_norm", c)
        self.linear(f"{path}/transition1", c, factor * c)
        self.linear(f"{path}/transition2", factor * c, c)

    def pair(self, path: str, c: int, hidden: tuple[int, int], heads: int, factor: int) -> None:
        c_mul, c_att = hidden
        for direction in ("outgoing", "incoming"):
            module = f"{path}/triangle_multiplication_{direction}"
            self.norm(f"{module}/layer_norm_input", c)
            for name in ("left_projection", "right_projection", "left_gate", "right_gate"):
                self.linear(f"{module}/{name}", c, c_mul)
            self.norm(f"{module}/center_layer_norm", c_mul)
            self.linear(f"{module}/output_projection", c_mul, c)
            self.linear(f"{module}/gating_linear", c, c)
        for node in ("starting", "ending"):
            module = f"{path}/triangle_attention_{node}_node"
            self.self_attention(module, c, heads, c_att)
            self.add(f"{module}//feat_2d_weights", c, heads)
        self.transition(f"{path}/pair_transition", c, factor)

    def msa_block(self, path: str, config: ModelConfig, c_m: int, c: int) -> None:
        heads = config.num_heads_msa
        row = f"{path}/msa_row_attention_with_pair_bias"
        self.self_attention(row, c_m, heads, c)
        self.norm(f"{row}/feat_2d_norm", config.c_z)
        self.add(f"{row}//feat_2d_weights", config.c_z, heads)
        self.transition(f"{path}/msa_transition", c_m, config.transition_factor)
        outer = f"{path}/outer_product_mean"
        self.norm(f"{outer}/layer_norm_input", c_m)
        self.linear(f"{outer}/left_projection", c_m, config.c_hidden_opm)
        self.linear(f"{outer}/right_projection", c_m, config.c_hidden_opm)
        self.add(f"{outer}//output_w", config.c_hidden_opm, config.c_hidden_opm, config.c_z)
        self.add(f"{outer}//output_b", config.c_z)
        hidden = (config.c_hidden_triangle_multiplication, config.c_hidden_triangle_attention)
        self.pair(path, config.c_z, hidden, config.num_heads_pair, config.transition_factor)


def params(config: ModelConfig, seed: int = 0) -> Arrays:
    """A whole file of random arrays."""
    writer = Writer(np.random.default_rng(seed))
    _embedders(writer, config)
    _stacks(writer, config)
    if config.templates:
        _templates(writer, config)
    _structure(writer, config)
    _heads(writer, config)
    return writer.arrays


def _embedders(w: Writer, config: ModelConfig) -> None:
    c_m, c_z = config.c_m, config.c_z
    w.linear(f"{EVOFORMER}/preprocess_1d", 22, c_m)
    w.linear(f"{EVOFORMER}/preprocess_msa", 49, c_m)
    w.linear(f"{EVOFORMER}/left_single", 22, c_z)
    w.linear(f"{EVOFORMER}/right_single", 22, c_z)
    w.linear(f"{EVOFORMER}/pair_activiations", 65, c_z)
    w.linear(f"{EVOFORMER}/prev_pos_linear", 15, c_z)
    w.norm(f"{EVOFORMER}/prev_msa_first_row_norm", c_m)
    w.norm(f"{EVOFORMER}/prev_pair_norm", c_z)
    w.linear(f"{EVOFORMER}/extra_msa_activations", 25, config.c_e)
    w.linear(f"{EVOFORMER}/single_activations", c_m, config.c_s)


def _stacks(w: Writer, config: ModelConfig) -> None:
    w.layers = (config.num_evoformer_blocks,)
    path, c = f"{EVOFORMER}/evoformer_iteration", config.c_hidden_msa
    w.msa_block(path, config, config.c_m, c)
    w.self_attention(f"{path}/msa_column_attention", config.c_m, config.num_heads_msa, c)
    w.layers = (config.num_extra_msa_blocks,)
    path, c = f"{EVOFORMER}/extra_msa_stack", config.c_hidden_extra_msa
    w.msa_block(path, config, config.c_e, c)
    w.global_attention(f"{path}/msa_column_global_attention", config.c_e, config.num_heads_msa, c)
    w.layers = ()


def _templates(w: Writer, config: ModelConfig) -> None:
    w.linear(f"{EVOFORMER}/template_single_embedding", 57, config.c_m)
    w.linear(f"{EVOFORMER}/template_projection", config.c_m, config.c_m)
    single = f"{TEMPLATE}/single_template_embedding"
    w.linear(f"{single}/embedding2d", 88, config.c_t)
    w.norm(f"{single}/output_layer_norm", config.c_t)
    heads, c = config.num_heads_pair, config.c_hidden_template_attention
    w.attention(f"{TEMPLATE}/attention", config.c_z, config.c_t, heads, c)
    w.layers = (config.num_template_blocks,)
    hidden = (config.c_hidden_template_multiplication, c)
    path = f"{single}/template_pair_stack/__layer_stack_no_state"
    w.pair(path, config.c_t, hidden, heads, config.template_transition_factor)
    w.layers = ()


def _structure(w: Writer, config: ModelConfig) -> None:
    root, c_s, c = f"{ROOT}/structure_module", config.c_s, config.c_hidden_ipa
    h, p, q = config.num_heads_ipa, config.num_query_points, config.num_value_points
    w.norm(f"{root}/single_layer_norm", c_s)
    w.norm(f"{root}/pair_layer_norm", config.c_z)
    w.linear(f"{root}/initial_projection", c_s, c_s)
    fold = f"{root}/fold_iteration"
    ipa = f"{fold}/invariant_point_attention"
    w.linear(f"{ipa}/q_scalar", c_s, h * c)
    w.linear(f"{ipa}/kv_scalar", c_s, h * 2 * c)
    w.linear(f"{ipa}/q_point_local", c_s, 3 * h * p)
    w.linear(f"{ipa}/kv_point_local", c_s, 3 * h * (p + q))
    w.add(f"{ipa}//trainable_point_weights", h)
    w.linear(f"{ipa}/attention_2d", config.c_z, h)
    w.linear(f"{ipa}/output_projection", h * (c + 4 * q + config.c_z), c_s)
    w.norm(f"{fold}/attention_layer_norm", c_s)
    for name in ("transition", "transition_1", "transition_2"):
        w.linear(f"{fold}/{name}", c_s, c_s)
    w.norm(f"{fold}/transition_layer_norm", c_s)
    w.linear(f"{fold}/affine_update", c_s, 6)
    side = f"{fold}/rigid_sidechain"
    w.linear(f"{side}/input_projection", c_s, config.c_resnet)
    w.linear(f"{side}/input_projection_1", c_s, config.c_resnet)
    for name in ("resblock1", "resblock2", "resblock1_1", "resblock2_1"):
        w.linear(f"{side}/{name}", config.c_resnet, config.c_resnet)
    w.linear(f"{side}/unnormalized_angles", config.c_resnet, 14)


def _heads(w: Writer, config: ModelConfig) -> None:
    lddt = f"{ROOT}/predicted_lddt_head"
    w.norm(f"{lddt}/input_layer_norm", config.c_s)
    w.linear(f"{lddt}/act_0", config.c_s, config.c_plddt)
    w.linear(f"{lddt}/act_1", config.c_plddt, config.c_plddt)
    w.linear(f"{lddt}/logits", config.c_plddt, 50)
    w.linear(f"{ROOT}/distogram_head/half_logits", config.c_z, 64)
    w.linear(f"{ROOT}/masked_msa_head/logits", config.c_m, 23)
    w.linear(f"{ROOT}/experimentally_resolved_head/logits", config.c_s, 37)
    if config.ptm:
        w.linear(f"{ROOT}/predicted_aligned_error_head/logits", config.c_z, 64)
