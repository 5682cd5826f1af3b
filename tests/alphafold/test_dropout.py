import pytest
import torch

from sci_memeff.alphafold.dropout import SharedDropout
from sci_memeff.alphafold.evoformer import EvoformerBlock
from sci_memeff.alphafold.templates import TemplatePairBlock

from .networks import SMALL, random_mask, redrawn


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("dim", [-3, -2])
def test_one_mask_along_the_shared_dimension(dim):
    x = torch.ones(4, 6, 7, 8)
    out = SharedDropout(0.25, dim=dim)(x)
    assert out.unique().tolist() == [0.0, pytest.approx(1 / 0.75)]
    assert torch.equal(out, out.narrow(dim, 0, 1).expand_as(out))
    other = -5 - dim
    assert not torch.equal(out, out.narrow(other, 0, 1).expand_as(out))
    assert not torch.equal(out[0], out[1])  # each example has its own


def test_keeps_the_mean():
    x = torch.ones(1, 1, 400, 500)
    kept = SharedDropout(0.15, dim=-3)(x)
    assert kept.mean().item() == pytest.approx(1, abs=0.01)
    assert (kept == 0).float().mean().item() == pytest.approx(0.15, abs=0.01)


def test_passes_through_in_evaluation_and_without_a_rate():
    x = torch.randn(2, 3, 4, 5)
    assert SharedDropout(0.5, dim=-3).eval()(x) is x
    assert SharedDropout(0.0, dim=-3)(x) is x


def test_gradient_is_dropped_alike():
    x = torch.ones(3, 4, 5, requires_grad=True)
    out = SharedDropout(0.5, dim=-2)(x)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())


def test_keeps_low_precision():
    assert SharedDropout(0.5, dim=-2)(torch.ones(3, 4, 5, dtype=torch.bfloat16)).dtype == (
        torch.bfloat16
    )


def calls(block: torch.nn.Module) -> list[tuple[float, int]]:
    found = []
    for module in block.modules():
        if isinstance(module, SharedDropout):
            module.register_forward_hook(lambda m, *_: found.append((m.p, m.dim)))
    return found


def test_where_a_block_drops():
    """Rows in all but the ending node's update, columns in that (Algorithm 6)."""
    g = torch.Generator().manual_seed(0)
    m, z = torch.randn(3, 5, SMALL.c_m), torch.randn(5, 5, SMALL.c_z)
    block = EvoformerBlock(SMALL, "evoformer")
    found = calls(block)
    block(m, z, random_mask(3, 5, generator=g).float(), random_mask(5, 5, generator=g).float())
    row, column = -3, -2
    assert found == [(0.15, row), (0.25, row), (0.25, row), (0.25, row), (0.25, column)]


def test_where_a_template_block_drops():
    t = torch.randn(2, 5, 5, SMALL.c_t)
    block = TemplatePairBlock(SMALL)
    found = calls(block)
    block(t, torch.ones(2, 5, 5))
    assert found == [(0.25, -3), (0.25, -2), (0.25, -3), (0.25, -3)]


def test_training_differs_from_evaluation_and_from_itself():
    g = torch.Generator().manual_seed(0)
    block = redrawn(EvoformerBlock(SMALL, "extra_msa"))
    m = torch.randn(3, 5, SMALL.c_e, dtype=torch.float64)
    z = torch.randn(5, 5, SMALL.c_z, dtype=torch.float64)
    masks = random_mask(3, 5, generator=g), random_mask(5, 5, generator=g)
    plain = block(m, z, *masks)[1]
    assert torch.equal(plain, block(m, z, *masks)[1])
    first, second = (block.train()(m, z, *masks)[1] for _ in range(2))
    assert not torch.equal(first, plain)
    assert not torch.equal(first, second)
