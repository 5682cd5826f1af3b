"""Planned models, compiled: what `test_apply_compiled` runs in a process of its own.

python -m tests.compiled_nets NET apply|compile|graph
"""

from __future__ import annotations

import torch
from torch import nn
from torch._dynamo.utils import counters

from sci_memeff import Plan, Recipe, Rule, apply, describe
from sci_memeff.checkpointing import recomputed

from .foreign_nets import FLOAT64, NETS, answer, assert_same, batch, made


def without_dropout(name: str) -> nn.Module:
    """A compiled dropout draws other numbers than a plain one."""
    model = made(name)
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return model


def same_answers(name: str, first: str) -> None:
    torch.compiler.reset()
    plain, model = without_dropout(name), without_dropout(name)
    if first == "apply":
        apply(model, NETS[name].plan)
    model.compile(backend="aot_eager")
    if first == "compile":
        assert_same(answer(model, batch(name)), answer(plain, batch(name)))
        apply(model, NETS[name].plan)
    assert len(describe(model)) >= 3
    for seed in range(2):
        assert_same(answer(model, batch(name, seed)), answer(plain, batch(name, seed)))


def one_graph(name: str, recipe: Recipe | None = None) -> None:
    """Blocks without buffers are recomputed, and cast, in the graph that they are a part of."""
    torch.compiler.reset()
    counters.clear()
    plan = Plan(
        rules=tuple(Rule(where=w, seam="forward", use=recomputed()) for w in NETS[name].units),
        recipe=recipe,
    )
    plain, model = without_dropout(name), apply(without_dropout(name), plan)
    model.compile(backend="aot_eager", fullgraph=True)
    assert_same(answer(model, batch(name)), answer(plain, batch(name)))
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    for net in NETS:
        same_answers(net, "apply")
    same_answers("encoder", "compile")
    one_graph("encoder")
    one_graph("mixer")
    one_graph("mixer", FLOAT64)
