import numpy as np
import pytest
import torch

from sci_memeff.data.batch import make_batch
from sci_memeff.data.example import Example
from sci_memeff.errors import BadDataError


def example(name="1abc_A", rows=3, value=1.0):
    msa = np.moveaxis(np.full((2, rows, 4), value, np.float32), 0, -1)
    mask = np.broadcast_to(np.full(4, value, np.float32)[:, None], (4, 2))
    length = np.broadcast_to(np.array(4), (2,))
    return Example(name, {"msa_mask": msa, "seq_mask": mask, "seq_length": length})


def test_a_batch_of_one():
    batch = make_batch([example()])
    assert {name: tuple(tensor.shape) for name, tensor in batch.items()} == {
        "msa_mask": (1, 3, 4, 2),
        "seq_mask": (1, 4, 2),
        "seq_length": (1, 2),
    }
    assert batch["seq_length"].dtype == torch.int64
    assert batch["seq_length"].tolist() == [[4, 4]]
    assert batch["msa_mask"][..., 0].is_contiguous()


def test_what_all_passes_share_is_stored_once():
    assert make_batch([example()])["seq_mask"].stride(-1) == 0


def test_several_examples_are_stacked():
    batch = make_batch([example(), example("2abc_A", value=2.0)])
    assert batch["msa_mask"].shape == (2, 3, 4, 2)
    assert batch["seq_mask"][:, 0, 1].tolist() == [1.0, 2.0]


def test_a_batch_does_not_share_memory_with_its_examples():
    one = example()
    make_batch([one])["msa_mask"].zero_()
    assert one.features["msa_mask"].all()


def test_examples_of_different_sizes_are_refused():
    with pytest.raises(BadDataError, match=r"2abc_A: msa_mask is \(5, 4, 2\)") as caught:
        make_batch([example(), example("2abc_A", rows=5)])
    assert "mend: batch one example at a time, or set fixed_size" in str(caught.value)
