from sci_memeff.measure.allocator import allocator_peak


def test_peaks_are_read_from_the_statistics():
    stats = {
        "allocated_bytes.all.peak": 600,
        "allocated_bytes.all.current": 100,
        "reserved_bytes.all.peak": 1000,
        "inactive_split_bytes.all.peak": 50,
        "num_alloc_retries": 3,
    }
    held = allocator_peak(stats, retries_before=1)
    assert (held.allocated, held.reserved, held.inactive_split, held.retries) == (600, 1000, 50, 2)
    assert held.fragmentation == 0.4


def test_a_device_that_was_never_used_holds_nothing():
    assert allocator_peak({}).fragmentation == 0.0
