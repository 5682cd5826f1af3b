"""What a stack keeps for its backward pass, where, and what it computes again."""

from sci_memeff.checkpointing.recomputed import Recomputed, recomputed
from sci_memeff.checkpointing.segments import InSegments, in_segments
from sci_memeff.checkpointing.shelf import Traffic, watch_traffic
from sci_memeff.checkpointing.spared import Spared
from sci_memeff.checkpointing.stores import Coded, Device, Disk, Host, Store

__all__ = [
    "Coded",
    "Device",
    "Disk",
    "Host",
    "InSegments",
    "Recomputed",
    "Spared",
    "Store",
    "Traffic",
    "in_segments",
    "recomputed",
    "watch_traffic",
]
