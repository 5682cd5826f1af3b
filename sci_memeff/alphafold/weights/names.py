"""DeepMind's name for each tensor of the network, and how its array is laid out.

An array is named by its module's path, two slashes and its own name. The layers of a stack are one
array, along its first axis. A matrix has its inputs first and its outputs last, either of which may
be several axes: heads and channels, or the two channels of an outer product.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ARRAYS", "STACKED", "Place"]


class Place(NamedTuple):
    """The tensor that an array is, with `{}` for the layer's number, if it is one of a stack."""

    name: str
    num_input_axes: int  # 0 for a vector


# The arrays of each kind of layer: theirs, ours, and the number of input axes.
_LINEAR = (("//weights", ".weight", 1), ("//bias", ".bias", 0))
_NORM = (("//scale", ".weight", 0), ("//offset", ".bias", 0))
_MATRIX = (("", ".weight", 1),)
_VECTOR = (("", "", 0),)
_ATTENTION = (
    ("//query_w", ".linear_q.weight", 1),
    ("//key_w", ".linear_k.weight", 1),
    ("//value_w", ".linear_v.weight", 1),
    ("//output_w", ".linear_o.weight", 2),
    ("//output_b", ".linear_o.bias", 0),
)
_GATED = (
    *_ATTENTION,
    ("//gating_w", ".linear_g.weight", 1),
    ("//gating_b", ".linear_g.bias", 0),
)
_OUTER = (("//output_w", ".linear_out.weight", 2), ("//output_b", ".linear_out.bias", 0))

_TRANSITION = (
    ("input_layer_norm", "layer_norm", _NORM),
    ("transition1", "linear_1", _LINEAR),
    ("transition2", "linear_2", _LINEAR),
)
_TRIANGLE_ATTENTION = (
    ("query_norm", "layer_norm", _NORM),
    ("/feat_2d_weights", "linear", _MATRIX),
    ("attention", "mha", _GATED),
)


def _triangle_multiplication(left: str, right: str) -> tuple:
    return (
        ("layer_norm_input", "layer_norm_in", _NORM),
        ("left_projection", f"linear_{left}_p", _LINEAR),
        ("left_gate", f"linear_{left}_g", _LINEAR),
        ("right_projection", f"linear_{right}_p", _LINEAR),
        ("right_gate", f"linear_{right}_g", _LINEAR),
        ("center_layer_norm", "layer_norm_out", _NORM),
        ("output_projection", "linear_z", _LINEAR),
        ("gating_linear", "linear_g", _LINEAR),
    )


_PAIR = (
    ("triangle_multiplication_outgoing", "tri_mul_out", _triangle_multiplication("a", "b")),
    # Incoming, their left operand is k_j and their right k_i: b and a of Algorithm 12.
    ("triangle_multiplication_incoming", "tri_mul_in", _triangle_multiplication("b", "a")),
    ("triangle_attention_starting_node", "tri_att_start", _TRIANGLE_ATTENTION),
    ("triangle_attention_ending_node", "tri_att_end", _TRIANGLE_ATTENTION),
    ("pair_transition", "pair_transition", _TRANSITION),
)
_BLOCK = (
    ("msa_row_attention_with_pair_bias/query_norm", "msa_att_row.layer_norm_m", _NORM),
    ("msa_row_attention_with_pair_bias/feat_2d_norm", "msa_att_row.layer_norm_z", _NORM),
    ("msa_row_attention_with_pair_bias//feat_2d_weights", "msa_att_row.linear_z", _MATRIX),
    ("msa_row_attention_with_pair_bias/attention", "msa_att_row.mha", _GATED),
    ("msa_transition", "msa_transition", _TRANSITION),
    ("outer_product_mean/layer_norm_input", "outer_product_mean.layer_norm", _NORM),
    ("outer_product_mean/left_projection", "outer_product_mean.linear_1", _LINEAR),
    ("outer_product_mean/right_projection", "outer_product_mean.linear_2", _LINEAR),
    ("outer_product_mean", "outer_product_mean", _OUTER),
    *((theirs, f"pair_stack.{ours}", layers) for theirs, ours, layers in _PAIR),
)
_EVOFORMER_BLOCK = (
    *_BLOCK,
    ("msa_column_attention/query_norm", "msa_att_col._msa_att.layer_norm_m", _NORM),
    ("msa_column_attention/attention", "msa_att_col._msa_att.mha", _GATED),
)
_EXTRA_MSA_BLOCK = (
    *_BLOCK,
    ("msa_column_global_attention/query_norm", "msa_att_col.layer_norm_m", _NORM),
    ("msa_column_global_attention/attention", "msa_att_col.global_attention", _GATED),
)
_EMBEDDERS = (
    ("preprocess_1d", "input_embedder.linear_tf_m", _LINEAR),
    ("preprocess_msa", "input_embedder.linear_msa_m", _LINEAR),
    ("left_single", "input_embedder.linear_tf_z_i", _LINEAR),
    ("right_single", "input_embedder.linear_tf_z_j", _LINEAR),
    ("pair_activiations", "input_embedder.linear_relpos", _LINEAR),
    ("prev_pos_linear", "recycling_embedder.linear", _LINEAR),
    ("prev_msa_first_row_norm", "recycling_embedder.layer_norm_m", _NORM),
    ("prev_pair_norm", "recycling_embedder.layer_norm_z", _NORM),
    ("extra_msa_activations", "extra_msa_embedder.linear", _LINEAR),
    ("single_activations", "evoformer.linear", _LINEAR),
)
_TEMPLATES = (
    ("template_single_embedding", "template_single_embedder.linear_1", _LINEAR),
    ("template_projection", "template_single_embedder.linear_2", _LINEAR),
    (
        "template_embedding/single_template_embedding/embedding2d",
        "template_pair_embedder.linear",
        _LINEAR,
    ),
    (
        "template_embedding/single_template_embedding/output_layer_norm",
        "template_pair_stack.layer_norm",
        _NORM,
    ),
    ("template_embedding/attention", "template_pointwise_att.mha", _ATTENTION),
)
_TORSIONS = (
    ("input_projection", "linear_in", _LINEAR),
    ("input_projection_1", "linear_initial", _LINEAR),
    ("resblock1", "layers.0.linear_1", _LINEAR),
    ("resblock2", "layers.0.linear_2", _LINEAR),
    ("resblock1_1", "layers.1.linear_1", _LINEAR),
    ("resblock2_1", "layers.1.linear_2", _LINEAR),
    ("unnormalized_angles", "linear_out", _LINEAR),
)
_POINT_ATTENTION = (
    ("q_scalar", "linear_q", _LINEAR),
    ("kv_scalar", "linear_kv", _LINEAR),
    ("q_point_local", "linear_q_points.linear", _LINEAR),
    ("kv_point_local", "linear_kv_points.linear", _LINEAR),
    ("/trainable_point_weights", "head_weights", _VECTOR),
    ("attention_2d", "linear_b", _LINEAR),
    ("output_projection", "linear_out", _LINEAR),
)
_STRUCTURE = (
    ("single_layer_norm", "layer_norm_s", _NORM),
    ("pair_layer_norm", "layer_norm_z", _NORM),
    ("initial_projection", "linear_in", _LINEAR),
    ("fold_iteration/invariant_point_attention", "ipa", _POINT_ATTENTION),
    ("fold_iteration/attention_layer_norm", "layer_norm_ipa", _NORM),
    ("fold_iteration/transition", "transition.layers.0.linear_1", _LINEAR),
    ("fold_iteration/transition_1", "transition.layers.0.linear_2", _LINEAR),
    ("fold_iteration/transition_2", "transition.layers.0.linear_3", _LINEAR),
    ("fold_iteration/transition_layer_norm", "transition.layer_norm", _NORM),
    ("fold_iteration/affine_update", "bb_update.linear", _LINEAR),
    ("fold_iteration/rigid_sidechain", "angle_resnet", _TORSIONS),
)
_HEADS = (
    ("predicted_lddt_head/input_layer_norm", "plddt.layer_norm", _NORM),
    ("predicted_lddt_head/act_0", "plddt.linear_1", _LINEAR),
    ("predicted_lddt_head/act_1", "plddt.linear_2", _LINEAR),
    ("predicted_lddt_head/logits", "plddt.linear_3", _LINEAR),
    ("distogram_head/half_logits", "distogram.linear", _LINEAR),
    ("masked_msa_head/logits", "masked_msa.linear", _LINEAR),
    ("experimentally_resolved_head/logits", "experimentally_resolved.linear", _LINEAR),
    ("predicted_aligned_error_head/logits", "tm.linear", _LINEAR),
)
_ROOT = "alphafold/alphafold_iteration"
_TEMPLATE_STACK = "template_embedding/single_template_embedding/template_pair_stack"


def _spread(rows: tuple, theirs: str, ours: str) -> dict[str, Place]:
    """Every array of a table, whose rows name modules, and of the tables inside it."""
    if isinstance(rows[0][2], int):
        return {theirs + end: Place(ours + own, axes) for end, own, axes in rows}
    places: dict[str, Place] = {}
    for name, own, inner in rows:
        places |= _spread(inner, f"{theirs}/{name}", f"{ours}.{own}" if ours else own)
    return places


# By DeepMind's name: the arrays that are one tensor, and those that are one of every layer.
ARRAYS = (
    _spread(_EMBEDDERS, f"{_ROOT}/evoformer", "")
    | _spread(_TEMPLATES, f"{_ROOT}/evoformer", "template_embedder")
    | _spread(_STRUCTURE, f"{_ROOT}/structure_module", "structure_module")
    | _spread(_HEADS, _ROOT, "aux_heads")
)
STACKED = (
    _spread(_EVOFORMER_BLOCK, f"{_ROOT}/evoformer/evoformer_iteration", "evoformer.blocks.{}")
    | _spread(_EXTRA_MSA_BLOCK, f"{_ROOT}/evoformer/extra_msa_stack", "extra_msa_stack.blocks.{}")
    | _spread(
        _PAIR,
        f"{_ROOT}/evoformer/{_TEMPLATE_STACK}/__layer_stack_no_state",
        "template_embedder.template_pair_stack.blocks.{}",
    )
)
