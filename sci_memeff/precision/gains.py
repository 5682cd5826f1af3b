"""Which linear layers gain by FP8, and why the others do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from sci_memeff._pattern import starred
from sci_memeff.measure.table import in_columns

__all__ = ["Reasons", "gains", "misshapen", "reasons"]

ALIGNED = 16  # elements: FP8 units take no other inner dimension
SMALLEST = 128  # elements, of an inner dimension that is worth its scales


def gains(layer: nn.Module) -> str | None:
    """Why FP8 is not worth it for this layer; None for one that gains.

    One that gains is a plain `nn.Linear` whose widths, the inner dimensions of its products going
    forward and backward, are multiples of 16 and at least 128 (`docs/precision.md` has what that
    rests on).
    """
    reason = misshapen(layer)
    if reason is not None or not isinstance(layer, nn.Linear):
        return reason
    inner = min(layer.in_features, layer.out_features)
    if inner < SMALLEST:
        return f"its inner dimension {inner} is below {SMALLEST}: casting costs more than it saves"
    return None


def misshapen(layer: nn.Module) -> str | None:
    """Why FP8 is not possible for this layer; None where it is."""
    if not isinstance(layer, nn.Linear):
        return f"it is a {type(layer).__name__}, and no nn.Linear"
    if type(layer).forward is not nn.Linear.forward:
        return f"{type(layer).__name__} has a forward of its own"
    if layer.in_features % ALIGNED or layer.out_features % ALIGNED:
        return f"its shape, {layer.in_features} → {layer.out_features}, is no multiple of {ALIGNED}"
    return None


def reasons(model: nn.Module) -> Reasons:
    """Of every `nn.Linear` in `model`, by name, why it does not gain by FP8."""
    layers = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    return Reasons(
        {name: gains(layer) for name, layer in layers.items()},
        {name: (layer.in_features, layer.out_features) for name, layer in layers.items()},
    )


@dataclass(frozen=True)
class Reasons(Mapping[str, str | None]):
    """What `reasons` returns: None for each layer that gains; `print` shows it as a table."""

    found: Mapping[str, str | None]
    shapes: Mapping[str, tuple[int, int]]

    def __getitem__(self, name: str) -> str | None:
        return self.found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __str__(self) -> str:
        """Layers that differ in a number of their name only are one line."""
        counts: dict[tuple[str, ...], int] = {}
        for name, reason in self.found.items():
            c_in, c_out = self.shapes[name]
            line = (starred(name), f"{c_in} → {c_out}", reason or "gains")
            counts[line] = counts.get(line, 0) + 1
        rows = [(f"{count} × {line[0]}", *line[1:]) for line, count in counts.items()]
        return in_columns(("layers", "shape", "FP8"), rows)
