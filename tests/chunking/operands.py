"""A module that walks its rows for shared operands, and then once more with those."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from sci_memeff._types import Walk, whole


class Operands(nn.Module):
    """x (*b, r, 4) to (*b, r, 6), by one of the forms below.

    `calls` counts evaluations; `made` tells of each operand's bytes whether they are freed.
    """

    def __init__(self, form: Callable[[Operands, Tensor], Tensor], dropout: float = 0.0) -> None:
        super().__init__()
        self.one = nn.Linear(4, 6)
        self.two = nn.Linear(4, 6)
        self.three = nn.Linear(4, 6)
        self.dropout = nn.Dropout(dropout)
        self.form = form
        self.walk: Walk = whole
        self.calls: Counter[str] = Counter()
        self.made: list[StorageWeakRef] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.form(self, x)

    def make(self, fn: Callable[..., Any], x: Tensor, shared: Sequence[Tensor] = ()) -> Any:
        """Operands, by `fn`."""
        found = self.walk(fn, rows=(x,), shared=shared, in_dims=-2, out_dims=-2)
        outputs = (found,) if isinstance(found, Tensor) else found
        self.made += [StorageWeakRef(each.untyped_storage()) for each in outputs]
        return found

    def use(self, *rows: Tensor, shared: Sequence[Tensor]) -> Tensor:
        """The result, with operands."""
        return self.walk(self.lines, rows=rows, shared=shared, in_dims=-2, out_dims=-2)

    def operand(self, x: Tensor) -> Tensor:
        self.calls["operand"] += 1
        return self.dropout(self.one(x))

    def several(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.calls["operand"] += 1
        order = x[..., 0].long()[..., None]
        return self.dropout(self.one(x)), order, self.two(x).sin()

    def further(self, x: Tensor, operand: Tensor) -> Tensor:
        self.calls["further"] += 1
        return self.two(x) * operand.mean(-2, keepdim=True)

    def lines(self, x: Tensor, *operands: Tensor) -> Tensor:
        self.calls["lines"] += 1
        out = self.three(x).tanh()
        for i, operand in enumerate(operands):
            operand = operand.to(out.dtype)  # one made under autocast may be used without
            out = out + 0.1 * (i + 1) * out @ operand.mT @ operand
        return out


# Forms whose operands can be made again


def simple(o: Operands, x: Tensor) -> Tensor:
    return o.use(x, shared=[o.make(o.operand, x)])


def from_own_rows(o: Operands, x: Tensor) -> Tensor:
    """From rows that nobody else holds."""
    return o.use(x, shared=[o.make(o.operand, x.sin())])


def consumers(o: Operands, x: Tensor) -> Tensor:
    operand = o.make(o.operand, x)
    return o.use(x, shared=[operand]) + 2 * o.use(x * 2, shared=[operand])


def two_outputs(o: Operands, x: Tensor) -> Tensor:
    first, _, second = o.make(o.several, x)
    return o.use(x, shared=[first, second])


def last_output(o: Operands, x: Tensor) -> Tensor:
    return o.use(x, shared=[o.make(o.several, x)[2]])


def shared_twice(o: Operands, x: Tensor) -> Tensor:
    operand = o.make(o.operand, x)
    return o.use(x, shared=[operand, operand])


def chain(o: Operands, x: Tensor) -> Tensor:
    """The second operand comes from the first, and both are shared."""
    first = o.make(o.operand, x)
    return o.use(x, shared=[first, o.make(o.further, x, [first])])


def end_of_chain(o: Operands, x: Tensor) -> Tensor:
    """The second operand comes from the first, which nobody holds any more."""
    return o.use(x, shared=[o.make(o.further, x, [o.make(o.operand, x)])])


def fork(o: Operands, x: Tensor) -> Tensor:
    """Two operands come from one."""
    first = o.make(o.operand, x)
    return o.use(x, shared=[o.make(o.further, x, [first]), o.make(o.further, x.cos(), [first])])


# Forms whose operands are kept


def also_rows(o: Operands, x: Tensor) -> Tensor:
    y = o.make(o.operand, x)
    return o.walk(lambda x, y: x @ y.mT @ y, rows=[y], shared=[y], in_dims=-2, out_dims=-2)


def also_kept(o: Operands, x: Tensor) -> Tensor:
    """The rows that one operand comes from are another."""
    first = o.make(o.operand, x)
    second = o.walk(torch.sin, rows=[first], in_dims=-2, out_dims=-2)
    return o.use(x, shared=[first, second])


def written(o: Operands, x: Tensor) -> Tensor:
    return o.use(x, shared=[o.make(o.operand, x).mul_(2)])


def written_unseen(o: Operands, x: Tensor) -> Tensor:
    operand = o.make(o.operand, x)
    with torch.no_grad():
        operand.mul_(2)
    return o.use(x, shared=[operand])


def passed_on(o: Operands, x: Tensor) -> Tensor:
    return o.use(x, shared=[o.make(o.operand, x) * 2])


def viewed(o: Operands, x: Tensor) -> Tensor:
    return o.use(x, shared=[o.make(o.operand, x)[..., :1, :]])


def detached(o: Operands, x: Tensor) -> Tensor:
    return o.use(x, shared=[o.make(o.operand, x).detach()])
