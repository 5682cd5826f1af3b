"""How a command ends: errors of the package as one readable message, and what exit codes mean.

0    done
1    what was asked has the answer no: a verification that failed
2    an error that the message says how to mend
130  stopped by SIGINT (Ctrl-C), state saved: 128 + the signal's number
143  stopped by SIGTERM, state saved
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer

from sci_memeff.errors import SciMemeffError

__all__ = ["BAD_INPUT", "FAILED", "readable"]

FAILED = 1
BAD_INPUT = 2

P = ParamSpec("P")
T = TypeVar("T")


def readable(command: Callable[P, T]) -> Callable[P, T]:
    """`command`, but an error of this package is printed with its mend, not as a traceback."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except SciMemeffError as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(BAD_INPUT) from None

    return wrapped
