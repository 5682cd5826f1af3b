"""Stopping when asked to: SIGTERM and SIGINT become a flag that the loop reads between samples."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stop", "stop_signals"]

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Whether a signal has asked the run to stop, and which."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __call__(self) -> bool:
        """True once a signal has come."""
        return self.signal is not None


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Catch the first SIGTERM or SIGINT inside the block; a second one acts as it did before.

    Only the main thread may handle signals: elsewhere the flag is never set.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.signal = signal.Signals(number)
        restore()

    for number in SIGNALS:
        signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        restore()
