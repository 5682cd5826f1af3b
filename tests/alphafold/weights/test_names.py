import pytest
import torch

from sci_memeff.alphafold.config import model_config
from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.alphafold.weights.names import ARRAYS, STACKED


def test_the_table_has_every_array_and_no_other(arrays):
    assert set(arrays) == ARRAYS.keys() | STACKED.keys()
    assert not ARRAYS.keys() & STACKED.keys()


@pytest.mark.parametrize("name", ["model_1_ptm", "model_4", "model_5_ptm"])
def test_the_table_has_a_place_for_every_tensor_once(name):
    config = model_config(name)
    with torch.device("meta"):
        tensors = AlphaFold(config).state_dict()
    present = [p.name for p in ARRAYS.values()]
    for stack, count in (("evoformer", 48), ("extra_msa_stack", 4), ("template_embedder", 2)):
        places = [p.name for p in STACKED.values() if p.name.startswith(stack)]
        present += [name.format(i) for name in places for i in range(count)]
    if not config.templates:
        present = [name for name in present if not name.startswith("template_embedder")]
    if not config.ptm:
        present = [name for name in present if not name.startswith("aux_heads.tm")]
    assert sorted(present) == sorted(tensors)
