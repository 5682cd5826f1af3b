"""The plans that the benchmarks measure, made by hand."""

from __future__ import annotations

from dataclasses import replace

from sci_memeff import Plan, Rule
from sci_memeff.checkpointing import Coded, Device, Host, Store, in_segments
from sci_memeff.chunking import in_slices, whole
from sci_memeff.kernels import Form, attend

__all__ = ["DECREASING", "a_checkpoint_a_block", "in_rows", "lengths_for", "whole_network"]


def in_rows(rows: int, attention: Form = "blocked") -> Plan:
    """Every sub-layer `rows` rows, columns or sequences at a time; nothing else recomputed."""
    return Plan(
        rules=(
            Rule(where="*", seam="walk", use=in_slices(rows)),
            # their shared operand is as large as z
            Rule(where="*.tri_mul_*", seam="walk", use=in_slices(rows, recompute_shared=True)),
            # the block walks both at once
            Rule(where="*msa_att_col", seam="walk", use=whole),
            Rule(where="*msa_transition", seam="walk", use=whole),
            Rule(where="*.mha", seam="attend", use=attend(attention)),
        )
    )


# With a star before: the network may be part of another module, beside its losses.
STACKS = ("*evoformer", "*extra_msa_stack", "*template_pair_stack")


def a_checkpoint_a_block() -> Plan:
    """What everybody does: every block of every stack is recomputed, and nothing else."""
    return Plan(
        rules=tuple(Rule(where=stack, seam="iterate", use=in_segments(1)) for stack in STACKS)
    )


# Of the Evoformer's 48 blocks. A boundary takes about a third of the bytes that a block keeps of
# its sub-layers' inputs while it is differentiated, so three boundaries less are room for a block.
DECREASING = (6, 5, 5, 4, 4, 4, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1)
OF_CODES = (4, 4, 3, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 1)  # which take half as much


def lengths_for(keep: Store) -> tuple[int, ...]:
    """Of the Evoformer's segments; boundaries that are elsewhere take no room here."""
    if isinstance(keep, Coded):
        return OF_CODES if keep.keep == Device() else (1,)
    return DECREASING if keep == Device() else (1,)


def whole_network(
    rows: int, lengths: int | tuple[int, ...], keep: Store, *, two_levels: bool = False
) -> Plan:
    """`in_rows(rows)`, and stacks recomputed: the Evoformer in segments of `lengths` blocks.

    With `two_levels`, single blocks are recomputed within those segments. Attention does not
    keep a slice's probabilities, which long crops make large.
    """
    inner = in_segments(1) if two_levels else None
    others = 2 if keep == Device() else 1
    segments = {
        "*evoformer": in_segments(lengths, inner=inner, keep=keep),
        "*extra_msa_stack": in_segments(others, keep=_not_ahead(keep)),
        "*template_pair_stack": in_segments(others, keep=keep),
        "*structure_module": in_segments(1),
    }
    stacks = [Rule(where=where, seam="iterate", use=use) for where, use in segments.items()]
    return Plan(rules=(*in_rows(rows, "streaming").rules, *stacks))


def _not_ahead(keep: Store) -> Store:
    """For the extra MSA, which is large: its way back is short beside a block's work."""
    if isinstance(keep, Coded) and isinstance(keep.keep, Host):
        return replace(keep, keep=replace(keep.keep, ahead=False))
    return replace(keep, ahead=False) if isinstance(keep, Host) else keep
