import pytest

from sci_memeff.measure import measure
from sci_memeff.measure.allocator import AllocatorPeak
from sci_memeff.measure.table import human_bytes, human_flops

from .chains import Chain, matrix, step


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (3 * 2**20 + 2**19, "3.50 MiB"),
        (2**50 * 2000, "2000.00 PiB"),
    ],
)
def test_bytes_are_told_in_powers_of_1024(count, text):
    assert human_bytes(count) == text


def test_flops_are_told_in_powers_of_1000():
    assert human_flops(2_500_000_000) == "2.50 GFLOP"
    assert human_flops(7) == "7 FLOP"


def test_the_whole_table():
    model = Chain(6, 3)
    x = matrix()
    with measure(model) as bytes_:
        step(model, x).backward()
    lines = str(bytes_).splitlines()
    assert lines[0] == "peak 192.01 KiB on cpu, 80.01 KiB over parameters and inputs"
    assert lines[1] == "9.44 MFLOP, 33% of them recomputation"
    heads = [line.split("  ")[0] for line in lines if line and not line[0].isdigit()]
    assert heads[1:3] == ["kind", "parameters"]
    assert [head for head in heads if head in ("kind", "phase", "module", "tensors at the peak")]
    assert "6 × float32 [64, 64]" in str(bytes_)  # one line for the weights of all layers
    assert "layers.* weight" in str(bytes_)
    assert not any(line.endswith(" ") for line in lines)
    widest = max(len(line) for line in lines)
    assert widest < 110


def test_what_the_allocator_held_is_told_where_there_is_one():
    with measure() as bytes_:
        matrix()
    bytes_.allocator = AllocatorPeak(
        allocated=3 * 2**20, reserved=4 * 2**20, inactive_split=0, retries=0
    )
    assert "3.00 MiB allocated, 4.00 MiB reserved, fragmentation 25%" in str(bytes_)


def test_more_than_fits_is_counted():
    model = Chain(40)
    with measure(model) as bytes_:
        step(model, matrix()).backward()
    assert "… and " not in str(bytes_)  # layers are told as one
    with measure() as bytes_:
        kept = [matrix()[:, :k].contiguous() for k in range(1, 20)]  # and the whole
    assert len(kept) == 19
    assert "… and 8 more" in str(bytes_)
