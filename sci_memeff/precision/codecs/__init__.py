"""Codecs: how a store keeps tensors in fewer bytes. One small value each, in a file of its own."""

from sci_memeff.precision.codecs.fp8 import Fp8
from sci_memeff.precision.codecs.int8 import Int8

__all__ = ["CODECS", "Fp8", "Int8"]

# By the names that plans and command lines give them.
CODECS = {"fp8": Fp8, "int8": Int8}
