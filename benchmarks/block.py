"""Live bytes of one Evoformer block, forward and backward: plain, by others' means, and by ours.

    python benchmarks/block.py --n-seq 512 --n-res 384 --dtype bf16 [--rows 16] [--real]

Bytes are the most that are alive over parameters, inputs and output gradients, on fake tensors;
with --real those of a real run, for our block alone, beside the simulated ones. FLOPs are against
those of the plain block with one checkpoint around it. Ends with one line of JSON:
{"peak_over_bytes", "plain_peak_over_bytes", "flops_ratio"}.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

import torch
from baselines import checkpointed, with_two_lines
from plans import in_rows
from torch import Tensor, nn

from sci_memeff import ModelConfig, apply, measure, simulate
from sci_memeff.alphafold.evoformer import EvoformerBlock
from sci_memeff.measure import Measured

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32, "fp64": torch.float64}
Batch = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]  # inputs, gradients of the outputs


def build(dtype: torch.dtype) -> EvoformerBlock:
    return EvoformerBlock(ModelConfig(), "evoformer").to(dtype).train()


def inputs(n_seq: int, n_res: int, dtype: torch.dtype, device: str) -> Batch:
    config = ModelConfig()
    with torch.device(device):
        m = torch.randn(1, n_seq, n_res, config.c_m, dtype=dtype, requires_grad=True)
        z = torch.randn(1, n_res, n_res, config.c_z, dtype=dtype, requires_grad=True)
        masks = torch.ones(1, n_seq, n_res, dtype=dtype), torch.ones(1, n_res, n_res, dtype=dtype)
        return (m, z, *masks), (torch.randn_like(m), torch.randn_like(z))


def step(block: nn.Module, batch: Batch) -> None:
    given, grads = batch
    torch.autograd.backward(block(*given), grads)


def simulated(build_block: Callable[[], nn.Module], batch: Batch) -> Measured:
    return simulate(build_block, step, batch)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--n-seq", type=int, default=512, help="MSA clusters")
    parser.add_argument("--n-res", type=int, default=384, help="residues of the crop")
    parser.add_argument(
        "--dtype", choices=DTYPES, default="bf16", help="of weights and activations"
    )
    parser.add_argument("--rows", type=int, default=8, help="rows of a slice")
    parser.add_argument("--real", action="store_true", help="run our block, not only simulate it")
    given = parser.parse_args(arguments)
    dtype, plan = DTYPES[given.dtype], in_rows(given.rows)
    batch = inputs(given.n_seq, given.n_res, dtype, "meta")

    found = {
        "plain": simulated(lambda: build(dtype), batch),
        "a checkpoint around it": simulated(lambda: checkpointed(build(dtype)), batch),
        "two lines": simulated(lambda: with_two_lines(build(dtype)), batch),
        f"ours, {given.rows} rows": simulated(lambda: apply(build(dtype), plan), batch),
    }
    ours = found[f"ours, {given.rows} rows"]
    if given.real:
        block = apply(build(dtype), plan)
        batch = inputs(given.n_seq, given.n_res, dtype, "cpu")
        with measure(block) as measured:
            step(block, batch)
        found["ours, a real run"] = ours = measured

    once = found["a checkpoint around it"].flops
    shape = f"({given.n_seq}, {given.n_res}) {given.dtype}"
    print(f"one Evoformer block {shape}, torch {torch.__version__}")
    print(f"{'':26}{'peak over':>12}{'FLOPs':>8}")
    for name, measured in found.items():
        print(f"{name:26}{measured.peak_over / 1e9:9.3f} GB{measured.flops / once:8.3f}")
    result = {
        "peak_over_bytes": ours.peak_over,
        "plain_peak_over_bytes": found["plain"].peak_over,
        "flops_ratio": round(ours.flops / once, 4),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1:])
