"""From the atoms of a chain, as a file lists them, to arrays over residues and 37 atom names.

What AlphaFold 2 does to every structure it reads (Supplement 1.2.1) happens here: one alternate
location, selenomethionine as methionine, and arginine's NH1 the one nearer to CD.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from sci_memeff.chemistry import ATOM37, ATOM37_INDEX
from sci_memeff.data.formats.structure import Chain

__all__ = ["AtomTable", "Polymer", "build_chain"]


@dataclass(frozen=True)
class Polymer:
    """The sequence of a chain, as it was put into the experiment."""

    label_id: str
    components: tuple[str, ...]
    """Three-letter names, e.g. "MSE"."""
    sequence: str
    """One letter for each of them."""


@dataclass(frozen=True, eq=False)
class AtomTable:
    """The atoms of one chain in one model, in the order of the file; one entry for each atom."""

    residue: Int64[np.ndarray, " atoms"]
    """Row of the chain's sequence."""
    component: np.ndarray
    """Three-letter name of the residue that the atom belongs to."""
    name: np.ndarray
    alternate: np.ndarray
    """Alternate location, "" where there is one only."""
    occupancy: Float64[np.ndarray, " atoms"]
    b_factor: Float64[np.ndarray, " atoms"]
    positions: Float64[np.ndarray, "atoms 3"]
    author_number: np.ndarray
    """Number and insertion code in the author's naming."""

    def __len__(self) -> int:
        return len(self.residue)

    def where(self, keep: np.ndarray) -> AtomTable:
        """The atoms that a mask or an index picks."""
        return AtomTable(**{name: column[keep] for name, column in vars(self).items()})


def build_chain(author_id: str, polymer: Polymer, atoms: AtomTable) -> tuple[Chain, Counter[str]]:
    """The chain, and how many atoms were left out of it for which reason.

    - A residue that the file gives as two (microheterogeneity) is the one of `polymer`.
    - Of alternate locations, a residue keeps the one with the highest mean occupancy, the first of
      equals; an atom that lacks this one keeps its own highest. (AlphaFold 2 chooses atom by atom,
      which differs where the occupancies within one location do.)
    - Atoms without finite coordinates are left out, as are names that are not among the 37.
    """
    dropped: Counter[str] = Counter()
    atoms = _of_the_sequence(atoms, polymer, dropped)
    with np.errstate(over="ignore"):  # beyond float32 is not finite either
        finite = np.asarray(np.isfinite(atoms.positions.astype(np.float32)).all(axis=1))
    dropped["coordinates that are not finite"] += int((~finite).sum())
    atoms = atoms.where(finite)
    atoms = _one_of_each(atoms, dropped)

    shape = (len(polymer.components), len(ATOM37))
    at = atoms.residue, _columns(atoms)
    positions = np.zeros((*shape, 3), np.float32)
    mask = np.zeros(shape, bool)
    b_factors = np.zeros(shape, np.float32)
    positions[at] = atoms.positions
    mask[at] = True
    b_factors[at] = np.nan_to_num(atoms.b_factor, posinf=0.0, neginf=0.0)
    _order_arginine(polymer.sequence, positions, mask, b_factors)
    numbers = [""] * len(polymer.components)
    for residue, number in zip(atoms.residue, atoms.author_number, strict=True):
        numbers[residue] = numbers[residue] or str(number)
    chain = Chain(
        author_id, polymer.label_id, polymer.sequence, positions, mask, b_factors, tuple(numbers)
    )
    return chain, +dropped


def _columns(atoms: AtomTable) -> Int64[np.ndarray, " atoms"]:
    """Each atom's place among the 37, -1 where it has none; MSE's selenium stands for sulphur."""
    return np.array(
        [
            ATOM37_INDEX.get("SD" if name == "SE" and component == "MSE" else name, -1)
            for name, component in zip(atoms.name, atoms.component, strict=True)
        ],
        dtype=np.int64,
    )


def _of_the_sequence(atoms: AtomTable, polymer: Polymer, dropped: Counter[str]) -> AtomTable:
    components = np.array(polymer.components, dtype=object)[atoms.residue]
    fits = atoms.component == components
    # where no atom of a residue bears the name of the sequence, the first name in the file does
    first: dict[int, str] = {}
    for residue in np.setdiff1d(atoms.residue, atoms.residue[fits]):
        first[int(residue)] = atoms.component[atoms.residue == residue][0]
    fits |= [
        first.get(int(residue)) == component
        for residue, component in zip(atoms.residue, atoms.component, strict=True)
    ]
    dropped["a second residue at the same place"] += int((~fits).sum())
    return atoms.where(fits & (_columns(atoms) >= 0))


def _one_of_each(atoms: AtomTable, dropped: Counter[str]) -> AtomTable:
    """Each atom once, by alternate location, then occupancy, then order in the file."""
    occupancy = np.where(np.isfinite(atoms.occupancy), atoms.occupancy, 1.0)
    rank = np.lexsort((-occupancy, ~_chosen(atoms, occupancy), _columns(atoms), atoms.residue))
    slot = (atoms.residue * len(ATOM37) + _columns(atoms))[rank]
    kept = rank[np.diff(slot, prepend=-1) != 0]
    dropped["another alternate location"] += len(atoms) - len(kept)
    return atoms.where(np.sort(kept))


def _chosen(atoms: AtomTable, occupancy: np.ndarray) -> Bool[np.ndarray, " atoms"]:
    """Which atoms are of their residue's best location, or have no other."""
    chosen = atoms.alternate == ""
    for residue in np.unique(atoms.residue[~chosen]):
        here = (atoms.residue == residue) & (atoms.alternate != "")
        # dict.fromkeys and max keep the first of equals
        labels = dict.fromkeys(atoms.alternate[here])
        means = {label: occupancy[here & (atoms.alternate == label)].mean() for label in labels}
        chosen |= here & (atoms.alternate == max(means, key=means.__getitem__))
    return chosen


def _order_arginine(
    sequence: str, positions: np.ndarray, mask: np.ndarray, b_factors: np.ndarray
) -> None:
    """Swap NH1 and NH2, in place, where NH1 is the farther from CD."""
    cd, nh1, nh2 = (ATOM37_INDEX[name] for name in ("CD", "NH1", "NH2"))
    arginine = np.array([letter == "R" for letter in sequence])
    rows = np.flatnonzero(arginine & mask[:, [cd, nh1, nh2]].all(axis=1))
    to_nh1, to_nh2 = (
        np.linalg.norm(positions[rows, atom] - positions[rows, cd], axis=-1) for atom in (nh1, nh2)
    )
    wrong = rows[to_nh1 > to_nh2]
    here, there = (wrong[:, None], [nh1, nh2]), (wrong[:, None], [nh2, nh1])
    positions[here] = positions[there]
    b_factors[here] = b_factors[there]
