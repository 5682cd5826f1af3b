"""Every form of attention, ours and others', side by side: time, bytes and errors.

    OMP_NUM_THREADS=2 python benchmarks/kernels.py
    python benchmarks/kernels.py --shapes 16,4,384,32 --dtypes fp32 --forms streaming blocked

Shapes are rows, heads, residues, channels; a mask bias (rows, 1, 1, residues) and a pair bias
(1, heads, residues, residues) that needs a gradient, which a fifth number 0 leaves out (column
attention). Every form starts from what the linear layers of q, k and v give, (rows, residues,
heads x channels), and ends with the heads joined again, so that copies count.

  forward    a pass without a graph, ms
  step       a pass with one and the gradients of q, k, v and the pair bias, ms
  ratio      forward + step, which is what a walk does, over the reference's: run alternately,
             the median of the ratios of five rounds
  MiB        most bytes alive in a step, over those of the inputs
  errors     of the result, and the worst of the gradients: largest difference from float64, over
             the largest value

On a CUDA machine the shapes are those of triangle attention at 256 to 1024 residues in bf16, and
the figures that others published are printed beside them. The last line is JSON:
{"device", "torch", "threads", "rows": [{"shape", "dtype", "form", "forward_ms", "step_ms",
"ratio", "bytes", "error", "gradient_error"}]}.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import NamedTuple, get_args

import torch
from attention_peers import forward_only, has_package, peers
from torch import Tensor

from sci_memeff import measure
from sci_memeff._types import Attend
from sci_memeff.errors import CannotAttendError, MissingPackageError
from sci_memeff.kernels import Form, attend

ROUNDS = 5
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}
ON_PROCESSORS = ["8,4,256,32", "32,4,256,32", "128,8,256,32", "8,8,128,32,0", "16,4,384,32"]
ON_PROCESSORS += ["8,4,768,32"]
ON_GPUS = [f"{n},4,{n},32" for n in (256, 384, 512, 768, 1024)]
LARGEST_EXACT = 4 << 30  # bytes of float64 logits up to which the reference is the truth
PUBLISHED = """published, A100-80, bf16, 4 heads of 32, 1024 residues, forward and backward in ms
(a step is both): trifast 8.45 + 52.8, DS4Sci 25.9 + 114.6, compiled PyTorch 64.1 + 69.7"""
HEADER = "  forward      step   ratio       MiB     error  gradient"


class Shape(NamedTuple):
    """Rows, heads, residues, channels; whether there is a pair bias."""

    rows: int
    heads: int
    residues: int
    channels: int
    pair: int = 1

    def __str__(self) -> str:
        return f"({', '.join(map(str, self[:4]))})" + ("" if self.pair else " no pair bias")


@dataclass
class Case:
    """What a module hands to attention, and the gradient that comes back."""

    x: list[Tensor]
    mask: Tensor
    pair: list[Tensor]
    grad: Tensor
    shape: Shape

    def leaves(self) -> list[Tensor]:
        return [*self.x, *self.pair]

    def forward(self, form: Attend) -> Tensor:
        heads = [x.unflatten(-1, (self.shape.heads, -1)).transpose(-2, -3) for x in self.x]
        out = form(heads[0], heads[1], heads[2], [self.mask, *self.pair])
        return out.transpose(-2, -3).flatten(-2)

    def step(self, form: Attend) -> tuple[Tensor | None, ...]:
        out = self.forward(form)
        return torch.autograd.grad(out, self.leaves(), self.grad, allow_unused=True)

    def without_graph(self, form: Attend) -> Tensor:
        with torch.no_grad():
            return self.forward(form)

    def exact(self) -> Case:
        tensors = [x.detach().double().requires_grad_() for x in self.leaves()]
        return Case(tensors[:3], self.mask.double(), tensors[3:], self.grad.double(), self.shape)


@dataclass
class Row:
    """A line of the table."""

    shape: Shape
    dtype: str
    form: str
    forward_ms: float
    step_ms: float | None = None
    ratio: float | None = None
    bytes: int | None = None
    error: float | None = None
    gradient_error: float | None = None

    def __str__(self) -> str:
        def shown(value: float | None, form: str) -> str:
            return format(value, form) if value is not None else "-"

        return (
            f"{self.form:32}{self.forward_ms:9.2f}{shown(self.step_ms, '.2f'):>10}"
            f"{shown(self.ratio, '.2f'):>8}"
            f"{shown(None if self.bytes is None else self.bytes / 2**20, '.1f'):>10}"
            f"{shown(self.error, '.1e'):>10}{shown(self.gradient_error, '.1e'):>10}"
        )


def make_case(shape: Shape, dtype: torch.dtype, device: str) -> Case:
    generator = torch.Generator().manual_seed(0)

    def normal(*sizes: int) -> Tensor:
        x = torch.randn(*sizes, generator=generator).to(device, dtype)
        return x.requires_grad_()

    rows, heads, residues, channels, pair = shape
    x = [normal(rows, residues, heads * channels) for _ in range(3)]
    mask = torch.rand(rows, 1, 1, residues, generator=generator) < 0.9
    assert mask.any()
    assert not mask.all()
    biases = [normal(1, heads, residues, residues)] if pair else []
    grad = normal(rows, residues, heads * channels).detach()
    return Case(x, ((mask.to(dtype) - 1) * 1e9).to(device), biases, grad, shape)


def alternately(
    runs: dict[str, Callable[[], object]], device: str, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each run, one of each in every round."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(ROUNDS + 1):  # the first one is not counted
        for name, run in runs.items():
            synchronize(device)
            start = clock()
            run()
            synchronize(device)
            if round_:
                times[name].append(clock() - start)
    return times


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def forms(names: Sequence[str], device: str) -> dict[str, Attend]:
    """Those asked for that can be had here, the reference first; tells which cannot."""
    known: dict[str, Attend] = {"reference": attend("reference")}
    for form in get_args(Form):
        if form == "auto" or (device == "cpu" and form in ("triton", "cuequivariance")):
            continue
        try:
            known[form] = attend(form)
        except MissingPackageError as error:
            print(f"{form} is left out: {error.wrong}")
    for name, peer in peers(device).items():
        if has_package(name):
            known[name] = peer
        else:
            print(f"{name} is left out: it is not installed")
    if names == ["all"]:
        return known
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"there is no form {unknown[0]!r} here; there are: {', '.join(known)}")
    return {name: form for name, form in known.items() if name in {"reference", *names}}


def usable(case: Case, chosen: dict[str, Attend], device: str) -> dict[str, Attend]:
    """Those that can do a case; each is run once here, and compiled if it has to be."""
    torch.compiler.reset()  # after eight compilations of a function it would run it plainly
    found = {}
    for name, form in chosen.items():
        try:
            case.without_graph(form)
            if not forward_only(name, device):
                case.step(form)
        except Exception as error:
            expected = (torch.OutOfMemoryError, CannotAttendError)
            if name not in peers(device) and not isinstance(error, expected):
                raise
            print(f"{name:32} cannot: {str(error).splitlines()[0]}")
        else:
            found[name] = form
    return found


def rows_of(
    case: Case,
    chosen: dict[str, Attend],
    dtype: str,
    device: str,
    clock: Callable[[], float],
    *,
    with_errors: bool,
) -> Iterable[Row]:
    """One row of the table for each form."""
    chosen = usable(case, chosen, device)
    trained = {name: form for name, form in chosen.items() if not forward_only(name, device)}
    forward = alternately(
        {name: partial(case.without_graph, form) for name, form in chosen.items()}, device, clock
    )
    step = alternately(
        {name: partial(case.step, form) for name, form in trained.items()}, device, clock
    )
    truth = exact_results(case) if with_errors else None
    for name, form in chosen.items():
        row = Row(case.shape, dtype, name, 1e3 * statistics.median(forward[name]))
        if name in trained:
            row.step_ms = 1e3 * statistics.median(step[name])
            row.bytes = bytes_over_inputs(case, form)
            if "reference" in trained:
                row.ratio = paired_ratio(
                    [forward[name], step[name]], [forward["reference"], step["reference"]]
                )
        if truth is not None:
            row.error = error(case.without_graph(form), truth[0])
            if name in trained:
                gradients = zip(case.step(form), truth[1:], strict=True)
                row.gradient_error = max(error(x, y) for x, y in gradients if x is not None)
        yield row


def paired_ratio(ours: list[list[float]], theirs: list[list[float]]) -> float:
    """The median over rounds of our sum over theirs."""
    sums = [[sum(times) for times in zip(*both, strict=True)] for both in (ours, theirs)]
    return statistics.median(a / b for a, b in zip(*sums, strict=True))


def exact_results(case: Case) -> list[Tensor]:
    rows, heads, residues, *_ = case.shape
    small = rows * heads * residues**2 * 8 <= LARGEST_EXACT
    form = attend("reference" if small else "streaming")
    exact = case.exact()
    return [exact.without_graph(form), *(x for x in exact.step(form) if x is not None)]


def error(found: Tensor, truth: Tensor) -> float:
    return ((found - truth).abs().max() / truth.abs().max()).item()


def bytes_over_inputs(case: Case, form: Attend) -> int:
    given = (*case.leaves(), case.mask, case.grad)
    with measure(device=case.grad.device) as bytes_:
        case.step(form)
    return bytes_.peak - sum(x.nbytes for x in given)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    on_gpu = device == "cuda"
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default=device, help="default: a GPU if there is one"
    )
    parser.add_argument("--shapes", nargs="+", default=ON_GPUS if on_gpu else ON_PROCESSORS)
    parser.add_argument(
        "--dtypes", nargs="+", choices=DTYPES, default=["bf16"] if on_gpu else ["fp32", "bf16"]
    )
    parser.add_argument("--forms", nargs="+", default=["all"], help="the reference is always there")
    parser.add_argument(
        "--without", nargs="+", default=[], metavar="FORM", help="forms to leave out of them"
    )
    parser.add_argument("--no-errors", action="store_true", help="faster: no float64 runs")
    parser.add_argument(
        "--cpu-seconds",
        action="store_true",
        help="the process's CPU time instead of the clock's: steadier beside other programs, with "
        "one thread; not for GPUs",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    given = parse(arguments)
    clock = time.process_time if given.cpu_seconds else time.perf_counter
    chosen = forms(given.forms, given.device)
    chosen = {name: form for name, form in chosen.items() if name not in given.without}
    where = torch.cuda.get_device_name() if given.device == "cuda" else "CPU"
    print(f"torch {torch.__version__}, {where}, {torch.get_num_threads()} threads")
    if given.device == "cuda":
        print(PUBLISHED)
    found: list[Row] = []
    for shape in (Shape(*map(int, text.split(","))) for text in given.shapes):
        for dtype in given.dtypes:
            print(f"\n{f'{shape} {dtype}':32}{HEADER}")
            case = make_case(shape, DTYPES[dtype], given.device)
            rows = rows_of(
                case, chosen, dtype, given.device, clock, with_errors=not given.no_errors
            )
            for row in rows:
                print(row, flush=True)
                found.append(row)
    result = {
        "device": where,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "rows": [asdict(row) for row in found],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1:])
