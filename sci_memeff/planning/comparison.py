"""Rows of a verification: how far gradients are apart, and how far they may be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sci_memeff.planning.answers import INPUT, Answer
from sci_memeff.planning.roundings import rounding_tolerance
from sci_memeff.planning.verified import VerifiedRow

__all__ = ["OF_NOISE", "OF_SHAKING", "OWN", "Answers", "compared"]

SMALL = 1e-2  # of the usual root mean square of gradients: smaller ones are judged against that
OWN = 2.0  # how much further from the reference than the plain model is still as good
OF_NOISE = 0.25  # of what another seed changes: nobody can tell so little
OF_SHAKING = 32.0  # times what other roundings of the weights change: layers round, too


@dataclass(frozen=True)
class Answers:
    """What the runs on one batch gave."""

    planned: Answer
    plain: Answer
    another_seed: Answer | None = None
    reference: Answer | None = None
    shaken: Answer | None = None
    """Of the plain model with other roundings of its weights."""


def compared(
    answers: Answers, terms_of: Callable[[str], int], dtype: torch.dtype
) -> Iterator[VerifiedRow]:
    """A row for the loss, if there is one, and for each gradient that one of them has."""
    plain = answers.plain
    if plain.loss is not None and answers.planned.loss is not None:
        losses = {
            name: None
            if other is None or other.loss is None
            else torch.tensor([other.loss], dtype=torch.float64)
            for name, other in vars(answers).items()
        }
        yield _row("loss", losses, terms_of(""), 0.0, dtype)
    usual = _usual_size(plain)
    for name, gradient in plain.gradients.items():
        found = {
            key: None if other is None else other.gradients[name]
            for key, other in vars(answers).items()
        }
        if gradient is None and found["planned"] is None:
            continue
        least = SMALL * usual[_kind(name)]
        yield _row(name, found, terms_of(name), least, dtype)


def _row(
    name: str,
    found: dict[str, Tensor | None],
    terms: int,
    least: float,
    dtype: torch.dtype,
) -> VerifiedRow:
    """`least` is the root mean square below which a gradient's error is not relative to itself."""
    plain, planned = found["plain"], found["planned"]
    given = plain if plain is not None else planned
    assert given is not None
    truth = found["reference"] if found["reference"] is not None else plain
    problem = _problem(found)
    least_norm = least * given.numel() ** 0.5
    own = None if found["reference"] is None else _distance(plain, truth, least_norm)
    noise, shaken = (
        None if found[other] is None else _distance(found[other], plain, least_norm)
        for other in ("another_seed", "shaken")
    )
    allowed = max(
        rounding_tolerance(terms, dtype),
        OWN * (own or 0.0),
        OF_NOISE * (noise or 0.0),
        OF_SHAKING * (shaken or 0.0),
    )
    return VerifiedRow(
        name=name,
        shape=tuple(given.shape) if name != "loss" else (),
        error=math.inf if problem else _distance(planned, truth, least_norm),
        tolerance=allowed,
        terms=terms,
        size=_norm(plain) / max(given.numel(), 1) ** 0.5,
        plain_error=own,
        seed_noise=noise,
        shaken=shaken,
        problem=problem,
    )


def _problem(found: dict[str, Tensor | None]) -> str:
    """What no tolerance excuses."""
    plain, planned, reference = found["plain"], found["planned"], found["reference"]
    if plain is None:
        return "has a gradient in the planned model alone"
    if planned is None:
        return "has no gradient in the planned model"
    named = (("plain model", plain), ("planned model", planned), ("reference", reference))
    for name, tensor in named:
        if tensor is not None and not tensor.isfinite().all():
            return f"is not finite in the {name}"
    if not planned.any() and plain.any():
        return "is zero in the planned model alone"
    return ""


def _distance(found: Tensor | None, truth: Tensor | None, least: float) -> float:
    if found is None or truth is None:
        return math.inf
    difference = _norm(_wide(found) - _wide(truth))
    return difference / max(_norm(truth), least) if difference else 0.0


def _norm(tensor: Tensor | None) -> float:
    return 0.0 if tensor is None else float(torch.linalg.vector_norm(_wide(tensor)))


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


def _usual_size(plain: Answer) -> dict[str, float]:
    """The root mean square over all parameters' gradients, and over all inputs'."""
    squares: dict[str, float] = {}
    counts: dict[str, int] = {}
    for name, gradient in plain.gradients.items():
        if gradient is not None:
            kind = _kind(name)
            squares[kind] = squares.get(kind, 0.0) + _norm(gradient) ** 2
            counts[kind] = counts.get(kind, 0) + gradient.numel()
    usual = {kind: (squares[kind] / max(counts[kind], 1)) ** 0.5 for kind in squares}
    return {"parameter": 0.0, "input": 0.0} | usual


def _kind(name: str) -> str:
    return "input" if name.startswith(INPUT) else "parameter"
