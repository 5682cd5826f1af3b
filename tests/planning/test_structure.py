"""Modules that a simulation may take for one another, and calls that it may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sci_memeff import Plan, Rule, apply
from sci_memeff.alphafold.transition import Transition
from sci_memeff.checkpointing import recomputed
from sci_memeff.chunking import in_slices
from sci_memeff.planning.structure import Interposed, Structures, signature_of
from sci_memeff.precision import Computed


class Block(nn.Module):
    def __init__(self, width: int = 4, dropout: float = 0.0, *, twice: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.transition = Transition(width, 2)
        self.dropout = nn.Dropout(dropout)
        self.settings = {"twice": twice, "names": ["a", "b"]}

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.transition(self.linear(x)))


def numbers(*modules: nn.Module) -> list[int]:
    structures = Structures()
    return [structures.number(module) for module in modules]


def test_equal_blocks_have_equal_numbers_whatever_their_values() -> None:
    one, other = Block(), Block()
    assert not torch.equal(one.linear.weight, other.linear.weight)
    assert len(set(numbers(one, other, Block()))) == 1


def changed(change: Callable[[Block], Any]) -> Block:
    block = Block()
    change(block)
    return block


def frozen(block: Block) -> None:
    block.linear.weight.requires_grad_(False)


def planned(use: Any, seam: Any, where: str) -> Callable[[Block], Any]:
    return lambda block: apply(block, Plan(rules=(Rule(where=where, seam=seam, use=use),)))


OTHERS = {
    "width": lambda: Block(5),
    "dropout": lambda: Block(dropout=0.1),
    "setting": lambda: Block(twice=True),
    "mode": lambda: Block().eval(),
    "a part's mode": lambda: changed(lambda b: b.dropout.eval()),
    "dtype": lambda: Block().double(),
    "device": lambda: Block().to("meta"),
    "frozen": lambda: changed(frozen),
    "class": lambda: nn.Sequential(Block()),
    "no bias": lambda: changed(lambda b: setattr(b, "linear", nn.Linear(4, 4, bias=False))),
    "a part less": lambda: changed(lambda b: setattr(b, "linear", None)),
    "buffer": lambda: changed(lambda b: b.register_buffer("buffer", torch.zeros(2))),
    "walk": lambda: changed(planned(in_slices(2), "walk", "transition")),
    "forward": lambda: changed(planned(recomputed(), "forward", "transition")),
    "precision": lambda: changed(planned(Computed(inputs="bfloat16"), "precision", "linear")),
    "what cannot be compared": lambda: changed(lambda b: setattr(b, "own", bytearray(b"x"))),
    "a module beside the parts": lambda: changed(lambda b: setattr(b, "own", [nn.Linear(1, 1)])),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_block_has_another_number(name: str) -> None:
    first, second = numbers(Block(), OTHERS[name]())
    assert first != second


@pytest.mark.parametrize("name", [n for n in OTHERS if not n.startswith(("what", "a module"))])
def test_two_blocks_that_differ_alike_are_equal(name: str) -> None:
    assert len(set(numbers(OTHERS[name](), OTHERS[name]()))) == 1


@pytest.mark.parametrize("name", ["what cannot be compared", "a module beside the parts"])
def test_what_cannot_be_compared_equals_itself_alone(name: str) -> None:
    block = OTHERS[name]()
    assert len(set(numbers(block, block, OTHERS[name]()))) == 2


def test_equal_uses_are_equal() -> None:
    for use, seam in ((in_slices(2), "walk"), (recomputed(), "forward")):
        one, other = (changed(planned(use, seam, "transition")) for _ in range(2))
        assert len(set(numbers(one, other))) == 1
    one, other = (changed(planned(in_slices(k), "walk", "transition")) for k in (2, 3))
    assert len(set(numbers(one, other))) == 2


def test_seams_are_looked_at_again_when_they_have_changed() -> None:
    structures, block = Structures(), Block()
    before = structures.number(block)
    planned(in_slices(2), "walk", "transition")(block)
    assert structures.number(block) == before
    structures.changed()
    assert structures.number(block) not in (before, structures.number(Block()))


class Stands(Interposed):
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __call__(self, x: Tensor) -> Tensor:
        return self.inner(x)


def test_what_stands_before_a_forward_does_not_count() -> None:
    def watched(block: Block, times: int) -> Block:
        for _ in range(times):
            vars(block)["forward"] = Stands(block.forward)
        return block

    recomputing = planned(recomputed(), "forward", "transition")
    once, twice = watched(Block(), 1), watched(Block(), 2)
    planned_one, other = changed(recomputing), changed(recomputing)
    watched(other.transition, 2)  # type: ignore[arg-type]
    found = numbers(once, twice, planned_one, other)
    assert found[0] == found[1]
    assert found[2] == found[3] != found[0]


# calls


def told(*values: Any) -> Any:
    found = signature_of(values)
    assert found is not None
    return found[0]


def test_a_call_is_told_by_shapes_not_values() -> None:
    assert told(torch.zeros(2, 3), {"n": 1}) == told(torch.ones(2, 3), {"n": 1})
    x = torch.zeros(2, 3)
    found = signature_of((x, {"n": 1}))
    assert found is not None
    _, leaves, tree = found
    assert leaves == [x, 1]
    assert tree.filled(leaves) == (x, {"n": 1})


def base() -> Tensor:
    return torch.zeros(6, 6)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((base(),), (torch.zeros(6, 5),)),
        ((base(),), (base().double(),)),
        ((base(),), (base().requires_grad_(),)),
        ((base(),), (base().to("meta"),)),
        ((torch.zeros(2, 3),), (torch.zeros(3, 2).T,)),
        ((torch.zeros(3),), (torch.zeros(6)[:3],)),  # of a larger storage
        ((base(), 1), (base(), 2)),
        ((base(), "a"), (base(), "b")),
        ((base(), None), (base(), 0)),
        ((base(), torch.float16), (base(), torch.bfloat16)),
        ((base(), [base()]), (base(), (base(),))),
        ((base(), torch.relu), (base(), torch.tanh)),
    ],
)
def test_calls_that_differ(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert told(*one) != told(*other)


def test_one_storage_or_two_differ() -> None:
    x = torch.zeros(6)
    assert told(x, x) != told(torch.zeros(6), torch.zeros(6))
    assert told(x[:3], x[3:]) != told(x[:3], x[:3])
    assert told(x, x) != told(x, x.view(6))  # attention asks whether its query is its key
    y = torch.zeros(12)
    assert told(y[2:4], y[4:6]) == told(y[6:8], y[8:10])


@pytest.mark.parametrize(
    "strange", [object(), torch.Generator(), nn.Linear(1, 1), torch.zeros(3).to_sparse(), {1, 2}]
)
def test_strange_arguments_are_not_compared(strange: Any) -> None:
    assert signature_of((base(), [strange])) is None
