"""Recipes: which precision each module of a model computes in, said for all of it at once.

Micikevicius et al. 2018, "Mixed precision training"; Kalamkar et al. 2019, "A study of BFLOAT16 for
deep learning training". What AlphaFold keeps in float32 is in `_GEOMETRY`, and why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from sci_memeff._pattern import compiled
from sci_memeff._types import Forward
from sci_memeff.errors import BadPlanError
from sci_memeff.precision.casts import Computed, Dtype
from sci_memeff.precision.float8 import Float8, float8
from sci_memeff.precision.gains import gains

__all__ = ["RECIPES", "Recipe", "recipe_of"]

ISLAND: Dtype = "float32"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What modules compute in; parameters stay as they are, and are cast where they are read.

    Layers with parameters of their own compute in `products`: linear layers and convolutions cast
    what they are given; norms take statistics in the dtype of what they are given, and only their
    result is in `products`, so that of a wide stream no copy is made; between layers, dtypes follow
    from what goes in. Embeddings of indices begin streams, and give `streams`.

    Modules whose names match one of `islands`, patterns as in a `Rule`, are given float32 and
    compute in it with all that is inside of them. `linears` is what linear layers outside of them
    hold that gain by it (`sci_memeff.precision.reasons` tells why others do not), in place of the
    cast. With `products` None a recipe leaves everything as it is.
    """

    name: str
    products: Dtype | None = None
    streams: Dtype | None = None
    islands: tuple[str, ...] = ()
    linears: Float8 | None = None

    def __post_init__(self) -> None:
        for where in self.islands:
            compiled(where)

    def uses(self, modules: Mapping[nn.Module, Sequence[str]]) -> dict[nn.Module, Forward]:
        """What the seam "precision" is to hold of those `modules`, given by name, that hold any.

        A module of several names is in an island if one of them is. BadPlanError for parameters in
        half precision, which are no masters, and for modules of TorchScript that own parameters;
        MissingPackageError where `linears` needs a package that is not installed.
        """
        if self.products is None:
            return {}
        if self.linears is not None:
            float8(self.linears.scaling, emulate=self.linears.emulate)
        found: dict[nn.Module, Forward] = {}
        for module, names in modules.items():
            self._refuse(module, names[0])
            use = self._use(module, names)
            if use is not None:
                found[module] = use
        return found

    def _use(self, module: nn.Module, names: Sequence[str]) -> Forward | None:
        if any(self._begins_island(name) for name in names):
            own: Dtype | None = ISLAND if _owned(module) else None
            return Computed(inputs=ISLAND, parameters=own, gives=ISLAND)
        if any(self._begins_island(outer) for name in names for outer in _around(name)):
            return _layer(module, ISLAND, ISLAND)
        assert self.products is not None
        use = _layer(module, self.products, self.streams)
        gains_by_it = self.linears is not None and use is not None and gains(module) is None
        return self.linears if gains_by_it else use

    def _begins_island(self, name: str) -> bool:
        return any(compiled(where).match(name) for where in self.islands)

    def _refuse(self, module: nn.Module, name: str) -> None:
        owned = _owned(module)
        if owned and isinstance(module, torch.jit.ScriptModule):
            raise BadPlanError(
                f"the recipe {self.name!r} cannot cast what {name!r} reads, which is compiled by "
                "TorchScript",
                mend="build the model without torch.jit.script",
            )
        half = [p.dtype for p in owned if p.itemsize < 4]
        if half:
            raise BadPlanError(
                f"the parameters of {name!r} are {half[0]}, and the recipe {self.name!r} casts "
                "parameters where they are read",
                mend="keep them in float32, as model.float() does: they are what is trained",
            )


def recipe_of(given: Recipe | str) -> Recipe:
    """The recipe of that name, or the one that is given; BadPlanError for another name."""
    if isinstance(given, Recipe):
        return given
    if given not in RECIPES:
        nearest = get_close_matches(str(given), RECIPES, n=1, cutoff=0.4) or list(RECIPES)
        raise BadPlanError(
            f"there is no recipe {given!r}", mend=f"give {' or '.join(map(repr, nearest))}"
        )
    return RECIPES[given]


def _layer(module: nn.Module, dtype: Dtype, streams: Dtype | None) -> Computed | None:
    """How a module with parameters of its own computes in `dtype`; None for one without."""
    if not _owned(module):
        return None
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return None if streams is None else Computed(outputs=streams)
    if isinstance(module, nn.RNNBase):  # reads its parameters past its attributes
        return Computed(inputs="float32", gives="float32")
    if isinstance(module, nn.modules.batchnorm._BatchNorm):  # as its running statistics are
        return Computed(outputs=dtype)
    if "Norm" in type(module).__name__:
        return Computed(parameters="inputs", outputs=dtype)
    if isinstance(module, _PRODUCTS):
        return Computed(inputs=dtype, parameters=dtype, gives=dtype)
    has_parts = next(module.children(), None) is not None
    return Computed(inputs=None if has_parts else dtype, parameters=dtype)


_PRODUCTS = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd, nn.MultiheadAttention)


def _owned(module: nn.Module) -> list[Tensor]:
    parameters = module._parameters.values()
    return [p for p in parameters if p is not None and p.is_floating_point()]


def _around(name: str) -> Iterator[str]:
    """The names of the modules that one of this name is in."""
    while name:
        name = name.rpartition(".")[0]
        yield name


# Frames and positions: bfloat16 has three digits, a tenth of an Å at the size of a protein, and
# invariant point attention subtracts squares of distances. The heads' logits go into logarithms.
_GEOMETRY = ("*structure_module", "*aux_heads", "*evoformer.linear")
# What streams begin with: sums of few features, whose rounding every block would carry along.
_BEGINNINGS = (
    "*input_embedder",
    "*recycling_embedder",
    "*extra_msa_embedder",
    "*template_pair_embedder",
    "*template_single_embedder",
)

_BF16 = Recipe(
    name="bf16", products="bfloat16", streams="float32", islands=(*_GEOMETRY, *_BEGINNINGS)
)

RECIPES: Mapping[str, Recipe] = {
    "fp32": Recipe(name="fp32"),
    "bf16": _BF16,
    "bf16-pure": Recipe(
        name="bf16-pure", products="bfloat16", streams="bfloat16", islands=_GEOMETRY
    ),
    "fp8": Recipe(
        name="fp8",
        products=_BF16.products,
        streams=_BF16.streams,
        islands=_BF16.islands,
        linears=Float8(),
    ),
}
"""The recipes that have a name of their own."""
