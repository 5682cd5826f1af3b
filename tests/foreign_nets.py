"""Models of other people's making, each with a plan, and a step with all that it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sci_memeff import Plan, Recipe, Rule
from sci_memeff.checkpointing import Host, recomputed
from sci_memeff.chunking import sliced


class Mixer(nn.Module):
    """A user's own: modules called by keyword, results in dicts, one module in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(MixerBlock() for _ in range(3))
        self.blocks[2].tokens = self.blocks[0].tokens

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, options={"scale": 0.5, "extra": x.mean(-2, keepdim=True)})["x"]
        return x


class MixerBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Linear(5, 5)
        self.channels = Gated()
        self.drop = nn.Dropout(0.2)

    def forward(self, x: Tensor, *, options: dict[str, Any]) -> dict[str, Any]:
        x = x + self.drop(self.tokens(x.mT).mT)
        y, gate = self.channels(gate=options["extra"], x=x)
        return {"x": x + y * options["scale"] * gate.sigmoid(), "name": "mixed"}


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(8, 16)
        self.down = nn.Linear(16, 8)

    def forward(self, x: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
        h = self.up(x * gate).relu()
        return self.down(h), h[..., :8]


def _encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
    return nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)


def _conv() -> nn.Module:
    def block(before: int, after: int) -> nn.Module:
        conv = nn.Conv2d(before, after, 3, padding=1)
        return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU(), nn.Dropout(0.2))

    return nn.Sequential(block(3, 6), block(6, 6), block(6, 2))


class Net(NamedTuple):
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    plan: Plan
    units: tuple[str, ...]  # modules that share no parameters with others


def _rule(where: str, use: Any) -> Rule:
    return Rule(where=where, seam="forward", use=use)


NETS = {
    "encoder": Net(
        _encoder,
        (2, 5, 8),
        Plan(
            rules=(
                _rule("layers.<0-2>.linear1", sliced(2, {"input": -2})),
                _rule("layers.<1-2>", recomputed()),
            )
        ),
        ("layers.0", "layers.1", "layers.2"),
    ),
    "conv": Net(
        _conv,
        (4, 3, 6, 6),
        Plan(rules=(_rule("0", recomputed(Host(min_bytes=0))), _rule("<1-2>", recomputed()))),
        ("0", "1", "2"),
    ),
    "mixer": Net(
        Mixer,
        (2, 5, 8),
        Plan(
            rules=(
                _rule("blocks.*.channels", sliced(2, {"x": -2, 1: -2})),
                _rule("blocks.<0-1>", recomputed(spare="matmul")),
            )
        ),
        ("blocks.0.channels", "blocks.1"),
    ),
}
# The same with casts of all that is read, which in float64 change no bit of the answer
FLOAT64 = Recipe(name="float64", products="float64", streams="float64")
NETS |= {
    f"{name}, cast": net._replace(plan=replace(net.plan, recipe=FLOAT64))
    for name, net in NETS.items()
}


def made(name: str) -> nn.Module:
    """In float64, with the same parameters every time, all of which matter."""
    model = NETS[name].make().double()
    g = torch.Generator().manual_seed(len(name))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64) / 2)
    return model


def batch(name: str, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(NETS[name].shape, generator=g, dtype=torch.float64)


def answer(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The output, every gradient and every buffer after a step, under a seed."""
    model.zero_grad()
    torch.manual_seed(5)
    x = x.clone().requires_grad_()
    y = model(x)
    y.square().sum().backward()
    found = {name: p.grad for name, p in model.named_parameters()}
    assert x.grad is not None
    assert [name for name, gradient in found.items() if gradient is None] == []
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    return {"y": y.detach(), "x": x.grad, **found, **buffers}  # pyright: ignore[reportReturnType]


def assert_same(found: dict[str, Tensor], plain: dict[str, Tensor]) -> None:
    assert found.keys() == plain.keys()
    for name, value in plain.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-12, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}"
        )
