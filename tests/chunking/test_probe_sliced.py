"""What a probe proves can be used: `sliced` along it gives the plain answer and every gradient.

Among these are what DeepSpeed's `sequence_tiled_compute` gets wrong: the gradient of a second
input, and outputs of another width than the inputs'.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from sci_memeff import Plan, Rule, apply
from sci_memeff.chunking import sliced
from sci_memeff.chunking.probing import independent_axes
from sci_memeff.errors import SecondDerivativeError

from .modules import answer, assert_same, double
from .test_probe import Of, mlp

G = torch.Generator().manual_seed(0)


def real(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=G, dtype=torch.float64).requires_grad_()


def mask(*shape: int) -> Tensor:
    found = torch.rand(*shape, generator=G) < 0.5
    assert set(found.unique().tolist()) == {False, True}
    return found


class Conditioned(nn.Module):
    """Rows x (r, 4) of one width and y (j, 6) whole, to rows of others: (r, 9) and (3, r)."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 9)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        h = (self.one(x) @ y.mT).softmax(-1) @ y
        return self.two(h), h[:, :3].mT


def biased(x: Tensor, biases: list[Tensor]) -> Tensor:
    return (x[..., None, :] + biases[0] + biases[1]).softmax(-1)


CALLS = {
    "mlp": (mlp(), (real(4, 7, 12),), {}),
    "attention": (
        nn.MultiheadAttention(16, 4, batch_first=True),
        (real(5, 7, 16), real(5, 6, 16), real(5, 6, 16)),
        {"need_weights": False},
    ),
    "layer": (nn.TransformerEncoderLayer(16, 4, 32, 0.0), (real(7, 5, 16),), {}),
    "convolution": (nn.Conv2d(3, 8, 3, padding=1), (real(5, 3, 6, 6),), {}),
    "recurrence": (nn.GRU(6, 8, 2, batch_first=True), (real(5, 7, 6),), {}),
    "masked": (
        Of(lambda x, mask: x.masked_fill(mask[..., None], 0.0).tanh()),
        (real(5, 7, 4),),
        {"mask": mask(5, 7)},
    ),
    "biases": (Of(biased), (real(5, 6, 7), [real(5, 1, 1, 7), real(1, 6, 4, 7)]), {}),
    "conditioned": (Conditioned(), (real(7, 4), real(8, 6)), {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_proven_axis_serves(name):
    module, args, kwargs = CALLS[name]
    module = double(module).eval()
    wanted = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x.requires_grad]
    wanted += list(module.parameters())

    def tensors(found: object) -> list[Tensor]:
        return [x for x in tree_leaves(found) if isinstance(x, Tensor)]

    plain = answer(lambda: tensors(module(*args, **kwargs)), wanted)
    found = independent_axes(module, args, kwargs)
    assert found
    for one in found:
        for size in (1, 3, 100):
            use = sliced(size, in_dims=dict(one.in_dims), out_dims=one.out_dims)
            ours = answer(lambda use=use: tensors(use(module.forward, args, kwargs)), wanted)
            assert_same(ours, plain, 1e-11)


def test_a_second_input_has_its_gradient_and_widths_may_differ():
    module, (x, y), _ = CALLS["conditioned"]
    module = double(module)
    (axis,) = (one for one in independent_axes(module, (x, y)) if one.length == len(x))
    assert axis.in_dims == ((0, -2),)
    assert axis.out_dims == (-2, -1)
    plain = answer(lambda: module(x, y), [x, y, *module.parameters()])
    plan = Plan(
        rules=(Rule(where="", seam="forward", use=sliced(3, dict(axis.in_dims), axis.out_dims)),)
    )
    apply(module, plan)
    assert_same(answer(lambda: module(x, y), [x, y, *module.parameters()]), plain)
    assert plain[3] is not None
    assert plain[3].abs().max() > 1e-3  # the second input's


def test_a_sliced_module_is_not_differentiated_twice():
    """As models do that train on forces."""
    module = double(mlp())
    x = real(7, 12)
    (axis,) = independent_axes(module, (x,))
    apply(module, Plan(rules=(Rule(where="", seam="forward", use=sliced(3, dict(axis.in_dims))),)))
    energy = module(x).square().sum()
    with pytest.raises(SecondDerivativeError, match="cannot be differentiated again") as caught:
        torch.autograd.grad(energy, x, create_graph=True)
    assert "leave out create_graph=True" in caught.value.mend
