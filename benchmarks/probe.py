"""How long probes take, and what they find: modules of torch and of AlphaFold, one thread.

    python benchmarks/probe.py [--repeats N]

Each is probed on meta tensors of real sizes, with weights of real widths; the shortest of N times
of the processor counts. Ends with one line of JSON: {"seconds": {module: s}, "axes": {module: n}}.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sci_memeff.alphafold.attention import Attention
from sci_memeff.alphafold.msa_attention import MSAColumnAttention, MSARowAttentionWithPairBias
from sci_memeff.alphafold.outer_product_mean import OuterProductMean
from sci_memeff.alphafold.transition import Transition
from sci_memeff.chunking.probing import explain

S, N, C_M, C_Z = 512, 384, 256, 128


def meta(*shape: int) -> Tensor:
    return torch.empty(*shape, device="meta")


M, MSA_MASK, Z = meta(1, S, N, C_M), meta(1, S, N), meta(1, N, N, C_Z)
TOKENS = meta(8, 1024, 512)

CALLS: dict[str, tuple[Callable[[], nn.Module], tuple[Any, ...]]] = {
    "Linear(512, 2048)": (lambda: nn.Linear(512, 2048), (TOKENS,)),
    "LayerNorm(512)": (lambda: nn.LayerNorm(512), (TOKENS,)),
    "MultiheadAttention(512, 8)": (
        lambda: nn.MultiheadAttention(512, 8, batch_first=True),
        (TOKENS, TOKENS, TOKENS),
    ),
    "TransformerEncoderLayer(512, 8, 2048)": (
        lambda: nn.TransformerEncoderLayer(512, 8, 2048, batch_first=True),
        (TOKENS,),
    ),
    "Conv2d(64, 64, 3)": (lambda: nn.Conv2d(64, 64, 3, padding=1), (meta(8, 64, 224, 224),)),
    "MSA row attention": (lambda: MSARowAttentionWithPairBias(C_M, C_Z, 32, 8), (M, Z, MSA_MASK)),
    "MSA column attention": (lambda: MSAColumnAttention(C_M, 32, 8), (M, MSA_MASK)),
    "MSA transition": (lambda: Transition(C_M, 4), (M,)),
    "outer product mean": (lambda: OuterProductMean(C_M, C_Z, 32), (M, MSA_MASK)),
    "triangle attention's inner attention": (
        lambda: Attention(C_Z, C_Z, 32, 4),
        (Z, Z, (meta(1, N, 1, 1, N), meta(1, 1, 4, N, N))),
    ),
}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description="How long probes take, and what they find.")
    parser.add_argument("--repeats", type=int, default=3, help="of which the shortest counts")
    repeats = parser.parse_args(arguments).repeats
    torch.set_num_threads(1)
    seconds, axes = {}, {}
    for name, (build, args) in CALLS.items():
        module = build()
        times = []
        for _ in range(repeats):
            start = time.process_time()
            found = explain(module, args)
            times.append(time.process_time() - start)
        seconds[name], axes[name] = round(min(times), 3), len(found.axes)
        rows = [f"{dict(one.in_dims)} of {one.length}" for one in found.axes]
        print(f"{name:38} {min(times):6.3f} s  {'; '.join(rows) or 'none'}")
    print(json.dumps({"seconds": seconds, "axes": axes}))


if __name__ == "__main__":
    main(sys.argv[1:])
