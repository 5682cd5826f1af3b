"""Random numbers as functions of (seed, sample)."""

import torch

from sci_memeff.training.randomness import sown


def draw(*path: int) -> list[float]:
    with sown(*path):
        return torch.rand(3).tolist()


def test_numbers_depend_on_the_path_alone():
    first = draw(1, 2, 3)
    torch.rand(5)
    assert draw(1, 2, 3) == first
    others = [draw(1, 2, 4), draw(1, 3, 3), draw(2, 2, 3), draw(1, 2)]
    assert all(other != first for other in others)


def test_the_caller_s_generator_is_left_alone():
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    draw(7)
    assert torch.equal(torch.rand(2), wanted)
