"""Live bytes, FLOPs and timelines of a step, on real and on fake tensors."""

from sci_memeff.measure.measured import Measured
from sci_memeff.measure.measuring import measure
from sci_memeff.measure.simulate import simulate

__all__ = ["Measured", "measure", "simulate"]
