"""The forms of attention, by name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, get_args

from torch import Tensor

from sci_memeff._types import Attend
from sci_memeff.errors import BadConfigError, MissingPackageError
from sci_memeff.kernels.reference import attention
from sci_memeff.kernels.streaming import blocked, streaming

__all__ = ["Form", "attend", "automatic", "best_on", "form_of"]

Form = Literal["reference", "streaming", "blocked", "triton", "cuequivariance", "auto"]

_log = logging.getLogger(__name__)

# Module and function of the forms that need an optional package, which it is, and how to get it.
_OPTIONAL = {
    "triton": (
        "triton_attention",
        "triton_attention",
        "triton",
        "pip install 'sci-memeff[triton]'",
    ),
    "cuequivariance": (
        "cuequivariance",
        "cuequivariance_attention",
        "cuequivariance_torch",
        "pip install 'sci-memeff[cuequivariance]', or for CUDA 12 pip install "
        "cuequivariance-torch cuequivariance-ops-torch-cu12",
    ),
}


def attend(form: Form | str) -> Attend:
    """The callable for a module's seam: a function of some module, so it pickles and compares.

    | form | keeps for its backward pass | where |
    |---|---|---|
    | reference | the probabilities, several times | anywhere; differentiates twice |
    | streaming | its inputs | anywhere |
    | blocked | its inputs and the probabilities | inside a walk, a little faster there |
    | triton | its inputs, the result, a logsumexp a row | CUDA |
    | cuequivariance | what NVIDIA's kernel keeps | CUDA |
    | auto | as triton on CUDA where it is installed, else as streaming; it logs which | anywhere |

    BadConfigError for any other name; MissingPackageError where a form's package is not installed.
    """
    if form in _OPTIONAL:
        return _optional(form)
    if form not in _OWN:
        raise BadConfigError(
            f"there is no attention {form!r}",
            mend=f"give one of {', '.join(map(repr, get_args(Form)))}",
        )
    return _OWN[form]


def automatic(q: Tensor, k: Tensor, v: Tensor, biases: Sequence[Tensor] = ()) -> Tensor:
    """The best form for the device that the tensors are on; see `attend`."""
    return attend(best_on(q.device.type))(q, k, v, biases)


_OWN: dict[str, Attend] = {
    "reference": attention,
    "streaming": streaming,
    "blocked": blocked,
    "auto": automatic,
}


@cache  # so it logs once for each device
def best_on(device: str) -> Form:
    """The form that `auto` takes on a type of device."""
    form: Form = "triton" if device == "cuda" and find_spec("triton") else "streaming"
    _log.info("attention on %s: %s", device, form)
    return form


def form_of(kernel: Callable[..., Any]) -> str | None:
    """The form that `attend` gives this callable for; None for somebody else's."""
    place = (getattr(kernel, "__module__", ""), getattr(kernel, "__name__", ""))
    places = {
        (f"sci_memeff.kernels.{module}", function): form
        for form, (module, function, *_) in _OPTIONAL.items()
    }
    return next((form for form, own in _OWN.items() if kernel is own), places.get(place))


def _optional(form: str) -> Callable[..., Tensor]:
    module, function, package, command = _OPTIONAL[form]
    if find_spec(package) is None:
        raise MissingPackageError(
            f"the attention {form!r} needs {package}, which is not installed", mend=command
        )
    return getattr(import_module(f"sci_memeff.kernels.{module}"), function)
