"""Every codec, on tensors however they lie."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

from sci_memeff._types import Codec
from sci_memeff.errors import BadConfigError, KeptTensorError
from sci_memeff.precision.codecs import CODECS, Fp8, Int8

EVERY = [
    Fp8(),
    Fp8(5),
    Fp8(rounding="stochastic"),
    Int8(),
    Int8(5),
    Int8(rounding="stochastic"),
]


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)


LAID_OUT = {
    "contiguous": normal(3, 5, 20),
    "one": normal(1),
    "no dimensions": normal(),
    "columns first": normal(3, 20, 5).mT,
    "channels last": normal(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "gaps": normal(3, 5, 40)[..., ::2],
    "rows of another": normal(3, 9, 20)[:, 2:7],
    "overlapping": normal(30).as_strided((3, 20), (5, 1)),
    "expanded": normal(1, 5, 20).expand(3, 5, 20),
    "an offset": normal(7 + 60)[7:].view(3, 20),
    "one channel": normal(3, 5, 1),
    "empty": normal(0),
    "zero rows": normal(0, 5, 20),
    "zero channels": normal(3, 0),
    "negated": torch.view_as_complex(normal(3, 20, 2)).conj().imag,
}


@pytest.mark.parametrize("codec", EVERY, ids=str)
@pytest.mark.parametrize("name", LAID_OUT)
def test_what_comes_back_is_laid_out_as_it_was(name, codec):
    x = LAID_OUT[name]
    encoded = codec.encode(x)
    found = codec.decode(encoded)
    assert (found.shape, found.dtype, found.device) == (x.shape, x.dtype, x.device)
    assert found.stride() == torch.empty_like(x).stride()
    if x.numel():
        assert (found - x).abs().max() <= codec.error * x.abs().max() * (1 + 1e-6)
    if x.is_contiguous():
        assert sum(part.nbytes for part in encoded.parts) == codec.bytes(x.shape, x.dtype)
    again = codec.encode(x)
    assert all(torch.equal(a, b) for a, b in zip(encoded.parts, again.parts, strict=True))


@pytest.mark.parametrize("codec", EVERY, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_no_element_is_further_off_than_it_says(codec, dtype):
    x = normal(200, 35, dtype=dtype) * normal(200, 1).exp().to(dtype)
    found = codec.decode(codec.encode(x))
    assert found.dtype == dtype
    size = codec.group or 35
    groups = [slice(i, min(i + size, 35)) for i in range(0, 35, size)]
    for cut in groups:
        largest = x[:, cut].double().abs().amax(-1, keepdim=True)
        error = (found[:, cut].double() - x[:, cut].double()).abs()
        rounding = torch.finfo(dtype).eps * largest
        assert (error <= codec.error * largest + rounding).all()
        assert (error > 0.7 * codec.error * largest).any()  # the bound is no guess


@pytest.mark.parametrize("codec", EVERY, ids=str)
def test_what_is_no_number_comes_back_as_none(codec):
    x = normal(4, 20)
    x[0, 3], x[1, 4], x[2, 5] = math.inf, -math.inf, math.nan
    found = codec.decode(codec.encode(x))
    assert torch.equal(found.isnan(), ~x.isfinite())
    finite = x.isfinite()
    assert (found - x)[finite].abs().max() < codec.error * x[finite].abs().max()
    assert codec.decode(codec.encode(torch.full((4, 20), math.inf))).isnan().all()
    assert not codec.decode(codec.encode(torch.zeros(4, 20))).any()


@pytest.mark.parametrize("codec", EVERY, ids=str)
def test_fake_tensors_come_to_the_same_bytes(codec):
    for x in (normal(3, 5, 20), normal(3, 20, 5).mT, normal(3, 5, 40)[..., ::2]):
        real = codec.encode(x)
        with FakeTensorMode() as mode:
            encoded = codec.encode(mode.from_tensor(x))
            found = codec.decode(encoded)
        assert [p.nbytes for p in encoded.parts] == [p.nbytes for p in real.parts]
        assert (found.shape, found.stride()) == (x.shape, codec.decode(real).stride())


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float64, torch.complex64])
def test_other_types_are_refused(dtype):
    told = r"cannot be kept in 8 bits\n  mend: keep it as it is"
    for codec in (Fp8(), Int8()):
        with pytest.raises(KeptTensorError, match=told):
            codec.encode(torch.zeros(3, dtype=dtype))


@pytest.mark.parametrize("kind", CODECS.values())
def test_settings_are_checked(kind):
    for group in (0, -1, 1025):
        told = rf"that of {group} numbers\n  mend: give a group of 1 to 1024 channels"
        with pytest.raises(BadConfigError, match=told):
            kind(group)


def test_codecs_are_values():
    assert {Fp8(), Fp8(64), Int8(), Int8(None)} == {Fp8(), Int8()}
    assert Fp8(rounding="stochastic") != Fp8()
    assert all(isinstance(kind(), Codec) for kind in CODECS.values())
    assert list(map(str, EVERY)) == [
        "fp8",
        "fp8 in groups of 5",
        "fp8, rounded stochastically",
        "int8",
        "int8 in groups of 5",
        "int8, rounded stochastically",
    ]
