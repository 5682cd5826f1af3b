"""Frames, torsions and atoms: the geometry of the structure module (Supplement 1.8), in torch."""

from __future__ import annotations

from sci_memeff.alphafold.geometry.layouts import atom14_to_atom37, pseudo_beta
from sci_memeff.alphafold.geometry.rigid import Rigid
from sci_memeff.alphafold.geometry.rotation import quaternion_to_rotation
from sci_memeff.alphafold.geometry.superposition import superposition
from sci_memeff.alphafold.geometry.tables import look_up
from sci_memeff.alphafold.geometry.torsions import frames_to_atom14, torsions_to_frames

__all__ = [
    "Rigid",
    "atom14_to_atom37",
    "frames_to_atom14",
    "look_up",
    "pseudo_beta",
    "quaternion_to_rotation",
    "superposition",
    "torsions_to_frames",
]
