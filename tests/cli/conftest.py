"""A network that trains in a second, for commands that need one."""

from pathlib import Path

import pytest

TINY = """
model: {c_m: 16, c_z: 8, c_s: 16, c_e: 8, num_evoformer_blocks: 1, num_structure_iterations: 1,
        num_heads_msa: 2, num_heads_pair: 2, num_heads_ipa: 2, c_hidden_ipa: 4, c_resnet: 8}
data: {crop_size: 16, max_msa_clusters: 2, max_extra_msa: 2, max_recycling: 0}
run: {checkpoint_every: 2, validate_every: 0}
"""


@pytest.fixture(scope="session")
def data() -> Path:
    return Path(__file__).parents[2] / "data"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "tiny.yaml"
    path.write_text(TINY)
    return path
