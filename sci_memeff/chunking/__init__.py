"""Walks: a function evaluated some rows at a time, whose graph is never kept."""

from sci_memeff._types import whole
from sci_memeff.chunking.sliced import Sliced, sliced
from sci_memeff.chunking.summed import Summed, summed
from sci_memeff.chunking.walk import InSlices, in_slices, walk

__all__ = ["InSlices", "Sliced", "Summed", "in_slices", "sliced", "summed", "walk", "whole"]
