"""From the MSA to the pair representation (Algorithm 10).

Axes: s sequences, i j residues, c d channels.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sci_memeff._types import Mask, Walk, whole
from sci_memeff.alphafold.linear import Linear

__all__ = ["OuterProductMean"]


class OuterProductMean(nn.Module):
    """Algorithm 10. Rows i of the result are independent once the projection of j is known."""

    walk: Walk

    def __init__(self, c_m: int, c_z: int, c_hidden: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(c_m)
        self.linear_1 = Linear(c_m, c_hidden)
        self.linear_2 = Linear(c_m, c_hidden)
        self.linear_out = Linear(c_hidden**2, c_z, init="final")
        self.walk = whole

    def forward(
        self, m: Float[Tensor, "*b s i c_m"], mask: Mask[Tensor, "*b s i"]
    ) -> Float[Tensor, "*b i i c_z"]:
        """The update of z."""
        b = self.walk(self.right, rows=(m, mask), in_dims=(-2, -1), out_dims=-2)
        return self.walk(self.rows, rows=(m, mask), shared=(b, mask), in_dims=(-2, -1), out_dims=-3)

    def right(self, m: Tensor, mask: Tensor) -> Float[Tensor, "*b s j d"]:
        """The projection of some residues j."""
        m = self.layer_norm(m)
        return self.linear_2(m) * mask[..., None].to(m.dtype)

    def rows(self, m: Tensor, mask: Tensor, b: Tensor, mask_j: Tensor) -> Tensor:
        """The update of some rows i of z."""
        m = self.layer_norm(m)
        a = self.linear_1(m) * mask[..., None].to(m.dtype)
        outer = torch.einsum("...sic,...sjd->...ijcd", a, b).flatten(-2)
        count = torch.einsum("...si,...sj->...ij", mask.to(a.dtype), mask_j.to(a.dtype))
        return self.linear_out(outer) / (count[..., None] + 1e-3)
