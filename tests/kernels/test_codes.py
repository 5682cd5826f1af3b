"""Eight-bit codes: what comes back, to which bytes, and the same bits from Triton's kernels."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

from sci_memeff.errors import BadConfigError
from sci_memeff.kernels import codes as plain_codes
from sci_memeff.kernels.codes import (
    CodeFormat,
    Groups,
    Rounding,
    check_format,
    decode_groups,
    encode_groups,
)

from .codes_process import compiled_codes, numbers, same_bits, same_bits_on_a_gpu
from .triton_process import process

FORMATS, ROUNDINGS = get_args(CodeFormat), get_args(Rounding)
GROUPS = [Groups(*one) for one in ((64, 64), (256, 64), (130, 64), (7, 3), (100, 100), (1, 1))]


def there_and_back(
    x: Tensor, groups: Groups, form: CodeFormat, rounding: Rounding = "nearest"
) -> Tensor:
    codes, scales = encode_groups(x, groups, form, rounding)
    assert codes.dtype.itemsize == 1
    assert (codes.shape, scales.shape) == (x.shape, (groups.count(x.numel()),))
    found = decode_groups(codes, scales, groups, form, x.dtype)
    assert (found.dtype, found.shape) == (x.dtype, x.shape)
    return found


def test_e4m3_codes_of_squares_are_torch_s():
    """Decoded, every code is the root of what torch takes it for; encoded, it is itself again."""
    every = torch.arange(256, dtype=torch.uint8)
    every = every[(every & 0x7F) != 0x7F]
    squares = every.view(torch.float8_e4m3fn).float()
    x = squares.abs().sqrt().copysign(squares) * 2.0  # as large a number has a scale of 2
    groups = Groups(len(x), len(x))
    codes, scales = encode_groups(x, groups, "fp8")
    step = scales.float().item() / 2
    assert 1 <= step <= 1 + 2.0**-7
    found = decode_groups(every, torch.ones(1).bfloat16() * 2, groups, "fp8", torch.float32)
    torch.testing.assert_close(found, x, rtol=1e-6, atol=0)
    again, _ = encode_groups(found * step, groups, "fp8")
    assert torch.equal(again, every) or step == 1
    assert torch.equal(codes.to(torch.int32) & 0x80, every.to(torch.int32) & 0x80)


@pytest.mark.parametrize(("form", "ratio"), [("fp8", 0.013), ("int8", 0.0065)])
def test_errors_of_normal_numbers(form, ratio):
    x = torch.randn(64 * 2000, generator=torch.Generator().manual_seed(0))
    errors = {}
    for rounding in ROUNDINGS:
        error = there_and_back(x, Groups(64, 64), form, rounding) - x
        errors[rounding] = float(error.norm() / x.norm())
        assert abs(float(error.mean())) < 3 * float(error.std()) / len(x) ** 0.5
    assert 0.9 * ratio < errors["nearest"] < ratio
    assert 1.3 < errors["stochastic"] / errors["nearest"] < 1.5


@pytest.mark.parametrize("form", FORMATS)
def test_stochastic_rounding_is_right_on_average(form):
    """Over groups that hold the same number beside others."""
    g = torch.Generator().manual_seed(0)
    for value in (0.3, -0.77, 0.031):
        x = torch.rand(4000, 16, generator=g)
        x[:, 0], x[:, 1] = value, 1.0
        found = {
            rounding: there_and_back(x.flatten(), Groups(16, 16), form, rounding).view_as(x)[:, 0]
            for rounding in ROUNDINGS
        }
        assert found["nearest"].unique().numel() == 1
        assert found["stochastic"].unique().numel() == 2
        spread = float(found["stochastic"].std()) / 4000**0.5
        assert abs(float(found["stochastic"].mean()) - value) < 4 * spread
        assert abs(float(found["nearest"].mean()) - value) > 4 * spread


@pytest.mark.parametrize("form", FORMATS)
def test_stochastic_rounding_is_the_same_each_time_and_draws_nothing(form):
    x = torch.randn(640, generator=torch.Generator().manual_seed(0))
    state = torch.get_rng_state()
    first, second = (encode_groups(x, Groups(64, 32), form, "stochastic") for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first[0], second[0])
    # of equal groups, each is rounded by itself; a bit of one changes all of that one
    twice, _ = encode_groups(x[:64].repeat(2), Groups(64, 64), form, "stochastic")
    assert not torch.equal(*twice.view(2, 64).unbind())
    x[0] = x[0].nextafter(torch.tensor(torch.inf))
    third, _ = encode_groups(x, Groups(64, 32), form, "stochastic")
    differing = (first[0] != third).view(-1, 32).any(1)
    assert differing[0]
    assert not differing[1:].any()


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize(("form", "rounding"), list(product(FORMATS, ROUNDINGS)))
def test_what_is_no_number_is_none_afterwards(form, rounding, groups):
    x = numbers(groups, 6, torch.float32)
    found = there_and_back(x, groups, form, rounding)
    assert 1 <= found.isnan().sum() <= 2
    assert torch.equal(found.isnan(), ~x.isfinite())
    assert not found.view(-1, groups.row)[1].any()  # zeros


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", FORMATS)
def test_the_largest_and_the_smallest(form, dtype):
    largest = torch.finfo(dtype).max
    for size in (largest, largest * 0.99, largest * 0.98):
        x = torch.tensor([size, -size, 1.0, 0.0]).to(dtype)
        found = there_and_back(x, Groups(4, 4), form)
        assert found.isfinite().all()
        torch.testing.assert_close(found[:2], x[:2], rtol=0.03, atol=0)
    x = torch.tensor([1e-27, -1e-30, 1e-45, 0.0])
    assert (there_and_back(x, Groups(4, 1), form) - x).abs().max() < 3e-29


@pytest.mark.parametrize("form", FORMATS)
def test_in_parts_as_whole(form, monkeypatch):
    """Long rows and many of them are worked through in parts."""
    for groups, rows in ((Groups(1000, 64), 3), (Groups(10, 3), 90)):
        x = torch.randn(groups.row * rows, generator=torch.Generator().manual_seed(0))
        whole = encode_groups(x, groups, form, "stochastic")
        back = decode_groups(*whole, groups, form, x.dtype)
        monkeypatch.setattr(plain_codes, "AT_A_TIME", 128)
        parts = encode_groups(x, groups, form, "stochastic")
        assert torch.equal(whole[0], parts[0])
        assert torch.equal(whole[1], parts[1])
        assert torch.equal(decode_groups(*parts, groups, form, x.dtype), back)
        monkeypatch.undo()


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_at_all(form):
    assert there_and_back(torch.empty(0), Groups(5, 2), form).shape == (0,)


@pytest.mark.parametrize("form", FORMATS)
def test_fake_tensors_come_to_the_same_bytes(form):
    def made() -> list[Tensor]:
        x = torch.empty(130 * 3, dtype=torch.bfloat16)
        codes, scales = encode_groups(x, Groups(130, 64), form)
        back = decode_groups(codes, scales, Groups(130, 64), form, torch.bfloat16)
        return [codes, scales, back]

    real = made()
    with FakeTensorMode():
        fake = made()
    assert [(x.shape, x.dtype) for x in fake] == [(x.shape, x.dtype) for x in real]
    assert [x.nbytes for x in real] == [390, 18, 780]


@pytest.mark.parametrize("form", FORMATS)
def test_the_operations_are_as_torch_wants_them(form):
    x = torch.randn(130)
    codes, scales = encode_groups(x, Groups(130, 64), form)
    # not with sizes that are symbols: the tests' own checks of types take them for no numbers
    kinds = ("test_schema", "test_faketensor", "test_autograd_registration")
    for operation, given in (
        (torch.ops.sci_memeff.encode_groups, (x, 130, 64, form, True)),
        (torch.ops.sci_memeff.decode_groups, (codes, scales, 130, 64, form, torch.float32)),
    ):
        torch.library.opcheck(operation, given, test_utils=kinds)


def test_unknown_names_are_refused():
    # the tests' own checks of types would refuse them before `encode_groups` does
    with pytest.raises(BadConfigError, match=r"'fp4' is no format .*\n  mend: give one of 'fp8'"):
        check_format("fp4", "nearest")
    with pytest.raises(BadConfigError, match=r"'up' is no rounding .*\n  mend: give one of 'near"):
        check_format("fp8", "up")


# Triton's kernels


@pytest.fixture(scope="module")
def interpreter():
    """A process in which the kernels run on the CPU, slowly."""
    pytest.importorskip("triton", reason="triton is not installed")
    with process(TRITON_INTERPRET="1") as run:
        yield run


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("form", "rounding"), list(product(FORMATS, ROUNDINGS)))
@pytest.mark.parametrize("groups", GROUPS)
def test_the_kernels_give_the_same_bits(interpreter, groups, form, rounding, dtype):
    assert interpreter(same_bits, groups, form, rounding, dtype) == [True] * 3


def test_more_groups_than_one_program_has(interpreter):
    assert interpreter(same_bits, Groups(96, 32), "fp8", "stochastic", torch.float32, 101)


@pytest.fixture(scope="module")
def compiler(tmp_path_factory):
    """A process in which the kernels are compiled."""
    pytest.importorskip("triton", reason="triton is not installed")
    with process(TRITON_CACHE_DIR=str(tmp_path_factory.mktemp("triton"))) as run:
        yield run


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("form", "rounding"), list(product(FORMATS, ROUNDINGS)))
def test_they_compile_for_sm_90(compiler, form, rounding, dtype):
    kernels = compiler(compiled_codes, form, rounding, dtype)
    assert [k.name for k in kernels] == ["encode_kernel", "decode_kernel"]
    for kernel in kernels:
        assert ".target sm_90" in kernel.ptx
        assert "st.global" in kernel.ptx
        assert "fma." not in kernel.ptx  # see `enable_fp_fusion`
        assert "e4m3" not in kernel.ptx  # older cards have no such instruction
        assert kernel.stack_bytes == 0  # nothing is spilled


@pytest.fixture(scope="module")
def device():
    """A process in which the kernels run on a GPU."""
    pytest.importorskip("triton", reason="triton is not installed")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    with process() as run:
        yield run


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("form", "rounding"), list(product(FORMATS, ROUNDINGS)))
@pytest.mark.parametrize("groups", GROUPS)
def test_a_gpu_gives_the_same_bits(device, groups, form, rounding, dtype):
    assert device(same_bits_on_a_gpu, groups, form, rounding, dtype) == [True] * 3
