"""From a byte budget to a plan: simulated, searched, predicted, and verified."""

from sci_memeff.planning.front import Front
from sci_memeff.planning.planner import MaxCrop, max_crop, plan
from sci_memeff.planning.targets import TARGETS, Target

__all__ = ["TARGETS", "Front", "MaxCrop", "Target", "max_crop", "plan"]
