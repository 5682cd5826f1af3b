import pytest

from sci_memeff.data.formats.mmcif import parse_mmcif
from sci_memeff.errors import BadDataError

from .entries import atom, entry


def test_a_chain_is_found_by_its_author_id_or_the_chains_are_listed():
    structure = parse_mmcif(entry(["GLY"], [atom("CA", auth_asym_id="B")]), source="s")
    assert structure.chain("B") is structure.chains["B"]
    assert len(structure.chain("B")) == 1
    with pytest.raises(BadDataError, match="no protein chain 'A'") as caught:
        structure.chain("A")
    assert "(author ids): B" in caught.value.mend
    assert caught.value.source == "test"
