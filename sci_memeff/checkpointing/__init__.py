"""What a stack keeps for its backward pass, and what it computes again."""

from sci_memeff.checkpointing.segments import InSegments, in_segments

__all__ = ["InSegments", "in_segments"]
