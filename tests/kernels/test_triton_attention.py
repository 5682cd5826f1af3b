"""The Triton kernels: by Triton's interpreter, as compiled for sm_90, and on a GPU where one is."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from sci_memeff.errors import CannotAttendError, MissingPackageError
from sci_memeff.kernels.triton_attention import triton_attention

from .triton_process import (
    Case,
    atomic_ptx,
    broadcast_operands,
    compiled,
    differences,
    errors_beside_plain,
    in_a_walk,
    process,
    repeats,
    second_derivative,
    under_torch_compile,
    without_any_key,
    without_biases,
)

needs_triton = pytest.mark.skipif(not find_spec("triton"), reason="triton is not installed")

ATOMIC = re.compile(r"\b(atom|red)\.[a-z]")  # PTX's atomic instructions

MASK, PAIR = (3, 1, 1, 37), (1, 2, 20, 37)
CASES = {
    "no bias": Case(),
    "mask": Case(masks=(MASK,)),
    "pair": Case(biases=(PAIR,)),
    "mask and pair": Case(masks=(MASK,), biases=(PAIR,)),
    "mask with a gradient": Case(biases=(MASK, PAIR)),
    "two masks, two pairs": Case(masks=(MASK, (37,)), biases=(PAIR, (2, 1, 37), (20, 37))),
    "keys of each head": Case(masks=(MASK,), biases=((3, 2, 1, 37), (2, 1, 37))),
    "one row and query": Case(masks=(MASK,), biases=((3, 1, 20, 37),)),
    "queries alone": Case(biases=((2, 20, 1),)),
    "no batch": Case(batch=(), masks=((1, 1, 37),), biases=((2, 20, 37),)),
    "groups": Case(batch=(2, 3), masks=((2, 3, 1, 1, 37),), biases=((2, 1, 2, 20, 37),)),
    "rows first": Case(batch=(2, 3), masks=((2, 3, 1, 1, 37),), biases=((3, 2, 20, 37),)),
    "one": Case(batch=(2,), i=1, j=1, masks=((2, 1, 1, 1),), biases=((1, 2, 1, 1),)),
    "one query": Case(batch=(2,), i=1, masks=((2, 1, 1, 37),), biases=((1, 2, 1, 37),)),
    "one key": Case(batch=(2,), j=1, biases=((1, 2, 20, 1),)),
    "full tiles": Case(i=64, j=64, c=16, masks=((3, 1, 1, 64),), biases=((1, 2, 64, 64),)),
    "more rows than a part": Case(batch=(35,), h=1, i=5, j=6, biases=((1, 1, 5, 6),)),
    "nothing": Case(batch=(0,)),
}


@pytest.fixture(scope="module")
def interpreter():
    """A process in which the kernels run on the CPU, slowly."""
    pytest.importorskip("triton", reason="triton is not installed")
    with process(TRITON_INTERPRET="1") as run:
        yield run


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_reference(interpreter, name):
    assert max(interpreter(differences, CASES[name])) < 2e-6


@pytest.mark.parametrize("c", [1, 5, 16, 32, 64, 128])
def test_every_width(interpreter, c):
    case = Case(batch=(2,), c=c, masks=((2, 1, 1, 37),), biases=(PAIR,))
    assert max(interpreter(differences, case)) < 3e-6


# The interpreter cuts bfloat16 off, where a GPU rounds, and so errs twice as far.
@pytest.mark.parametrize(("dtype", "ratio"), [(torch.bfloat16, 1.25), (torch.float16, 0.75)])
@pytest.mark.parametrize("c", [8, 32])
def test_half_precision_beside_the_plain_form(interpreter, dtype, ratio, c):
    case = Case(i=140, j=70, c=c, masks=((3, 1, 1, 70),), biases=((1, 2, 140, 70),), dtype=dtype)
    case = replace(case, strength=6e4)  # float16 has no 1e9
    for ours, plain in interpreter(errors_beside_plain, case):
        assert 0 < ours < ratio * plain


def test_two_runs_give_the_same_bits(interpreter):
    assert interpreter(repeats, CASES["mask and pair"])
    assert interpreter(repeats, replace(CASES["more rows than a part"], dtype=torch.bfloat16))


@pytest.mark.parametrize("strength", [1e9, 1e4, math.inf])
def test_a_query_without_any_key_is_finite(interpreter, strength):
    *found, mean = interpreter(without_any_key, strength)
    assert all(x.isfinite().all() for x in found)
    out, _, _, of_values, _ = found
    if strength == 1e9:  # float32 sees no difference between the keys
        torch.testing.assert_close(out[1], mean[1].expand_as(out[1]))
        grad = Case(batch=(2,), masks=((2, 1, 1, 37),), biases=(PAIR,)).tensors()[2]
        each = grad[1].sum(-2, keepdim=True) / 37
        torch.testing.assert_close(of_values[1], each.expand_as(of_values[1]))
    if strength == math.inf:
        assert not out[1].any()
        assert not of_values[1].any()
        assert out[0].any()


def test_operands_and_gradients_that_are_broadcast(interpreter):
    assert max(interpreter(broadcast_operands)) < 1e-5


def test_in_a_walk(interpreter):
    assert max(interpreter(in_a_walk)) < 2e-5


def test_under_torch_compile(interpreter):
    assert interpreter(under_torch_compile)


def test_the_comparison_can_fail(interpreter):
    assert min(interpreter(differences, CASES["mask and pair"], without_biases)) > 1e-2


def test_a_second_derivative_is_refused(interpreter):
    said = interpreter(second_derivative)
    assert "cannot be differentiated again" in said
    assert "mend: leave out create_graph=True" in said


@pytest.fixture(scope="module")
def compiler(tmp_path_factory):
    """A process in which the kernels are compiled."""
    pytest.importorskip("triton", reason="triton is not installed")
    with process(TRITON_CACHE_DIR=str(tmp_path_factory.mktemp("triton"))) as run:
        yield run


@pytest.mark.parametrize(
    ("dtype", "c"),
    [(torch.bfloat16, 8), (torch.bfloat16, 32), (torch.bfloat16, 64), (torch.float32, 32)],
)
def test_compiles_for_sm_90_without_atomics_and_within_consumer_cards(compiler, dtype, c):
    kernels = compiler(compiled, dtype, c)
    assert [k.name for k in kernels] == [
        "forward_kernel",
        "query_kernel",
        "key_kernel",
        "pair_kernel",
    ]
    for kernel in kernels:
        assert ".target sm_90" in kernel.ptx
        assert "st.global" in kernel.ptx
        assert not ATOMIC.search(kernel.ptx)
        assert kernel.shared_bytes <= 99 * 1024
        assert kernel.stack_bytes == 0  # nothing is spilled
        if dtype == torch.bfloat16:
            assert "wgmma" in kernel.ptx or "mma.sync" in kernel.ptx


@pytest.mark.parametrize(
    ("sizes", "with_mask", "with_pair"),
    [
        ((1, 1, 1, 1, 1), True, True),  # Triton compiles a size of one, and None, as constants
        ((2, 3, 1, 1, 37), False, True),
        ((1, 2, 3, 20, 1), True, False),
        ((1, 40, 1, 5, 6), False, False),
    ],
)
def test_compiles_for_any_sizes_and_biases(compiler, sizes, with_mask, with_pair):
    kernels = compiler(compiled, torch.bfloat16, 8, sizes, with_mask, with_pair)
    assert len(kernels) == 3 + with_pair


def test_an_atomic_addition_would_be_found(compiler):
    assert ATOMIC.search(compiler(atomic_ptx))


def test_fake_tensors_show_shapes_layout_and_flops():
    b, s, h, i, j, c = 2, 3, 4, 5, 7, 16
    with FakeTensorMode(), FlopCounterMode(display=False) as flops:
        q, k, v = (
            torch.empty(b, s, n, h, c, dtype=torch.bfloat16).transpose(2, 3).requires_grad_()
            for n in (i, j, j)
        )
        mask, pair = torch.empty(b, s, 1, 1, j), torch.empty(b, 1, h, i, j, requires_grad=True)
        out = triton_attention(q, k, v, (mask, pair))
        assert (out.shape, out.dtype) == (q.shape, q.dtype)
        assert out.transpose(2, 3).is_contiguous()
        forward = flops.get_total_flops()
        grads = torch.autograd.grad(out.sum(), (q, k, v, pair))
    assert [x.shape for x in grads] == [q.shape, k.shape, v.shape, pair.shape]
    assert [x.dtype for x in grads] == [torch.bfloat16] * 3 + [torch.float32]
    product = 2 * b * s * h * i * j * c
    assert forward == 2 * product
    assert flops.get_total_flops() == (2 + 9) * product


def test_without_a_pair_bias_two_products_fewer():
    with FakeTensorMode(), FlopCounterMode(display=False) as flops:
        q = torch.empty(3, 2, 5, 8, requires_grad=True)
        triton_attention(q, q, q).sum().backward()
    assert flops.get_total_flops() == (2 + 7) * 2 * 3 * 2 * 5 * 5 * 8


@needs_triton
def test_a_cpu_is_refused(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    q = torch.zeros(1, 2, 3, 4)
    with pytest.raises(CannotAttendError, match=r"cannot run on cpu\n  mend: move the model"):
        triton_attention(q, q, q)


def test_triton_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    q = torch.zeros(1, 2, 3, 4)
    wanted = r"needs triton\n  mend: pip install 'sci-memeff\[triton\]'"
    with pytest.raises(MissingPackageError, match=wanted):
        triton_attention(q, q, q)


def test_types_and_widths_are_refused():
    q = torch.zeros(1, 2, 3, 4)
    with pytest.raises(CannotAttendError, match=r"q torch.float64.*\n  mend: make them all"):
        triton_attention(q.double(), q.double(), q.double())
    with pytest.raises(CannotAttendError, match=r"k torch.bfloat16.*\n  mend: make them all"):
        triton_attention(q, q.bfloat16(), q)
    wide = torch.zeros(1, 2, 3, 129)
    with pytest.raises(CannotAttendError, match=r"129 channels.*\n  mend: use the form"):
        triton_attention(wide, wide, wide)


@pytest.fixture(scope="module")
def device():
    """A process in which the kernels run on a GPU."""
    pytest.importorskip("triton", reason="triton is not installed")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    with process() as run:
        yield run


@pytest.mark.gpu
@pytest.mark.parametrize("name", CASES)
def test_agrees_on_a_gpu(device, name):
    assert max(device(differences, replace(CASES[name], device="cuda"))) < 4e-6


@pytest.mark.gpu
@pytest.mark.parametrize("c", [8, 16, 32, 64, 128])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_on_a_gpu(device, dtype, c):
    masks, biases = ((40, 1, 1, 300),), ((1, 4, 260, 300),)
    case = Case((40,), 4, 260, 300, c, masks, biases, dtype, "cuda", strength=6e4)
    for ours, plain in device(errors_beside_plain, case):
        assert 0 < ours < 1.05 * plain
    assert device(repeats, case)
