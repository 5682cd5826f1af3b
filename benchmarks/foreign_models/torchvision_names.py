"""torchvision's operators, by name alone: what PyPI has of it is built for CUDA.

timm and torchmetrics import it, for parts that none of these models use.
"""

from __future__ import annotations

from functools import cache

import torch

__all__ = ["declare_torchvision"]

_NAMES = ("nms", "qnms", "qroi_align", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool")
_BACKWARD = ("roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d")


@cache
def declare_torchvision() -> torch.library.Library | None:
    """Let it be imported without its compiled part; None where that is there."""
    if torch._C._dispatch_has_kernel("torchvision::nms"):
        return None
    library = torch.library.Library("torchvision", "DEF")
    for name in (*_NAMES, "deform_conv2d", *(f"_{name}_backward" for name in _BACKWARD)):
        library.define(f"{name}() -> Tensor")
    return library
