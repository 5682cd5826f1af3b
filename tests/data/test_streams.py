import itertools

import pytest

from sci_memeff.data.streams import Purpose, stream
from sci_memeff.errors import BadConfigError


def test_a_stream_depends_on_its_numbers_only():
    assert stream(1, 2, Purpose.CROP).random() == stream(1, 2, Purpose.CROP).random()


def test_every_number_tells_streams_apart():
    keys = itertools.product([0, 1], [0, 1, 2**40], Purpose, [0, 1, 2])
    drawn = [stream(*key).integers(2**62) for key in keys]
    assert len(set(drawn)) == len(drawn) == 2 * 3 * len(Purpose) * 3


def test_a_seed_is_not_negative():
    with pytest.raises(BadConfigError, match="give a whole number from 0"):
        stream(-1, 0, Purpose.CROP)
