"""Compiled functions that attend, in a process of their own: checking shapes breaks compiling."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import torch
from sci_memeff.kernels import attend, attention

form = attend({form!r})
compiled = torch.compile(
    lambda q, k, v, bias: form(2 * q, k, v, (bias,)).sin(), backend="aot_eager", fullgraph=True
)
shapes = ((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4), (3, 5, 6))
x = [torch.randn(shape, requires_grad=True) for shape in shapes]
found, wanted = compiled(*x), attention(2 * x[0], x[1], x[2], x[3:]).sin()
torch.testing.assert_close(found, wanted)
gradients = torch.autograd.grad(found.sum(), x)
for one, other in zip(gradients, torch.autograd.grad(wanted.sum(), x), strict=True):
    torch.testing.assert_close(one, other)
"""


@pytest.mark.parametrize("form", ["streaming", "blocked"])
def test_it_compiles_in_one_graph(form: str):
    program = [sys.executable, "-c", PROGRAM.format(form=form)]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
