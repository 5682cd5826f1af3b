"""The peak of a process, as the operating system counts it."""

import subprocess
import sys

import torch

from sci_memeff.measure.peak import peak_bytes, reset_peak

CPU = torch.device("cpu")

GROWS = """
import torch
from sci_memeff.measure.peak import peak_bytes
cpu = torch.device("cpu")
before = peak_bytes(cpu)
big = torch.ones(1 << 26)
print(peak_bytes(cpu) - before)
del big
print(peak_bytes(cpu) - before)
"""


def test_peak_rises_by_what_is_held_and_never_falls():
    out = subprocess.run([sys.executable, "-c", GROWS], capture_output=True, text=True, check=True)
    held, after = map(int, out.stdout.split())
    assert 0.9 * 2**28 < held < 1.2 * 2**28
    assert after > 0.99 * held  # the kernel adds up its threads' counts now and then


def test_reset_leaves_a_processor_s_peak():
    before = peak_bytes(CPU)
    reset_peak(CPU)
    assert peak_bytes(CPU) >= before > 2**26
