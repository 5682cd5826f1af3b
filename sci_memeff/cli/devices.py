"""--device: which device a word names."""

from __future__ import annotations

import torch

from sci_memeff.errors import BadConfigError

__all__ = ["chosen_device"]


def chosen_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one; BadConfigError where what is named is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BadConfigError(
            f"--device {name!r} is no device", mend="use auto, cpu, cuda or cuda:N"
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise BadConfigError(
            f"--device {name!r} is not supported", mend="use auto, cpu, cuda or cuda:N"
        )
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        raise BadConfigError(
            f"--device {name!r}, but this torch sees {count} CUDA devices",
            mend="use --device cpu, or install a CUDA build of torch and check `nvidia-smi`",
        )
    return device
