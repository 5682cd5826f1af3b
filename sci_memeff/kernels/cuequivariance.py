"""NVIDIA's triangle attention, from the package cuequivariance-torch, as a form of attention.

Its interface: docs.nvidia.com/cuda/cuequivariance, `cuequivariance_torch.triangle_attention`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

import torch
from jaxtyping import Float
from torch import Tensor

from sci_memeff.errors import CannotAttendError, MissingPackageError
from sci_memeff.kernels.triton_layout import arrange

__all__ = ["cuequivariance_attention"]

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
HIDDEN = -1e4  # a key with this bias or less is not seen


def cuequivariance_attention(
    q: Float[Tensor, "*b h i c"],
    k: Float[Tensor, "*b h j c"],
    v: Float[Tensor, "*b h j c"],
    biases: Sequence[Tensor] = (),
) -> Float[Tensor, "*b h i c"]:
    """softmax(q·kᵀ/√c + Σ biases)·v, an `Attend`.

    The kernel takes a mask of the keys of each row, and a bias that the rows share. So a bias
    without a gradient that is the same for every head and query must be a mask: 0 where a key is
    seen, at most -10⁴ where it is not. A RuntimeError says that it is not one; on a GPU that comes
    later, and the process cannot go on, since looking at once would stall every call. All others
    are added up to the shared bias, (h, i, j) numbers in float32 for each place along the batch
    axes along which one of them varies.

    The kernel rounds products of float32 to TF32 in the backward pass, and needs
    `torch.backends.cuda.matmul.allow_tf32` for that; it promises no order of additions.

    MissingPackageError without the package; CannotAttendError for other types and for shapes that
    do not fit.
    """
    kernel = _kernel()
    if q.dtype not in DTYPES or k.dtype != q.dtype or v.dtype != q.dtype:
        raise CannotAttendError(
            f"cuEquivariance cannot attend with q {q.dtype}, k {k.dtype} and v {v.dtype}",
            mend="make them all bfloat16, float16 or float32, or use the form 'reference'",
        )
    x = arrange(q, k, v, biases, keys_by_head=False)
    mask = None if x.key_bias is None else _mask(x.key_bias[:, :, :1])
    bias = x.pair_bias
    if bias is None:
        bias = q.new_zeros(x.q.shape[0], *x.q.shape[2:4], k.shape[-2], dtype=torch.float32)
    out = kernel(x.q, x.k, x.v, bias[:, None], mask=mask, scale=q.shape[-1] ** -0.5)
    return x.restore(out)


def _kernel() -> Callable[..., Tensor]:
    try:
        import_module(
            "cuequivariance_ops_torch"
        )  # the kernels, which the next one reads when called
        return import_module("cuequivariance_torch").triangle_attention
    except ImportError as error:
        raise MissingPackageError(
            "the form 'cuequivariance' of attention needs cuequivariance-torch and its kernels",
            mend="pip install 'sci-memeff[cuequivariance]', or for CUDA 12 pip install "
            "cuequivariance-torch cuequivariance-ops-torch-cu12",
        ) from error


def _mask(key_bias: Float[Tensor, "g r 1 j"]) -> Tensor:
    """(g, r, 1, 1, j), true where a key is seen."""
    hidden = key_bias <= HIDDEN
    torch.ops.aten._assert_async.msg(
        (hidden | (key_bias == 0)).all(),
        "a bias of the keys is no mask of 0 and -10⁴ or less, and cuEquivariance takes no other\n"
        "  mend: use the form 'triton' or 'reference'",
    )
    return ~hidden[:, :, None]
