"""The auxiliary heads (Suppl. 1.9): what the losses and the confidence measures read.

Axes: s sequences, i residues, c channels.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from sci_memeff.alphafold.config import ModelConfig
from sci_memeff.alphafold.linear import Linear

__all__ = ["AuxiliaryHeads"]


class AuxiliaryHeads(nn.Module):
    """Logits of masked MSA, distogram, pLDDT, experimentally resolved atoms and, with ptm, PAE."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.plddt = PLDDTHead(config.c_s, config.c_plddt)
        self.distogram = DistogramHead(config.c_z)
        self.masked_msa = LinearHead(config.c_m, 23)
        self.experimentally_resolved = LinearHead(config.c_s, 37)
        self.tm = LinearHead(config.c_z, 64) if config.ptm else None

    def forward(
        self,
        m: Float[Tensor, "*b s i c_m"],
        z: Float[Tensor, "*b i i c_z"],
        single: Float[Tensor, "*b i c_s"],
        structure_state: Float[Tensor, "*b i c_s"],
    ) -> dict[str, Tensor]:
        """Every head's logits, by name."""
        logits = {
            "lddt_logits": self.plddt(structure_state),
            "distogram_logits": self.distogram(z),
            "masked_msa_logits": self.masked_msa(m),
            "experimentally_resolved_logits": self.experimentally_resolved(single),
        }
        if self.tm is not None:
            logits["tm_logits"] = self.tm(z)
        return logits


class LinearHead(nn.Module):
    """One linear layer."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.linear = Linear(c_in, c_out, init="final")

    def forward(self, x: Float[Tensor, "*shape c_in"]) -> Float[Tensor, "*shape c_out"]:
        """The logits."""
        return self.linear(x)


class DistogramHead(nn.Module):
    """Bins of the pseudo-β distance, symmetric in i and j (Suppl. 1.9.8)."""

    def __init__(self, c_z: int) -> None:
        super().__init__()
        self.linear = Linear(c_z, 64, init="final")

    def forward(self, z: Float[Tensor, "*b i i c_z"]) -> Float[Tensor, "*b i i 64"]:
        """The logits."""
        logits = self.linear(z)
        return logits + logits.transpose(-2, -3)


class PLDDTHead(nn.Module):
    """Bins of each residue's lDDT-Cα (Algorithm 29)."""

    def __init__(self, c_s: int, c_hidden: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(c_s)
        self.linear_1 = Linear(c_s, c_hidden, init="relu")
        self.linear_2 = Linear(c_hidden, c_hidden, init="relu")
        self.linear_3 = Linear(c_hidden, 50, init="final")

    def forward(self, s: Float[Tensor, "*b i c_s"]) -> Float[Tensor, "*b i 50"]:
        """The logits."""
        hidden = self.linear_1(self.layer_norm(s)).relu()
        return self.linear_3(self.linear_2(hidden).relu())
