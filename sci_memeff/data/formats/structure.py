"""What an experimental or predicted structure is, once read: frozen records of numpy arrays.

n counts residues of the full sequence (SEQRES), resolved or not; atoms are in the order of
`sci_memeff.chemistry.ATOM37`. Positions are in Å, B-factors in Å² (or pLDDT, 0 to 100, where the
structure is a prediction). Row k is residue k + 1 of the sequence (label numbering); author
numbers are names, never indices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import numpy as np
from jaxtyping import Bool, Float32

from sci_memeff.errors import BadDataError

__all__ = ["Chain", "Structure"]


@dataclass(frozen=True, eq=False)
class Chain:
    """One protein chain: the whole sequence and the coordinates that are known of it."""

    author_id: str
    """The chain's name in the paper and in `ENTRY_CHAIN` folders (auth_asym_id)."""
    label_id: str
    """The chain's name in mmCIF's own numbering (label_asym_id)."""
    sequence: str
    """One letter per residue of SEQRES; X where it has no parent among the twenty."""
    positions: Float32[np.ndarray, "n 37 3"]
    """Å; zero where `mask` is False."""
    mask: Bool[np.ndarray, "n 37"]
    """Which atoms have coordinates."""
    b_factors: Float32[np.ndarray, "n 37"]
    """Å² (experiment) or pLDDT (prediction); zero where `mask` is False."""
    author_numbers: tuple[str, ...]
    """Author number with insertion code, "52A"; "" where the residue is not resolved."""

    def __len__(self) -> int:
        return len(self.sequence)


@dataclass(frozen=True, eq=False)
class Structure:
    """The protein chains of one model of one entry."""

    entry_id: str
    """Lower case, e.g. "1ubq"."""
    chains: Mapping[str, Chain]
    """By author id, in the order of the file."""
    resolution: float | None = None
    """Å; None where the method has none (NMR, predictions)."""
    release_date: date | None = None
    """First public revision."""
    method: str = ""
    """Experimental method in capitals, as the PDB writes it: "X-RAY DIFFRACTION"."""
    num_models: int = 1
    """Models in the file, of which `chains` holds one."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Atoms that were in the file and are not in `chains`: reason to count."""

    def chain(self, author_id: str) -> Chain:
        """The chain of that author id; BadDataError lists the chains there are."""
        try:
            return self.chains[author_id]
        except KeyError:
            raise BadDataError(
                f"no protein chain {author_id!r}",
                source=self.entry_id,
                mend=f"the protein chains of {self.entry_id} are (author ids): "
                f"{', '.join(self.chains)}",
            ) from None
