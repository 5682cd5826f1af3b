import pytest
import torch

from sci_memeff.alphafold.confidence import (
    confidences,
    expected_plddt,
    predicted_aligned_error,
    ptm,
)


def certain(bins: torch.Tensor, num_bins: int) -> torch.Tensor:
    return 1e4 * torch.nn.functional.one_hot(bins, num_bins).double()


def test_plddt_is_the_middle_of_a_certain_bin():
    plddt = expected_plddt(certain(torch.tensor([0, 24, 49]), 50))
    torch.testing.assert_close(plddt, torch.tensor([1.0, 49.0, 99.0]).double())


def test_plddt_is_an_expectation():
    torch.testing.assert_close(expected_plddt(torch.zeros(2, 3, 50)), torch.full((2, 3), 50.0))


def test_aligned_error_is_the_middle_of_a_certain_bin():
    error = predicted_aligned_error(certain(torch.tensor([[0, 1], [62, 63]]), 64))
    expected = torch.tensor([[0.25, 0.75], [31.25, 31.75]]).double()
    torch.testing.assert_close(error, expected)


def score(logits: torch.Tensor, weights: torch.Tensor) -> float:
    """The TM-score formula, pair by pair."""
    n = float(weights.sum())
    d0 = 1.24 * (max(n, 19.0) - 15) ** (1 / 3) - 1.8
    best = 0.0
    for i in range(len(weights)):
        aligned = 0.0
        for j in range(len(weights)):
            p = logits[i, j].softmax(-1)
            expected = sum(float(p[k]) / (1 + ((0.25 + 0.5 * k) / d0) ** 2) for k in range(len(p)))
            aligned += float(weights[j]) * expected / n
        best = max(best, aligned * float(weights[i]))
    return best


@pytest.mark.parametrize("n", [4, 23])
def test_ptm_equals_a_loop_over_pairs(n):
    torch.manual_seed(0)
    logits = 3 * torch.randn(n, n, 64, dtype=torch.float64)
    assert float(ptm(logits)) == pytest.approx(score(logits, torch.ones(n)))
    mask = (torch.rand(n) < 0.6).double()
    mask[0], mask[-1] = 0.0, 1.0
    assert float(ptm(logits, mask)) == pytest.approx(score(logits, mask))


def test_ptm_of_a_batch_is_each_samples_own():
    logits = torch.randn(2, 5, 5, 64)
    torch.testing.assert_close(ptm(logits), torch.stack([ptm(logits[0]), ptm(logits[1])]))


def test_a_model_says_what_its_heads_allow():
    logits = torch.randn(1, 5, 50, requires_grad=True)
    out = {"lddt_logits": logits}
    assert set(confidences(out)) == {"plddt"}
    found = confidences(out | {"tm_logits": torch.randn(1, 5, 5, 64)})
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "plddt": (1, 5),
        "predicted_aligned_error": (1, 5, 5),
        "ptm": (1,),
    }
    assert not found["plddt"].requires_grad
    assert expected_plddt(logits).requires_grad


def test_padding_does_not_count_in_ptm():
    logits = torch.randn(1, 5, 5, 64)
    out = {"lddt_logits": torch.randn(1, 5, 50), "tm_logits": logits}
    mask = torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0]])
    torch.testing.assert_close(confidences(out, mask)["ptm"], ptm(logits[:, :3, :3]))


def test_half_precision_logits_give_full_precision():
    logits = torch.randn(3, 3, 64).bfloat16()
    assert predicted_aligned_error(logits).dtype == torch.float32
    torch.testing.assert_close(
        predicted_aligned_error(logits), predicted_aligned_error(logits.float())
    )
