"""Of many batches, those that can be the worst: no other one is at least as large in everything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

__all__ = ["bytes_in", "worst_batches"]


def worst_batches(batches: Iterable[Any], first: Any) -> list[Any]:
    """`first` and `batches`, without those that another one is as large as in every tensor.

    Residues, atoms and edges all show in the shapes of tensors. As large is what is so along every
    dimension: attention over one long row needs more than over many short ones of more elements in
    all. Batches of unlike structure are all kept. Of those after the first, only shapes are.
    """
    kept: list[tuple[Any, tuple[Any, ...], Any]] = []
    for batch in (first, *batches):
        tree, sizes = _sizes(batch)
        if any(_covers(other, (tree, sizes)) for *other, _ in kept):
            continue
        kept = [one for one in kept if not _covers((tree, sizes), one[:2])]
        kept.append((tree, sizes, batch if batch is first else _shapes(batch)))
    return [batch for *_, batch in kept]


def bytes_in(batch: Any) -> int:
    """Of all its tensors."""
    return sum(x.nbytes for x in tree_flatten(batch)[0] if isinstance(x, Tensor))


def _sizes(batch: Any) -> tuple[Any, tuple[tuple[int, ...], ...]]:
    leaves, tree = tree_flatten(batch)
    return tree, tuple((*x.shape, x.itemsize) for x in leaves if isinstance(x, Tensor))


def _covers(one: Any, other: Any) -> bool:
    (tree, sizes), (other_tree, other_sizes) = one, other
    if tree != other_tree or [len(x) for x in sizes] != [len(x) for x in other_sizes]:
        return False
    pairs = zip(sizes, other_sizes, strict=True)
    return all(a >= b for one, other in pairs for a, b in zip(one, other, strict=True))


def _shapes(batch: Any) -> Any:
    """The same without values."""
    return tree_map(lambda x: x.to("meta") if isinstance(x, Tensor) else x, batch)
