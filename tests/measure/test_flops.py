import torch
import torch.nn.functional as F  # noqa: N812

from sci_memeff.measure import measure
from sci_memeff.measure.flops import formula


def test_attention_on_a_processor_is_counted():
    q, k, v = (torch.randn(2, 3, length, 8, requires_grad=True) for length in (5, 7, 7))
    with measure() as bytes_:
        out = F.scaled_dot_product_attention(q, k, v)
        out.sum().backward()
    product = 2 * 2 * 3 * 5 * 7 * 8
    assert bytes_.by_phase["forward"].flops == 2 * product
    assert bytes_.by_phase["backward"].flops == 5 * product  # the logits again


def test_convolutions_and_batched_products_are_counted():
    x = torch.randn(1, 4, 6, 6, requires_grad=True)
    with measure() as bytes_:
        torch.nn.Conv2d(4, 3, 3, padding=1)(x)
        torch.einsum("bij,bjk->bik", torch.randn(2, 3, 4), torch.randn(2, 4, 5))
    assert bytes_.flops == 2 * 36 * 3 * 4 * 9 + 2 * 2 * 3 * 4 * 5


def test_what_has_no_formula_counts_as_none():
    assert formula(torch.ops.aten.exp.default) is None
    assert formula(torch.ops.higher_order.cond) is None


def test_formulas_of_the_user_s_own_count():
    from torch.utils.flop_counter import flop_registry, register_flop_formula

    register_flop_formula(torch.ops.aten.exp)(lambda shape, *, out_shape, **_: out_shape.numel())
    try:
        with measure() as bytes_:
            torch.ones(3, 4).exp()
    finally:
        del flop_registry[torch.ops.aten.exp]
    assert bytes_.flops == 12
