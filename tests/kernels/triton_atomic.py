"""A kernel as ours must not be, to see that the test would find it. Imports triton."""

import triton
import triton.language as tl


@triton.jit
def atomic_kernel(total, x, COUNT: tl.constexpr):
    tl.atomic_add(total + tl.arange(0, COUNT) // 2, tl.load(x + tl.arange(0, COUNT)))
