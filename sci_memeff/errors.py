"""Typed errors: each says what is wrong, with the values, and then how to mend it."""

from __future__ import annotations

__all__ = [
    "BadCheckpointError",
    "BadConfigError",
    "BadDataError",
    "BadPlanError",
    "BadWalkError",
    "BadWeightsError",
    "BudgetError",
    "CannotAttendError",
    "CannotSimulateError",
    "DivergedError",
    "KeptTensorError",
    "MissingPackageError",
    "NoLeanerPlanError",
    "PrecisionError",
    "SciMemeffError",
    "SecondDerivativeError",
    "VerificationError",
]


class SciMemeffError(Exception):
    """Base of every error that this package raises on purpose."""

    def __init__(self, wrong: str, *, mend: str) -> None:
        super().__init__(f"{wrong}\n  mend: {mend}")
        self.wrong = wrong
        self.mend = mend


class BadDataError(SciMemeffError, ValueError):
    """A file or record that cannot be used; names its source and, where known, line or field."""

    def __init__(
        self,
        wrong: str,
        *,
        source: str,
        mend: str,
        line: int | None = None,
        field: str | None = None,
    ) -> None:
        place = source if line is None else f"{source}, line {line}"
        place = place if field is None else f"{place}, field {field}"
        super().__init__(f"{place}: {wrong}", mend=mend)
        self.source = source
        self.line = line
        self.field = field


class BadConfigError(SciMemeffError, ValueError):
    """A setting that is unknown or out of range; names it and its nearest valid form."""


class BadWeightsError(SciMemeffError, ValueError):
    """Weights that do not fit the model; lists what is missing, unexpected or of another shape."""


class BadCheckpointError(SciMemeffError, ValueError):
    """A run's checkpoint that is damaged or was written under another configuration."""


class MissingPackageError(SciMemeffError, ImportError):
    """An optional package that was asked for and is not installed."""


class DivergedError(SciMemeffError, ArithmeticError):
    """Too many non-finite losses in a row for training to go on."""


class BadPlanError(SciMemeffError, ValueError):
    """A plan that does not fit the model it is put into, or cannot be written or read.

    Names the first rule that does not fit, and its nearest valid form.
    """


class BudgetError(SciMemeffError, ValueError):
    """A budget that no plan meets: the smallest that one does, and what stands in the way.

    `largest_crop` is None where nobody said how to crop; `in_the_way` holds tensors and their
    bytes, the largest first.
    """

    def __init__(
        self,
        wrong: str,
        *,
        mend: str,
        smallest_bytes: int,
        largest_crop: int | None = None,
        in_the_way: tuple[tuple[str, int], ...] = (),
    ) -> None:
        super().__init__(wrong, mend=mend)
        self.smallest_bytes = smallest_bytes
        self.largest_crop = largest_crop
        self.in_the_way = in_the_way


class BadWalkError(SciMemeffError, ValueError):
    """A function, rows or dimensions that cannot be evaluated a slice at a time."""


class CannotAttendError(SciMemeffError, ValueError):
    """Queries, keys, values or biases that a form of attention cannot take."""


class PrecisionError(SciMemeffError, TypeError):
    """A module that does not compute in the precision that its recipe says; names the module."""


class KeptTensorError(SciMemeffError, RuntimeError):
    """A tensor that cannot be kept for the backward pass, or is there no longer as it was."""


class SecondDerivativeError(SciMemeffError, RuntimeError):
    """A second differentiation of something whose backward pass keeps no graph."""


class CannotSimulateError(SciMemeffError, RuntimeError):
    """A step that reads the values of tensors, so that it cannot run on fake ones."""


class NoLeanerPlanError(SciMemeffError, RuntimeError):
    """Memory was short under the leanest plan that is known."""


class VerificationError(SciMemeffError, RuntimeError):
    """A planned model whose loss or gradients are not the plain one's, or cannot be compared."""
