"""A measurement as a table that a person reads."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sci_memeff.measure.measured import Measured

__all__ = ["human_bytes", "human_flops", "in_columns", "table"]

NUM_MODULES = 10
NUM_TENSORS = 12
WIDTH = 36  # of the first column, at least
_NUMBER = re.compile(r"\.\d+(?=\.|$)")


def human_bytes(count: int) -> str:
    """As 1 KiB = 1024 bytes: `3.2 MiB`."""
    return _human(count, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))


def human_flops(count: int) -> str:
    """As thousands: `3.2 GFLOP`."""
    return _human(count, 1000, ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"))


def _human(count: int, step: int, units: Sequence[str]) -> str:
    size, unit = float(count), 0
    while abs(size) >= step and unit < len(units) - 1:
        size, unit = size / step, unit + 1
    return f"{count} {units[0]}" if unit == 0 else f"{size:.2f} {units[unit]}"


def table(measured: Measured) -> str:
    """Peak, kinds, phases, the largest modules and tensors."""
    sections = [_head(measured), _kinds(measured), _phases(measured)]
    return "\n\n".join([*sections, _modules(measured), _tensors(measured)])


def _head(measured: Measured) -> str:
    lines = [
        f"peak {human_bytes(measured.peak)} on {measured.device}, "
        f"{human_bytes(measured.peak_over)} over parameters and inputs"
    ]
    for device, peak in measured.peaks.items():
        if device != measured.device:
            lines.append(f"peak {human_bytes(peak)} on {device}")
    flops = f"{human_flops(measured.flops)}"
    if measured.recomputed_flops:
        flops += f", {measured.recomputed_flops / measured.flops:.0%} of them recomputation"
    lines.append(flops)
    held = measured.allocator
    if held is not None:
        lines.append(
            f"allocator: {human_bytes(held.allocated)} allocated, {human_bytes(held.reserved)} "
            f"reserved, fragmentation {held.fragmentation:.0%}"
        )
    return "\n".join(lines)


def _kinds(measured: Measured) -> str:
    rows = [
        (kind, human_bytes(part.at_peak), human_bytes(part.highest))
        for kind, part in measured.by_kind.items()
        if part.highest
    ]
    return in_columns(("kind", "at the peak", "its own peak"), rows)


def _phases(measured: Measured) -> str:
    rows = [
        (name, human_bytes(part.peak), human_bytes(part.left), human_flops(part.flops))
        for name, part in measured.by_phase.items()
    ]
    return in_columns(("phase", "its peak", "left after it", "computed"), rows)


def _modules(measured: Measured) -> str:
    found = list(measured.by_module(_depth(measured)).items())
    rows = [
        (
            name or "(outside)",
            human_bytes(part.at_peak),
            human_bytes(part.highest),
            human_flops(part.flops),
        )
        for name, part in found[:NUM_MODULES]
    ]
    return in_columns(("module", "at the peak", "its own peak", "computed"), rows, len(found))


def _depth(measured: Measured) -> int:
    """The deepest cut of module paths that still fits the table, at least 1."""
    depth = 1
    while depth < 8 and len(measured.by_module(depth + 1)) <= NUM_MODULES:
        depth += 1
    return depth


def _tensors(measured: Measured) -> str:
    """Largest first; tensors of layers that differ in their number only are one line."""
    bytes_: Counter[tuple[str, ...]] = Counter()
    counts: Counter[tuple[str, ...]] = Counter()
    for group in measured.by_tensor():
        where = _NUMBER.sub(".*", group.module) or "(outside)"
        line = (f"{group.dtype} {list(group.shape)}", group.kind, f"{where} {group.what}")
        bytes_[line] += group.bytes
        counts[line] += group.count
    rows = [
        (f"{counts[line]} × {line[0]}", human_bytes(size), *line[1:])
        for line, size in bytes_.most_common(NUM_TENSORS)
    ]
    head = ("tensors at the peak", "together", "kind", "born in, by")
    return in_columns(head, rows, len(bytes_))


def in_columns(head: Sequence[str], rows: Sequence[Sequence[str]], total: int = 0) -> str:
    """Names to the left, figures to the right, each column as wide as it must be."""
    lines = [head, *rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    widths[0] = max(widths[0], WIDTH)
    is_name = [k == 0 or not any(row[k][:1].isdigit() for row in rows) for k in range(len(head))]
    text = [
        "  ".join(
            f"{cell:{width}}" if left else f"{cell:>{width}}"
            for cell, width, left in zip(line, widths, is_name, strict=True)
        ).rstrip()
        for line in lines
    ]
    if total > len(rows):
        text.append(f"… and {total - len(rows)} more")
    return "\n".join(text)
