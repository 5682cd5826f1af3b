"""The transition of the MSA and pair representations (Algorithms 9 and 15)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from sci_memeff._types import Walk, whole
from sci_memeff.alphafold.linear import Linear

__all__ = ["Transition"]


class Transition(nn.Module):
    """Two linear layers on each element. Rows are independent."""

    walk: Walk

    def __init__(self, c: int, factor: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(c)
        self.linear_1 = Linear(c, factor * c, init="relu")
        self.linear_2 = Linear(factor * c, c, init="final")
        self.walk = whole

    def forward(self, x: Float[Tensor, "*b i j c"]) -> Float[Tensor, "*b i j c"]:
        """The update of x."""
        return self.walk(self.rows, rows=(x,), in_dims=-3, out_dims=-3)

    def rows(self, x: Tensor) -> Tensor:
        """The update of some rows."""
        return self.linear_2(self.linear_1(self.layer_norm(x)).relu())
