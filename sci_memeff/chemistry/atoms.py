"""Heavy atoms of the residues in two layouts: 37 columns, one per atom name, and 14, packed.

`atom37` gives every name its own column; `atom14` lists the atoms of a residue one after the other
and leaves the rest empty (AlphaFold 2, Supplement 1.2.1, Table 1). OXT has a column in atom37 and
belongs to no residue type. The row of the unknown residue is empty in both.
"""

from __future__ import annotations

import numpy as np

from sci_memeff.chemistry.frozen import frozen
from sci_memeff.chemistry.residues import THREE_LETTERS

__all__ = [
    "ATOM14_MASK",
    "ATOM14_TO_ATOM37",
    "ATOM37",
    "ATOM37_INDEX",
    "ATOM37_MASK",
    "ATOM37_TO_ATOM14",
    "RESIDUE_ATOMS",
    "RESTYPE_ATOM14",
]

_NAMES = (
    "N CA C CB O CG CG1 CG2 OG OG1 SG CD CD1 CD2 ND1 ND2 OD1 OD2 SD CE CE1 CE2 CE3 NE NE1 NE2 "
    "OE1 OE2 CH2 NH1 NH2 OH CZ CZ2 CZ3 NZ OXT"
)
ATOM37 = tuple(_NAMES.split())
ATOM37_INDEX = {name: index for index, name in enumerate(ATOM37)}

# In the order of the 14 columns.
RESIDUE_ATOMS: dict[str, tuple[str, ...]] = {
    three: tuple(names.split())
    for three, names in {
        "ALA": "N CA C O CB",
        "ARG": "N CA C O CB CG CD NE CZ NH1 NH2",
        "ASN": "N CA C O CB CG OD1 ND2",
        "ASP": "N CA C O CB CG OD1 OD2",
        "CYS": "N CA C O CB SG",
        "GLN": "N CA C O CB CG CD OE1 NE2",
        "GLU": "N CA C O CB CG CD OE1 OE2",
        "GLY": "N CA C O",
        "HIS": "N CA C O CB CG ND1 CD2 CE1 NE2",
        "ILE": "N CA C O CB CG1 CG2 CD1",
        "LEU": "N CA C O CB CG CD1 CD2",
        "LYS": "N CA C O CB CG CD CE NZ",
        "MET": "N CA C O CB CG SD CE",
        "PHE": "N CA C O CB CG CD1 CD2 CE1 CE2 CZ",
        "PRO": "N CA C O CB CG CD",
        "SER": "N CA C O CB OG",
        "THR": "N CA C O CB OG1 CG2",
        "TRP": "N CA C O CB CG CD1 CD2 NE1 CE2 CE3 CZ2 CZ3 CH2",
        "TYR": "N CA C O CB CG CD1 CD2 CE1 CE2 CZ OH",
        "VAL": "N CA C O CB CG1 CG2",
    }.items()
}

RESTYPE_ATOM14: tuple[tuple[str, ...], ...] = tuple(
    names + ("",) * (14 - len(names))
    for names in [*(RESIDUE_ATOMS[three] for three in THREE_LETTERS), ()]
)

# Empty places point at column 0 and are told by the masks.
ATOM14_TO_ATOM37 = frozen(
    [[ATOM37_INDEX.get(name, 0) for name in names] for names in RESTYPE_ATOM14], np.int64
)
ATOM37_TO_ATOM14 = frozen(
    [[names.index(name) if name in names else 0 for name in ATOM37] for names in RESTYPE_ATOM14],
    np.int64,
)
ATOM14_MASK = frozen([[name != "" for name in names] for names in RESTYPE_ATOM14], np.float32)
ATOM37_MASK = frozen([[name in names for name in ATOM37] for names in RESTYPE_ATOM14], np.float32)
