"""What a gate found: gradients of a cheaper precision beside float32's, module by module."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sci_memeff.errors import MissingPackageError, VerificationError
from sci_memeff.measure.table import in_columns

__all__ = ["Gated", "GatedModule"]

SHOWN = 12  # modules of the table


@dataclass(frozen=True, kw_only=True)
class GatedModule:
    """The gradient of one module's own parameters."""

    name: str
    cosine: float
    """Between the two gradients: 1 where they have one direction."""
    norm_ratio: float
    """Of the cheaper gradient's norm to float32's."""
    error: float
    """The norm of their difference, over that of float32's."""
    share: float
    """Of the norm of all gradients: what is small matters little."""

    @property
    def is_broken(self) -> bool:
        """Whether one of the two is not finite, or not there at all."""
        return not math.isfinite(self.error) or self.norm_ratio in (0.0, math.inf)


@dataclass(frozen=True, kw_only=True)
class Gated:
    """The outcome of `gate`; `print` shows it as a table, `raise_if_bad` makes an error of it."""

    name: str
    rows: tuple[GatedModule, ...]
    """The worst first, by cosine."""
    cosine: float
    """Of all gradients together, as one row of numbers."""
    norm_ratio: float
    error: float
    bar: float
    """The least cosine that passes."""
    loss: float | None
    exact_loss: float | None

    @property
    def passed(self) -> bool:
        """Whether both cosines are high enough, and no gradient is missing or not finite.

        Few modules may have most of the whole gradient's norm, and an optimizer that divides by
        second moments moves all others as far, so the median module's has to be as high.
        """
        enough = self.cosine >= self.bar and self.median >= self.bar
        return enough and not any(row.is_broken for row in self.rows)

    @property
    def median(self) -> float:
        """Of the modules' cosines."""
        return statistics.median(row.cosine for row in self.rows)

    @property
    def worst(self) -> GatedModule:
        """The module whose gradient has the lowest cosine; one that is broken before all."""
        return ([row for row in self.rows if row.is_broken] or self.rows)[0]

    @property
    def below(self) -> tuple[GatedModule, ...]:
        """The modules below the bar, or not finite."""
        return tuple(row for row in self.rows if not row.cosine >= self.bar)

    def raise_if_bad(self) -> Gated:
        """Itself; VerificationError where the gate is not passed."""
        if self.passed:
            return self
        worst = self.worst
        raise VerificationError(
            f"{self.name} does not pass: the gradient's cosine with float32's is "
            f"{self.cosine:.5f}, the median module's {self.median:.5f}, and {self.bar:g} is asked "
            f"for; the worst module is {worst.name} "
            f"with {worst.cosine:.5f}",
            mend="use a wider recipe, or name that module among the recipe's islands",
        )

    def to_dict(self) -> dict[str, Any]:
        """Every figure; what is not finite is None."""
        found = {
            "passed": self.passed,
            "recipe": self.name,
            "gradient_cosine": self.cosine,
            "median_cosine": self.median,
            "worst_module": self.worst.name,
            "worst_cosine": self.worst.cosine,
            "norm_ratio": self.norm_ratio,
            "relative_error": self.error,
            "bar": self.bar,
            "loss": self.loss,
            "exact_loss": self.exact_loss,
            "modules": [_finite(asdict(row)) for row in self.rows],
        }
        return _finite(found)

    def to_json(self) -> str:
        """`to_dict` as one line."""
        return json.dumps(self.to_dict())

    def table(self, shown: int | None = SHOWN) -> str:
        """The worst modules; all of them with None."""
        rows = [
            (
                row.name,
                f"{row.cosine:.5f}",
                f"{row.norm_ratio:.4f}",
                f"{row.error:.2e}",
                f"{row.share:.1e}",
            )
            for row in self.rows[:shown]
        ]
        head = ("module, the worst first", "cosine", "norm", "error", "of the whole norm")
        rest = len(self.rows) - len(rows)
        return in_columns(head, rows) + (f"\nand {rest} more, closer" if rest else "")

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "NOT passed"
        lines = [
            f"{self.name}: {verdict}, the cosine of the whole gradient with float32's is "
            f"{self.cosine:.6f}, of the median module {self.median:.6f}; at least {self.bar:g} is "
            "asked for",
            f"  its norm is {self.norm_ratio:.4f} of float32's, its relative error "
            f"{self.error:.2e}",
            f"  {len(self.below)} of {len(self.rows)} modules are below that by themselves",
        ]
        if self.loss is not None and self.exact_loss is not None:
            lines.append(f"  loss {self.loss:.7g}, {self.exact_loss:.7g} in float32")
        return "\n".join([*lines, "", self.table()])

    def plot(self, path: str | Path) -> None:
        """Draw each module's distance from a cosine of 1 over its share; PNG, PDF or SVG by suffix.

        MissingPackageError without matplotlib.
        """
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingPackageError(
                "drawing a gate needs matplotlib", mend="pip install 'sci-memeff[plot]'"
            ) from error
        figure = Figure(figsize=(7, 4.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        least = 1e-9  # for what a logarithm can show
        axes.scatter(
            [max(row.share, least) for row in self.rows],
            [max(1 - row.cosine, least) for row in self.rows],
            s=12,
        )
        axes.axhline(1 - self.bar, color="tab:red", label=f"a cosine of {self.bar:g}")
        axes.axhline(
            max(1 - self.cosine, least), color="tab:green", label="of all modules together"
        )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("share of the gradient's norm")
        axes.set_ylabel("1 − cosine with float32's gradient")
        axes.set_title(f"{self.name}: {'passed' if self.passed else 'not passed'}")
        axes.legend()
        axes.grid(alpha=0.3)
        figure.savefig(path)


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has neither infinity nor NaN."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }
