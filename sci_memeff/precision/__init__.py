"""In which precision modules compute: casts around them, put in by a plan.

Nothing here reads a plan, or knows of a model.
"""

from sci_memeff.precision.casts import Computed
from sci_memeff.precision.float8 import Float8, Scaling, float8
from sci_memeff.precision.gains import Reasons, gains, reasons
from sci_memeff.precision.ranges import Range, Ranges
from sci_memeff.precision.recipe import RECIPES, Recipe, recipe_of
from sci_memeff.precision.watching import watch_ranges

__all__ = [
    "RECIPES",
    "Computed",
    "Float8",
    "Range",
    "Ranges",
    "Reasons",
    "Recipe",
    "Scaling",
    "float8",
    "gains",
    "reasons",
    "recipe_of",
    "watch_ranges",
]
