"""Attention kernels: one signature, one file per form."""

from sci_memeff.kernels.forms import Form, attend
from sci_memeff.kernels.reference import attention

__all__ = ["Form", "attend", "attention"]
