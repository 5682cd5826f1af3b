# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Memory against accuracy
#
# A training step of AlphaFold 2 in every recipe and under plans for several budgets: the bytes that
# it needs at its peak, and how far its gradients are from float32's.
#
# Two things save bytes. *Plans* compute the same numbers in another order, so their gradients are
# those of the plain step. *Recipes* and 8-bit boundaries compute others, and have to show that the
# direction of the gradient stays.
#
# Set `SHORT=1` in the environment for a network of one block and a protein of eight residues.

# %%
import os
from dataclasses import replace

import matplotlib.pyplot as plt
import torch

import sci_memeff
from sci_memeff.checkpointing import Coded, in_segments
from sci_memeff.precision.codecs import CODECS
from sci_memeff.training.setup import alphafold_setup

SHORT = os.environ.get("SHORT") == "1"
torch.manual_seed(0)

# %% [markdown]
# ## The step
#
# The network of the demo preset on a made-up protein, with weights that are not fresh: layers of
# zeros have no gradients behind them.

# %%
setup = alphafold_setup(
    sci_memeff.preset("demo"),
    crop=8 if SHORT else 64,
    num_evoformer_blocks=1 if SHORT else 2,
    passes=1,
)
model, batch = setup.real_model(), setup.real_batch()
optimizer = setup.optimizer


def peak(plan):
    """Live bytes of the whole step, the optimizer's included, simulated on fake tensors."""
    measured = sci_memeff.simulate(
        lambda: sci_memeff.apply(setup.model(), plan),
        setup.step,
        setup.batch,
        optimizer=optimizer,
        updates=2,
        device="cpu",
    )
    return measured.peak


# %% [markdown]
# ## Plans: the same numbers in fewer bytes
#
# `plan` finds the fastest setup for a budget; its front holds every one that none betters.

# %%
found = sci_memeff.plan(
    model, setup.step, setup.batch, objective="bytes", optimizer=optimizer, target="cpu"
)
front = found.front() if not SHORT else [found]
print(front if not SHORT else found)

# %% [markdown]
# ## Recipes and stores: other numbers

# %%
choices = {name: sci_memeff.Plan(recipe=name) for name in ("fp32", "bf16", "bf16-pure", "fp8")}
stacks = ["model.evoformer"]
for name, codec in CODECS.items():
    keep = Coded(codec=codec(), min_bytes=0)
    rules = tuple(
        sci_memeff.Rule(where=stack, seam="iterate", use=in_segments(1, keep=keep))
        for stack in stacks
    )
    choices[f"kept in {name}"] = sci_memeff.Plan(rules=rules)
if SHORT:
    choices = {name: choices[name] for name in ("fp32", "bf16", "kept in fp8")}
# What saves bytes exactly, and what rounds, together.
choices["leanest plan"] = replace(front[-1], prediction=None)
choices["leanest plan, bf16"] = replace(front[-1], prediction=None, recipe="bf16")

# %%
rows = []
for name, choice in choices.items():
    gated = sci_memeff.gate(model, setup.step, batch, choice)
    rows.append((name, peak(choice), gated.error, gated.cosine))
    print(f"{name:20} {rows[-1][1] / 2**20:8.1f} MiB  1 - cosine {1 - gated.cosine:.1e}")

# %% [markdown]
# ## The picture
#
# To the left are fewer bytes, below is less error. Plans lie on the floor: what they differ by is
# another order of additions in float32.

# %%
figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
for name, num_bytes, error, _ in rows:
    axes.scatter(num_bytes / 2**20, max(error, 1e-8))
    axes.annotate(name, (num_bytes / 2**20, max(error, 1e-8)), fontsize=8)
axes.set_xlabel("peak of the step, MiB")
axes.set_ylabel("relative error of the gradient")
axes.set_yscale("log")
axes.grid(alpha=0.3)
plt.show()
