"""Aurora 1.3B: the whole training step at 0.25°, AdamW included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode

from foreign_models.case import Case, redrawn
from foreign_models.torchvision_names import declare_torchvision
from sci_memeff import Plan, Rule
from sci_memeff.checkpointing import recomputed
from sci_memeff.chunking import sliced

__all__ = ["bar", "small"]

LEVELS = (50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 850, 925, 1000)  # hPa
SURFACE, STATIC, ATMOSPHERE = ("2t", "10u", "10v", "msl"), ("lsm", "z", "slt"), tuple("zuvtq")


def bar(own: bool = False, grid: tuple[int, int] = (721, 1440)) -> Case:
    """One sample, the backbone in bf16 autocast; with `own`, its official checkpointing is on.

    Two updates: AdamW's states are there from the second on.
    """
    declare_torchvision()
    return Case(
        title=f"Aurora 1.3B, {grid[0]} × {grid[1]}, 13 levels, AdamW, backbone in bf16",
        model=lambda: _on_meta(own),
        step=_step,
        batch=_batch(grid, LEVELS, torch.float32, "meta"),
        by_hand=_by_hand(4096),
        optimizer=lambda model: torch.optim.AdamW(model.parameters()),
        updates=2,
        around=values_are_trusted,
    )


def small() -> Case:
    """In float64, all kinds of layers once; its predictions come in float32."""
    declare_torchvision()
    torch.manual_seed(0)
    model = import_module("aurora").AuroraPretrained(
        embed_dim=16,
        num_heads=2,
        encoder_depths=(2, 2),
        encoder_num_heads=(2, 4),
        decoder_depths=(2, 2),
        decoder_num_heads=(4, 2),
        patch_size=4,
        window_size=(2, 2, 3),
    )
    return Case(
        title="4 + 4 Swin blocks, 33 × 48, 3 levels, float64",
        model=redrawn(model).train(),
        step=_step,
        batch=_batch((33, 48), LEVELS[-3:], torch.float64, "cpu"),
        by_hand=_by_hand(17),
        around=values_are_trusted,
    )


@contextmanager
def values_are_trusted() -> Iterator[None]:
    """Where fake tensors are asked for values: checks pass, and a lead time is six hours.

    The model checks that coordinates lie where they should, again and again.
    """
    FakeTensor.__bool__ = lambda _: True  # pyright: ignore[reportAttributeAccessIssue]
    FakeTensor.__float__ = lambda _: 6.0  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        del FakeTensor.__bool__, FakeTensor.__float__


class _Rates(TorchFunctionMode):
    """Has `torch.linspace` give numbers on the meta device too: rates of dropped paths."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return func(*args, **{**kwargs, "device": "cpu"} if func is torch.linspace else kwargs)


def _on_meta(own: bool) -> nn.Module:
    with _Rates():
        model = import_module("aurora").AuroraPretrained(autocast=True)
    if own:
        model.configure_activation_checkpointing()
    return model.train()


def _by_hand(patches: int) -> Plan:
    rows = sliced(patches, in_dims={"latents": -3, "x": -3}, out_dims=-3)
    return Plan(
        rules=(
            Rule(
                where="backbone.*coder_layers.<0-2>.blocks.<0-9>", seam="forward", use=recomputed()
            ),
            Rule(where="decoder.level_decoder", seam="forward", use=rows),
            Rule(where="encoder.level_agg", seam="forward", use=rows),
        )
    )


def _batch(grid: tuple[int, int], levels: tuple[int, ...], dtype: torch.dtype, device: str) -> Any:
    aurora: Any = import_module("aurora")
    height, width = grid

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=dtype, device=device)

    return aurora.Batch(
        surf_vars={name: draw(1, 2, height, width) for name in SURFACE},
        static_vars={name: draw(height, width) for name in STATIC},
        atmos_vars={name: draw(1, 2, len(levels), height, width) for name in ATMOSPHERE},
        metadata=aurora.Metadata(
            lat=torch.linspace(90, -90, height),
            lon=torch.linspace(0, 360, width + 1)[:-1].clone(),
            time=(datetime(2020, 6, 1, 12),),
            atmos_levels=levels,
        ),
    )


def _step(model: nn.Module, batch: Any) -> Tensor:
    found = model(batch)
    fields = [*found.surf_vars.values(), *found.atmos_vars.values()]
    return torch.stack([field.abs().mean() for field in fields]).sum()
