import re

import numpy as np

from sci_memeff.chemistry import ATOM37_MASK, RESTYPE_INDEX, UNKNOWN
from sci_memeff.data.sources.layout import DataFolder


def test_the_readme_tells_what_is_there(bundled):
    table = re.findall(
        r"^\| (\w+) \| (\d+) \| (\d+) \| ([^|]+) \| ([^|]+) \|",
        (bundled / "README.md").read_text(),
        re.M,
    )
    folder = DataFolder(bundled)
    assert [row[0].split("_")[0] for row in table] == list(folder.entries())
    for name, residues, resolved, method, resolution in table:
        structure = folder.structure(name.split("_")[0])
        chain = structure.chain(name.split("_")[1])
        assert list(structure.chains) == [chain.author_id]
        assert (len(chain), chain.mask.any(axis=1).sum()) == (int(residues), int(resolved))
        assert structure.method == method
        stated = f"{structure.resolution:g} Å" if structure.resolution else "–"
        assert stated == resolution
        assert structure.release_date is not None


def test_every_resolved_residue_has_all_its_atoms(bundled):
    folder = DataFolder(bundled)
    for entry_id in folder.entries():
        for chain in folder.structure(entry_id).chains.values():
            types = [RESTYPE_INDEX.get(letter, UNKNOWN) for letter in chain.sequence]
            expected = ATOM37_MASK[types].astype(bool)
            resolved = chain.mask.any(axis=1)
            assert chain.mask[resolved][expected[resolved]].all()
            assert np.isfinite(chain.positions).all()


def test_it_is_small(bundled):
    assert sum(path.stat().st_size for path in bundled.rglob("*.*")) < 300_000
