"""Triangular multiplicative updates of the pair representation (Algorithms 11 and 12).

Axes: i j k residues, c channels.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sci_memeff._types import Mask, Walk, whole
from sci_memeff.alphafold.linear import Linear

__all__ = ["TriangleMultiplication"]


class TriangleMultiplication(nn.Module):
    """z_ij from Σ_k a_ik·b_jk, outgoing (Algorithm 11), or Σ_k a_ki·b_kj, incoming (Algorithm 12).

    Outgoing, rows i are independent once b is known. Incoming, columns j are once a is known:
    columns and not rows, because b and the gate of column j both come from column j of z, where
    a slice of rows would read two pieces of z.
    """

    walk: Walk

    def __init__(self, c_z: int, c_hidden: int, direction: Literal["outgoing", "incoming"]) -> None:
        super().__init__()
        self.layer_norm_in = nn.LayerNorm(c_z)
        self.layer_norm_out = nn.LayerNorm(c_hidden)
        self.linear_a_p = Linear(c_z, c_hidden)
        self.linear_a_g = Linear(c_z, c_hidden, init="gating")
        self.linear_b_p = Linear(c_z, c_hidden)
        self.linear_b_g = Linear(c_z, c_hidden, init="gating")
        self.linear_g = Linear(c_z, c_z, init="gating")
        self.linear_z = Linear(c_hidden, c_z, init="final")
        self.outgoing = direction == "outgoing"
        self.walk = whole

    def forward(
        self, z: Float[Tensor, "*b i i c_z"], mask: Mask[Tensor, "*b i i"]
    ) -> Float[Tensor, "*b i i c_z"]:
        """The update of z."""
        dim = -3 if self.outgoing else -2
        dims = (dim, dim + 1)
        operand = self.walk(self.operand, rows=(z, mask), in_dims=dims, out_dims=dim)
        return self.walk(self.lines, rows=(z, mask), shared=(operand,), in_dims=dims, out_dims=dim)

    def operand(self, z: Tensor, mask: Tensor) -> Tensor:
        """What every line needs whole: some rows j of b (j, k, c) or columns i of a (k, i, c)."""
        z = self.layer_norm_in(z)
        return self._b(z, mask) if self.outgoing else self._a(z, mask)

    def lines(self, z: Tensor, mask: Tensor, operand: Tensor) -> Tensor:
        """The update of some rows i or columns j."""
        z = self.layer_norm_in(z)
        if self.outgoing:
            product = torch.einsum("...ikc,...jkc->...ijc", self._a(z, mask), operand)
        else:
            product = torch.einsum("...kic,...kjc->...ijc", operand, self._b(z, mask))
        return self.linear_g(z).sigmoid() * self.linear_z(self.layer_norm_out(product))

    def _a(self, z: Tensor, mask: Tensor) -> Tensor:
        return mask[..., None].to(z.dtype) * self.linear_a_g(z).sigmoid() * self.linear_a_p(z)

    def _b(self, z: Tensor, mask: Tensor) -> Tensor:
        return mask[..., None].to(z.dtype) * self.linear_b_g(z).sigmoid() * self.linear_b_p(z)
