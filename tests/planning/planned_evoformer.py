"""A small Evoformer's plans for many budgets, each simulated whole, as one line of JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sci_memeff import Plan, apply, preset, simulate
from sci_memeff.alphafold.evoformer import EvoformerStack
from sci_memeff.planning import plan

CONFIG = replace(
    preset("demo").model,
    num_evoformer_blocks=2,
    c_m=16,
    c_z=8,
    c_hidden_msa=4,
    c_hidden_opm=4,
    c_hidden_triangle_multiplication=8,
    c_hidden_triangle_attention=4,
    num_heads_msa=2,
    num_heads_pair=2,
)
CROP = 16
CPU = torch.device("cpu")


def build(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    model = EvoformerStack(CONFIG).to(dtype)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.3)  # fresh ones have zeros that hide differences
    return model


def batch_at(crop: int, device: str = "meta", dtype: torch.dtype = torch.float32) -> Any:
    drawn = torch.Generator().manual_seed(1)
    shapes = (6, crop, CONFIG.c_m), (crop, crop, CONFIG.c_z), (6, crop), (crop, crop)
    m, z, msa_mask, pair_mask = (torch.randn(shape, generator=drawn) for shape in shapes)
    masks = [(x > -1).to(device) for x in (msa_mask, pair_mask)]
    assert all(mask.any() and not mask.all() for mask in ((msa_mask > -1), (pair_mask > -1)))
    return m.to(device, dtype), z.to(device, dtype), *masks


def step(model: nn.Module, batch: Any) -> Tensor:
    m, z, s = model(*batch)
    return m.square().mean() + z.square().mean() + s.square().mean()


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters())


def planned(budget: int | None, **settings: Any) -> Plan:
    return plan(
        build, step, batch_at(CROP), budget=budget, optimizer=adam, target="T4-16GB", **settings
    )


def gradients(found: Plan | None) -> list[Tensor]:
    model = build(torch.float64)
    if found is not None:
        apply(model, found)
    step(model, batch_at(CROP, "cpu", torch.float64)).backward()
    return [p.grad for p in model.parameters() if p.grad is not None]


def difference(found: Plan, plain: list[Tensor]) -> float:
    """The largest of any gradient's, against its largest element."""
    pairs = list(zip(gradients(found), plain, strict=True))
    least = 1e-6 * max(float(x.abs().max()) for x in plain)  # some are zero but for rounding
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(least)) for a, b in pairs)


def simulated(found: Plan) -> int:
    whole = simulate(
        lambda: apply(build(), found), step, batch_at(CROP), optimizer=adam, updates=2, device="cpu"
    )
    return whole.peaks[CPU]


def told(found: Plan) -> dict[str, Any]:
    prediction = found.prediction
    assert prediction is not None
    assert Plan.from_json(found.to_json()) == found
    return {
        "budget": prediction.budget_bytes,
        "peak": prediction.peak_bytes,
        "plain": prediction.plain_peak_bytes,
        "seconds": prediction.step_seconds,
        "host": prediction.host_bytes,
        "flops": prediction.flops_ratio,
        "uses": sorted({type(rule.use).__name__ for rule in found.rules}),
        "stores": sorted({repr(getattr(rule.use, "keep", None)) for rule in found.rules}),
    }


def main() -> None:
    whole = planned(1 << 40)
    origin: Any = whole._origin
    low, high = origin.search.leanest().needs, told(whole)["plain"]
    budgets = [low + (high - low) * k // 6 for k in range(8)]
    # as `plan` does for each: one search serves them all
    plans = [origin.plan_of(origin.search.best(budget), budget) for budget in budgets]
    differing = list(dict.fromkeys(plans))[::2]
    plain = gradients(None)
    found = {
        "plans": [told(one) for one in plans],
        "predicted": [told(one)["peak"] for one in differing],
        "simulated": [simulated(one) for one in differing],
        "differences": [difference(one, plain) for one in differing],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
