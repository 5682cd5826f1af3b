"""MACE: training on the energy of a periodic cell, and on forces."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from foreign_models.case import Case
from foreign_models.torchvision_names import declare_torchvision
from sci_memeff import Plan, Rule
from sci_memeff.checkpointing import recomputed
from sci_memeff.chunking import sliced, summed

__all__ = ["bar", "small"]

ROWS: dict[str | int, int] = {"edge_attrs": -2, "edge_feats": -2, "edge_index": -1, "cutoff": -2}
PRODUCTS = Rule(
    where="products.<0-1>",
    seam="forward",
    use=sliced(250, {"node_feats": -3, "sc": -2, "node_attrs": -2}, -2),
)
ELEMENTS = 10


def bar(own: bool = False, atoms: int = 2000, neighbours: int = 50) -> Case:
    """Two interactions of 128 scalars and vectors, l up to 3, correlation 3, as in MACE-MP-0.

    The package has no checkpointing of its own, so `own` is the plain model again.
    """
    edges = atoms * neighbours
    return Case(
        title=f"ScaleShiftMACE, {atoms} atoms, {edges} edges, energies, fp32",
        model=_model(128, torch.float32),
        step=step_on_energy,
        batch=_cell(atoms, edges),
        by_hand=_by_hand(edges // 4),
        lean=Plan(rules=(*_by_hand(edges // 8).rules, PRODUCTS)),
    )


def small(forces: bool = False) -> Case:
    """In float64, on a cluster of atoms; with `forces`, on these as well."""
    return Case(
        title=f"30 atoms, {'energies and forces' if forces else 'energies'}, float64",
        model=_model(8, torch.float64),
        step=step_on_forces if forces else step_on_energy,
        batch=_cluster(30),
        by_hand=_by_hand(50),
    )


def step_on_energy(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    found = model(dict(batch), training=True, compute_force=False)
    return (found["energy"] - batch["energy"]).square().sum()


def step_on_forces(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    found = model(dict(batch), training=True, compute_force=True)
    energy = (found["energy"] - batch["energy"]).square().sum()
    return energy + (found["forces"] - 0.1).square().mean()


def _by_hand(edges: int) -> Plan:
    use = summed(edges, ROWS, each=recomputed())
    return Plan(rules=(Rule(where="interactions.<0-1>", seam="forward", use=use),))


def _model(channels: int, dtype: torch.dtype) -> nn.Module:
    """Without TorchScript, which e3nn makes of its generated code, and copies as such."""
    declare_torchvision()
    torch.serialization.add_safe_globals([slice])
    with warnings.catch_warnings():  # it loads its constants without saying how
        warnings.simplefilter("ignore")
        e3nn: Any = import_module("e3nn")
        irreps = import_module("e3nn.o3").Irreps
        modules: Any = import_module("mace.modules")
    before, scripted = torch.get_default_dtype(), e3nn.get_optimization_defaults()
    torch.set_default_dtype(dtype)
    e3nn.set_optimization_defaults(jit_script_fx=False)
    torch.manual_seed(0)
    try:
        model = modules.ScaleShiftMACE(
            r_max=5.0,
            num_bessel=8,
            num_polynomial_cutoff=5,
            max_ell=3,
            interaction_cls=modules.RealAgnosticResidualInteractionBlock,
            interaction_cls_first=modules.RealAgnosticInteractionBlock,
            num_interactions=2,
            num_elements=ELEMENTS,
            hidden_irreps=irreps(f"{channels}x0e+{channels}x1o"),
            MLP_irreps=irreps("16x0e"),
            atomic_energies=np.zeros(ELEMENTS),
            avg_num_neighbors=50.0,
            atomic_numbers=list(range(1, ELEMENTS + 1)),
            correlation=3,
            gate=torch.nn.functional.silu,
            atomic_inter_scale=1.0,
            atomic_inter_shift=0.0,
        )
    finally:
        torch.set_default_dtype(before)
        e3nn.set_optimization_defaults(**scripted)
    for part in model.modules():
        if hasattr(part, "__codegen__"):
            part.__codegen__ = []  # what is listed here is turned into TorchScript when copied
    return model.train()


def _cell(atoms: int, edges: int) -> dict[str, Tensor]:
    """Shapes alone."""
    with torch.device("meta"):
        return {
            "positions": torch.empty(atoms, 3),
            "node_attrs": torch.empty(atoms, ELEMENTS),
            "edge_index": torch.empty(2, edges, dtype=torch.int64),
            "shifts": torch.empty(edges, 3),
            "cell": torch.empty(3, 3),
            "batch": torch.empty(atoms, dtype=torch.int64),
            "ptr": torch.empty(2, dtype=torch.int64),
            "head": torch.empty(1, dtype=torch.int64),
            "energy": torch.empty(1),
        }


def _cluster(atoms: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(1)
    positions = 3 * torch.randn(atoms, 3, generator=g, dtype=torch.float64)
    distances = torch.cdist(positions, positions).fill_diagonal_(torch.inf)
    edge_index = (distances < 5).nonzero().T.contiguous()
    kinds = torch.randint(ELEMENTS, (atoms,), generator=g)
    return {
        "positions": positions,
        "node_attrs": torch.nn.functional.one_hot(kinds, ELEMENTS).double(),
        "edge_index": edge_index,
        "shifts": torch.zeros(edge_index.shape[1], 3, dtype=torch.float64),
        "cell": 99 * torch.eye(3, dtype=torch.float64),
        "batch": torch.zeros(atoms, dtype=torch.int64),
        "ptr": torch.tensor([0, atoms]),
        "head": torch.zeros(1, dtype=torch.int64),
        "energy": torch.ones(1, dtype=torch.float64),
    }
