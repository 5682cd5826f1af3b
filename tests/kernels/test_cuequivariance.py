"""Our biases as cuEquivariance takes them; a stand-in for its kernel computes by its formula."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor

from sci_memeff.errors import CannotAttendError, MissingPackageError
from sci_memeff.kernels.cuequivariance import cuequivariance_attention
from sci_memeff.kernels.reference import attention

G = torch.Generator().manual_seed(0)
H, Q, K, C = 2, 3, 5, 8


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=G)


def random_mask(*shape: int) -> Tensor:
    """Every row sees its first key: without any, the kernel's weights are not the reference's."""
    mask = torch.rand(*shape, generator=G) < 0.6
    mask[..., 0] = True
    assert mask.any()
    assert not mask.all()
    return mask.float()


def triangle_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor,
    mask: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """As the package documents it, for q (B, N, H, Q, D), bias (B, 1, H, Q, K)."""
    b, n, h, i, _ = q.shape
    j = k.shape[-2]
    assert k.shape == v.shape == (b, n, h, j, C)
    assert bias.shape == (b, 1, h, i, j)
    assert scale is not None
    logits = q @ k.mT * scale + bias
    if mask is not None:
        assert mask.shape == (b, n, 1, 1, j)
        assert mask.dtype == torch.bool
        logits = logits.where(mask, torch.tensor(-1e9))
    return logits.softmax(-1) @ v


@pytest.fixture
def package(monkeypatch):
    module = ModuleType("cuequivariance_torch")
    module.triangle_attention = triangle_attention  # pyright: ignore
    monkeypatch.setitem(sys.modules, "cuequivariance_torch", module)
    monkeypatch.setitem(sys.modules, "cuequivariance_ops_torch", ModuleType("kernels"))


def assert_same(batch: tuple[int, ...], masks: list[Tensor], biases: list[Tensor]) -> None:
    q, k, v = (normal(*batch, n, H, C).transpose(-2, -3) for n in (Q, K, K))
    needed = [x.requires_grad_() for x in (q, k, v, *biases)]
    found = cuequivariance_attention(q, k, v, (*masks, *biases))
    wanted = attention(q, k, v, (*masks, *biases))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    grad = normal(*wanted.shape)
    for a, b in zip(
        torch.autograd.grad(found, needed, grad),
        torch.autograd.grad(wanted, needed, grad),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("batch", "masks", "biases"),
    [
        ((), [], []),
        ((3,), [(3, 1, 1, K)], []),
        ((3,), [], [(1, H, Q, K)]),
        ((3,), [(3, 1, 1, K), (K,)], [(1, H, Q, K), (H, 1, K)]),
        ((2, 3), [(2, 3, 1, 1, K)], [(2, 1, H, Q, K)]),
        ((2, 3), [(3, 1, 1, K)], [(2, 3, H, Q, K)]),
        ((3,), [], [(3, 1, 1, K)]),
    ],
)
def test_agrees_with_the_reference(package, batch, masks, biases):
    strengths = (1e9, 1e5)
    assert_same(
        batch,
        [(random_mask(*s) - 1) * x for s, x in zip(masks, strengths, strict=False)],
        [normal(*s) for s in biases],
    )


def test_a_key_bias_that_is_no_mask_is_refused(package):
    q, k = normal(3, H, Q, C), normal(3, H, K, C)
    with pytest.raises(RuntimeError, match=r"is no mask(.|\n)*mend: use the form 'triton'"):
        cuequivariance_attention(q, k, k, (normal(3, 1, 1, K),))


def test_types_are_refused(package):
    q = torch.zeros(1, H, Q, C)
    with pytest.raises(CannotAttendError, match=r"q torch.float64.*\n  mend: make them all"):
        cuequivariance_attention(q.double(), q.double(), q.double())
    with pytest.raises(CannotAttendError, match=r"v torch.bfloat16\n  mend: make them all"):
        cuequivariance_attention(q, q, q.bfloat16())


@pytest.mark.parametrize("missing", ["cuequivariance_torch", "cuequivariance_ops_torch"])
def test_the_package_may_be_missing(package, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    q = torch.zeros(1, H, Q, C)
    wanted = r"needs cuequivariance-torch.*\n  mend: pip install 'sci-memeff\[cuequivariance\]'"
    with pytest.raises(MissingPackageError, match=wanted):
        cuequivariance_attention(q, q, q)
