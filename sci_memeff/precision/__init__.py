"""In which precision modules compute: casts around them, put in by a plan.

Nothing here reads a plan, or knows of a model.
"""

from sci_memeff.precision.casts import Computed
from sci_memeff.precision.recipe import RECIPES, Recipe, recipe_of

__all__ = ["RECIPES", "Computed", "Recipe", "recipe_of"]
