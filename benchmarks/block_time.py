"""Time of Evoformer blocks, forward and backward: ours in slices against openfold3's.

    python benchmarks/block_time.py --n-seq 128 --n-res 256 --dtype fp32 [--blocks 4] [--profile]

The peer is openfold3's Evoformer block from PyPI, configured as AlphaFold 2's, with one checkpoint
around each block. Both run alternately in this process on two threads, and what counts is the
median of five. With --profile, what our block's time went to is printed first. Ends with one line
of JSON: {"ratio", "ours_s", "peer_s"}.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from copy import deepcopy
from typing import Any

import torch
from baselines import checkpointed
from plans import in_rows
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from sci_memeff import ModelConfig, Plan, Rule, apply
from sci_memeff._types import Iterate, in_turn
from sci_memeff.alphafold.evoformer import EvoformerBlock
from sci_memeff.checkpointing import in_segments

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
REPEATS = 5


class Ours(nn.Module):
    """Blocks one after another, as in an Evoformer stack."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        config = ModelConfig()
        self.blocks = nn.ModuleList(EvoformerBlock(config, "evoformer") for _ in range(blocks))
        self.iterate: Iterate = in_turn

    def forward(self, m: Tensor, z: Tensor, *masks: Tensor) -> tuple[Tensor, Tensor]:
        m, z = self.iterate(list(self.blocks), (m, z), context=masks)[-1]
        return m, z


class Peer(nn.Module):
    """openfold3's blocks, each under one checkpoint."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        from openfold3.core.config import default_linear_init_config as init
        from openfold3.core.model.latent.evoformer import EvoformerBlock as TheirBlock

        config = ModelConfig()
        af2: Any = deepcopy(init.evo_block_init)
        for attention in (af2.msa_row_att, af2.msa_col_att, af2.pair_block.tri_att):
            attention.mha.linear_g.bias = attention.mha.linear_o.bias = True
        for linear in af2.pair_block.tri_mul.values():
            linear.bias = True
        af2.opm.linear_1.bias = af2.opm.linear_2.bias = True
        settings: dict[str, Any] = {
            "c_m": config.c_m,
            "c_z": config.c_z,
            "c_hidden_msa_att": config.c_hidden_msa,
            "c_hidden_opm": config.c_hidden_opm,
            "c_hidden_mul": config.c_hidden_triangle_multiplication,
            "c_hidden_pair_att": config.c_hidden_triangle_attention,
            "no_heads_msa": config.num_heads_msa,
            "no_heads_pair": config.num_heads_pair,
            "transition_type": "relu",
            "transition_n": config.transition_factor,
            "msa_dropout": config.msa_dropout,
            "pair_dropout": config.pair_dropout,
            "no_column_attention": False,
            "opm_first": False,
            "fuse_projection_weights": False,
            "inf": 1e9,
            "eps": 1e-8,
            "linear_init_params": af2,
        }
        self.blocks = nn.ModuleList(checkpointed(TheirBlock(**settings)) for _ in range(blocks))

    def forward(self, m: Tensor, z: Tensor, *masks: Tensor) -> tuple[Tensor, Tensor]:
        for block in self.blocks:
            m, z = block(m, z, *masks, _mask_trans=False)
        return m, z


def inputs(n_seq: int, n_res: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    config = ModelConfig()
    m = torch.randn(1, n_seq, n_res, config.c_m, dtype=dtype, requires_grad=True)
    z = torch.randn(1, n_res, n_res, config.c_z, dtype=dtype, requires_grad=True)
    masks = torch.ones(1, n_seq, n_res, dtype=dtype), torch.ones(1, n_res, n_res, dtype=dtype)
    return (m, z, *masks)


def seconds(stack: nn.Module, given: tuple[Tensor, ...], grads: tuple[Tensor, ...]) -> float:
    """Of one forward and backward pass."""
    start = time.perf_counter()
    torch.autograd.backward(stack(*given), grads)
    taken = time.perf_counter() - start
    for tensor in (*given, *stack.parameters()):
        tensor.grad = None
    return taken


def main(arguments: list[str]) -> None:
    given = parsed(arguments)
    torch.set_num_threads(2)
    dtype = DTYPES[given.dtype]
    ours = apply(Ours(given.blocks).to(dtype).train(), plan_of(given))
    peer = Peer(given.blocks).to(dtype).train()
    # after its import, which sets a filter of its own
    warnings.filterwarnings("ignore", message="CUDA is not available or torch_xla is imported")
    batch = inputs(given.n_seq, given.n_res, dtype)
    grads = torch.randn_like(batch[0]), torch.randn_like(batch[1])
    if given.profile:
        seconds(ours, batch, grads)
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            seconds(ours, batch, grads)
        print(profiled.key_averages().table(sort_by="self_cpu_time_total", row_limit=25))
    rounds = [[seconds(stack, batch, grads) for stack in (ours, peer)] for _ in range(REPEATS + 1)]
    our_s, peer_s = (statistics.median(times) for times in zip(*rounds[1:], strict=True))
    shape = f"({given.n_seq}, {given.n_res}) {given.dtype}, {given.rows} rows"
    print(f"{given.blocks} blocks {shape}, torch {torch.__version__}")
    for our_time, peer_time in rounds:
        print(f"ours {our_time:8.3f} s   openfold3 {peer_time:8.3f} s")
    result = {"ratio": our_s / peer_s, "ours_s": our_s, "peer_s": peer_s}
    print(json.dumps({name: round(value, 4) for name, value in result.items()}))


def plan_of(given: argparse.Namespace) -> Plan:
    rules = in_rows(given.rows).rules
    if given.length:
        recomputed = in_segments(given.length)
        rules = (*rules, Rule(where="", seam="iterate", use=recomputed))
    return Plan(rules=rules)


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--n-seq", type=int, default=128, help="MSA clusters")
    parser.add_argument("--n-res", type=int, default=256, help="residues of the crop")
    parser.add_argument(
        "--dtype", choices=DTYPES, default="fp32", help="of weights and activations"
    )
    parser.add_argument("--blocks", type=int, default=1, help="how many, one after another")
    parser.add_argument("--rows", type=int, default=32, help="rows of a slice")
    parser.add_argument(
        "--length", type=int, default=0, help="blocks recomputed at a time, 0: none"
    )
    parser.add_argument("--profile", action="store_true", help="print what the time went to")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
