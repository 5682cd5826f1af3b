"""Amino-acid chemistry as numbers: names, layouts, torsions, rigid groups, bond statistics.

Tables only, as read-only numpy arrays indexed by residue type (0 to 19, 20 = unknown) and computed
at import from literals. Numbers of AlphaFold 2 (Jumper et al., 2021), Supplement 1.2 and 1.8.
"""

from __future__ import annotations

from sci_memeff.chemistry.ambiguity import (
    ATOM14_AMBIGUOUS,
    ATOM14_SWAP,
    GROUP_AMBIGUOUS,
    SWAPPED_ATOMS,
)
from sci_memeff.chemistry.atoms import (
    ATOM14_MASK,
    ATOM14_TO_ATOM37,
    ATOM37,
    ATOM37_INDEX,
    ATOM37_MASK,
    ATOM37_TO_ATOM14,
    RESIDUE_ATOMS,
    RESTYPE_ATOM14,
)
from sci_memeff.chemistry.bond_angles import (
    RESIDUE_ANGLES,
    Angle,
)
from sci_memeff.chemistry.bond_lengths import (
    RESIDUE_BONDS,
    Bond,
)
from sci_memeff.chemistry.ideal_positions import (
    BACKBONE,
    CHI1,
    CHI2,
    CHI3,
    CHI4,
    IDEAL_POSITIONS,
    NUM_GROUPS,
    PHI,
    PRE_OMEGA,
    PSI,
)
from sci_memeff.chemistry.residues import (
    MSA_ALPHABET,
    MSA_GAP,
    MSA_MASKED,
    MSA_TOKEN,
    NUM_MSA_TOKENS,
    NUM_RESTYPES,
    ONE_TO_THREE,
    RESTYPE_INDEX,
    RESTYPES,
    THREE_LETTERS,
    THREE_TO_ONE,
    UNKNOWN,
)
from sci_memeff.chemistry.rigid_groups import (
    ATOM14_GROUP,
    ATOM14_POSITIONS,
    DEFAULT_FRAMES,
    GROUP_ATOM37,
    GROUP_EXISTS,
)
from sci_memeff.chemistry.stereochemistry import (
    C_N_CA_COSINE,
    C_N_CA_COSINE_STDDEV,
    C_N_LENGTH,
    C_N_LENGTH_BEFORE_PROLINE,
    C_N_LENGTH_STDDEV,
    C_N_LENGTH_STDDEV_BEFORE_PROLINE,
    CA_C_N_COSINE,
    CA_C_N_COSINE_STDDEV,
    NO_UPPER_BOUND,
    VAN_DER_WAALS,
    atom14_distance_bounds,
)
from sci_memeff.chemistry.torsions import (
    CHI_ATOM37,
    CHI_ATOMS,
    CHI_MASK,
    CHI_PI_PERIODIC,
    NUM_CHIS,
)

__all__ = [
    "ATOM14_AMBIGUOUS",
    "ATOM14_GROUP",
    "ATOM14_MASK",
    "ATOM14_POSITIONS",
    "ATOM14_SWAP",
    "ATOM14_TO_ATOM37",
    "ATOM37",
    "ATOM37_INDEX",
    "ATOM37_MASK",
    "ATOM37_TO_ATOM14",
    "BACKBONE",
    "CA_C_N_COSINE",
    "CA_C_N_COSINE_STDDEV",
    "CHI1",
    "CHI2",
    "CHI3",
    "CHI4",
    "CHI_ATOM37",
    "CHI_ATOMS",
    "CHI_MASK",
    "CHI_PI_PERIODIC",
    "C_N_CA_COSINE",
    "C_N_CA_COSINE_STDDEV",
    "C_N_LENGTH",
    "C_N_LENGTH_BEFORE_PROLINE",
    "C_N_LENGTH_STDDEV",
    "C_N_LENGTH_STDDEV_BEFORE_PROLINE",
    "DEFAULT_FRAMES",
    "GROUP_AMBIGUOUS",
    "GROUP_ATOM37",
    "GROUP_EXISTS",
    "IDEAL_POSITIONS",
    "MSA_ALPHABET",
    "MSA_GAP",
    "MSA_MASKED",
    "MSA_TOKEN",
    "NO_UPPER_BOUND",
    "NUM_CHIS",
    "NUM_GROUPS",
    "NUM_MSA_TOKENS",
    "NUM_RESTYPES",
    "ONE_TO_THREE",
    "PHI",
    "PRE_OMEGA",
    "PSI",
    "RESIDUE_ANGLES",
    "RESIDUE_ATOMS",
    "RESIDUE_BONDS",
    "RESTYPES",
    "RESTYPE_ATOM14",
    "RESTYPE_INDEX",
    "SWAPPED_ATOMS",
    "THREE_LETTERS",
    "THREE_TO_ONE",
    "UNKNOWN",
    "VAN_DER_WAALS",
    "Angle",
    "Bond",
    "atom14_distance_bounds",
]
