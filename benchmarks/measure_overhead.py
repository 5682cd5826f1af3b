"""What measuring costs in time: per operation, for an Evoformer block, and on fake tensors.

    OMP_NUM_THREADS=2 python benchmarks/measure_overhead.py [--n-seq 64] [--n-res 64]

Both sides of a ratio run alternately in this process, the median of five of each. `begin_s` is
what one measurement takes for itself; it is taken out of the other figures. Ends with one line of
JSON: {"us_per_operation", "simulated_us_per_operation", "begin_s", "block_ratio", "block_s",
"operations"}.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sci_memeff.alphafold.config import ModelConfig
from sci_memeff.alphafold.evoformer import EvoformerBlock
from sci_memeff.measure import measure, simulate

REPEATS = 5
TINY = 4  # sequences and residues: as many operations, and nearly nothing to compute


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def medians(*runs: Callable[[], object]) -> list[float]:
    """Of each, run alternately; the first round is not counted."""
    rounds = [[seconds(run) for run in runs] for _ in range(REPEATS + 1)][1:]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def measured(run: Callable[[], object]) -> Callable[[], object]:
    def with_measure() -> object:
        with measure():
            return run()

    return with_measure


def num_operations(run: Callable[[], object]) -> int:
    with measure() as bytes_:
        run()
    return len(bytes_.over_time()["transient"]) - 1


def block_step(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    m, z = model(*batch)
    return m.sum() + z.sum()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--n-seq", type=int, default=64)
    parser.add_argument("--n-res", type=int, default=64)
    n_seq, n_res = vars(parser.parse_args(arguments)).values()

    block = EvoformerBlock(ModelConfig(), "evoformer")
    tiny, whole = inputs(TINY, TINY), inputs(n_seq, n_res)

    def run_tiny() -> None:
        block_step(block, tiny).backward()

    def run_whole() -> None:
        block_step(block, whole).backward()

    def simulate_whole() -> None:
        simulate(block, block_step, whole)

    begin, tiny_plain, tiny_measured = medians(measured(lambda: None), run_tiny, measured(run_tiny))
    plain, with_measure = medians(run_whole, measured(run_whole))
    (simulated,) = medians(simulate_whole)
    operations = num_operations(run_whole)
    result = {
        "us_per_operation": 1e6 * (tiny_measured - begin - tiny_plain) / num_operations(run_tiny),
        "simulated_us_per_operation": 1e6 * (simulated - begin) / operations,
        "begin_s": begin,
        "block_ratio": (with_measure - begin) / plain,
        "block_s": plain,
        "operations": operations,
    }
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, ({n_seq}, {n_res}) fp32")
    print(json.dumps({name: float(f"{value:.4g}") for name, value in result.items()}))


def inputs(n_seq: int, n_res: int) -> tuple[Tensor, ...]:
    config = ModelConfig()
    return (
        torch.randn(n_seq, n_res, config.c_m),
        torch.randn(n_res, n_res, config.c_z),
        torch.ones(n_seq, n_res),
        torch.ones(n_res, n_res),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
