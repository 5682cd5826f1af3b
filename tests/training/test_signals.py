"""A first signal sets the flag; a second one acts as it did before; then all is as it was."""

import os
import signal
import threading

import pytest

from sci_memeff.training.signals import SIGNALS, stop_signals


@pytest.fixture
def heard():
    """Signals that reach the handlers of whoever runs the loop."""
    numbers: list[int] = []
    before = {
        number: signal.signal(number, lambda n, frame: numbers.append(n)) for number in SIGNALS
    }
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_second_signal_acts_as_before(heard, number):
    with stop_signals() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        assert stop.signal == number
        assert heard == []
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [signal.SIGTERM]
        assert stop.signal == number


def test_handlers_are_put_back(heard):
    with stop_signals():
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [signal.SIGTERM]


def test_another_thread_handles_none():
    found = []

    def run() -> None:
        with stop_signals() as stop:
            found.append(stop())

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [False]
    assert signal.getsignal(signal.SIGTERM) is before
