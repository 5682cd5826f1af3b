"""Plans as JSON: what stands on a seam is written by its name and its settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, get_args

from sci_memeff._prediction import Action, Prediction, Tier
from sci_memeff._records import (
    FLAG,
    INT,
    MEND,
    NUMBER,
    TEXT,
    Constant,
    Field,
    Record,
    choice,
    named,
    one_or_several,
    optional,
    read_object,
    several,
)
from sci_memeff._rule import Rule, Seam
from sci_memeff._types import in_turn, plainly, whole
from sci_memeff.checkpointing import Coded, Device, Disk, Host, InSegments, Recomputed, Spared
from sci_memeff.chunking import InSlices, Sliced, Summed
from sci_memeff.errors import BadPlanError
from sci_memeff.kernels import Form, attend
from sci_memeff.kernels.codes import Rounding
from sci_memeff.kernels.forms import form_of
from sci_memeff.precision import Computed, Recipe
from sci_memeff.precision.casts import Dtype
from sci_memeff.precision.codecs import Fp8, Int8
from sci_memeff.precision.float8 import Float8, Scaling

__all__ = ["SCHEMA", "from_text", "to_text"]

SCHEMA = 2
READS = (1, SCHEMA)  # the first one had no recipes


def to_text(rules: Sequence[Rule], recipe: Recipe | None, prediction: Prediction | None) -> str:
    """As `Plan.to_json` has it."""
    data = {
        "schema": SCHEMA,
        "recipe": _RECIPE.write(recipe),
        "rules": [_written(rule) for rule in rules],
        "prediction": _PREDICTION.write(prediction),
    }
    return json.dumps(data, indent=2, ensure_ascii=False)


def _written(rule: Rule) -> dict[str, Any]:
    try:
        return _RULE.write(rule)
    except BadPlanError as error:
        raise BadPlanError(f"the rule for {rule.where!r}: {error.wrong}", mend=error.mend) from None


def from_text(text: str) -> tuple[tuple[Rule, ...], Recipe | None, Prediction | None]:
    """As `Plan.from_json` has it."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadPlanError(f"this is no JSON: {error}", mend=MEND) from None
    if not isinstance(data, dict) or "schema" not in data:
        raise BadPlanError("this is no plan: it has no schema", mend=MEND)
    if data["schema"] not in READS:
        raise BadPlanError(
            f"this plan is in schema {data['schema']!r}, and this version reads schema "
            f"{' and '.join(map(str, READS))}",
            mend="update sci_memeff, or make the plan again",
        )
    read_object(data, "the plan", ("schema", "recipe", "rules", "prediction"))
    rules = several(_RULE).read(data.get("rules"), "rules")
    recipe = _RECIPE.read(data.get("recipe"), "recipe")
    return rules, recipe, _PREDICTION.read(data.get("prediction"), "prediction")


class _Attention:
    """A kernel of attention, by the name of its form."""

    def holds(self, value: Any) -> bool:
        """Whether `attend` gives it."""
        return form_of(value) is not None

    def write(self, value: Any) -> dict[str, Any]:
        """The form."""
        return {"form": form_of(value)}

    def read(self, data: dict[str, Any], place: str) -> Any:
        """The callable."""
        form = read_object(data, place, ["form"]).get("form")
        return attend(choice(get_args(Form)).read(form, f"{place}.form"))


def _write_dims(dims: tuple[tuple[str | int, int], ...]) -> dict[str, int]:
    """Keys of JSON are text, and no argument's name is a number."""
    return {str(key): dim for key, dim in dims}


def _read_dims(data: Any, place: str) -> tuple[tuple[str | int, int], ...]:
    if not isinstance(data, dict):
        raise BadPlanError(f"{place} is {data!r}, and should be an object", mend=MEND)
    return tuple(
        (int(key) if key.isdecimal() else key, INT.read(dim, f"{place}.{key}"))
        for key, dim in data.items()
    )


_ROUNDING = choice(get_args(Rounding))
_CODEC = named(
    {
        "fp8": Record(Fp8, {"group": INT, "rounding": _ROUNDING}),
        "int8": Record(Int8, {"group": optional(INT), "rounding": _ROUNDING}),
    },
    mend="encode tensors with Fp8() or Int8()",
)
_PLACES = {
    "device": Record(Device, {}),
    "host": Record(Host, {"min_bytes": INT, "ahead": FLAG}),
    "disk": Record(Disk, {"folder": optional(TEXT), "min_bytes": INT}),
}
_KEEP = "keep tensors in Device(), Host() or Disk()"
_CODED = {"codec": _CODEC, "keep": named(_PLACES, mend=_KEEP), "min_bytes": INT}
_STORE = named(
    {**_PLACES, "coded": Record(Coded, _CODED)}, mend=f"{_KEEP}, or in Coded(…) of one of them"
)
_SPARED = choice(get_args(Spared))
_INNER = Field(lambda value: _USE.write(value), lambda data, place: _USE.read(data, place))
_IN_SEGMENTS = {
    "length": one_or_several(INT),
    "inner": optional(_INNER),
    "keep": _STORE,
    "spare": _SPARED,
    "leave": INT,
}
_SLICED = {
    "size": INT,
    "in_dims": Field(_write_dims, _read_dims),
    "out_dims": one_or_several(INT),
}
_SUMMED = {
    "size": INT,
    "in_dims": Field(_write_dims, _read_dims),
    "each": _INNER,
    "sums": several(INT),
}
_DTYPE = optional(choice(get_args(Dtype)))
_COMPUTED = {
    "inputs": _DTYPE,
    "parameters": optional(choice((*get_args(Dtype), "inputs"))),
    "gives": _DTYPE,
    "outputs": _DTYPE,
}
_FLOAT8 = Record(Float8, {"scaling": choice(get_args(Scaling)), "emulate": optional(FLAG)})
_RECIPE = optional(
    Record(
        Recipe,
        {
            "name": TEXT,
            "products": _DTYPE,
            "streams": _DTYPE,
            "islands": several(TEXT),
            "linears": optional(_FLOAT8),
        },
    )
)
_USE = named(
    {
        "whole": Constant(whole),
        "in_turn": Constant(in_turn),
        "plainly": Constant(plainly),
        "in_slices": Record(InSlices, {"size": INT, "recompute_shared": FLAG}),
        "in_segments": Record(InSegments, _IN_SEGMENTS),
        "recomputed": Record(Recomputed, {"keep": _STORE, "spare": _SPARED}),
        "sliced": Record(Sliced, _SLICED),
        "summed": Record(Summed, _SUMMED),
        "attend": _Attention(),
        "computed": Record(Computed, _COMPUTED),
        "float8": _FLOAT8,
    },
    mend="save plans of what in_slices, in_segments, recomputed, sliced, summed, attend, Computed "
    "and float8 give",
)
_RULE = Record(Rule, {"where": TEXT, "seam": choice(get_args(Seam)), "use": _USE})
_ACTION = {
    "where": TEXT,
    "what": TEXT,
    "tier": choice(get_args(Tier)),
    "saved_bytes": INT,
    "added_flops": INT,
}
_PREDICTION = optional(
    Record(
        Prediction,
        {
            "target": TEXT,
            "budget_bytes": optional(INT),
            "peak_bytes": INT,
            "peak_phase": TEXT,
            "peak_module": TEXT,
            "margin": NUMBER,
            "reserved_bytes": INT,
            "host_bytes": INT,
            "plain_peak_bytes": INT,
            "flops": INT,
            "plain_flops": INT,
            "step_seconds": NUMBER,
            "plain_seconds": NUMBER,
            "actions": several(Record(Action, _ACTION)),
        },
    )
)
