"""Probes: along which axes a module that nobody has prepared is independent, and the proof."""

from sci_memeff.chunking.probing.calls import axes_of_calls
from sci_memeff.chunking.probing.probe import Independence, Probed, explain, independent_axes

__all__ = ["Independence", "Probed", "axes_of_calls", "explain", "independent_axes"]
