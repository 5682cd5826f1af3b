"""In which precision modules compute: casts around them, put in by a plan.

Nothing here reads a plan, or knows of a model.
"""

from sci_memeff.precision.casts import Computed

__all__ = ["Computed"]
