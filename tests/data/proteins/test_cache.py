from datetime import date

import numpy as np
import pytest

from sci_memeff.data.config import DataConfig
from sci_memeff.data.proteins import cache
from sci_memeff.data.proteins.cache import ProteinCache
from sci_memeff.data.proteins.reading import read_chain
from sci_memeff.data.sources.layout import DataFolder

NAME = "2q2k_A"
CONFIG = DataConfig()

HHR = """Query         q
Match_columns 70

No 1
>1UBQ_A UBIQUITIN
Probab=90.00  E-value=1  Score=10.0  Aligned_cols=12  Identities=10%  Similarity=0.1  Sum_probs=9.5

Q q                 5 {query}   16 (70)
T 1UBQ_A           20 {hit}   31 (76)
"""


@pytest.fixture
def folder(folder):
    """The two chains, and the one as a template hit of the other."""
    query, hit = folder.chain(NAME).sequence[4:16], folder.chain("1ubq_A").sequence[19:31]
    hits = HHR.format(query=query, hit=hit)
    (folder.alignment_dir / NAME / "pdb70_hits.hhr").write_text(hits)
    return folder


@pytest.fixture
def parsed(monkeypatch):
    """Names of the chains that were parsed, in order."""
    names = []

    def counted(folder, name, config, **options):
        names.append(name)
        return read_chain(folder, name, config, **options)

    monkeypatch.setattr(cache, "read_chain", counted)
    return names


def same(one, other):
    assert (one.name, one.sequence) == (other.name, other.sequence)
    assert (one.target.resolution, one.target.is_distillation) == (
        other.target.resolution,
        other.target.is_distillation,
    )
    pairs = [
        *zip(one.alignment, other.alignment, strict=True),
        *zip(one.templates, other.templates, strict=True),
        (one.target.positions, other.target.positions),
        (one.target.mask, other.target.mask),
    ]
    for a, b in pairs:
        assert a.dtype == b.dtype
        assert np.array_equal(a, b)


def read(folder, config=CONFIG, name=NAME):
    """As a new process would."""
    return ProteinCache(folder, config, folder.root / "cache").read(name)


def test_a_second_run_parses_nothing(folder, parsed):
    first = read(folder)
    assert len(first.templates.aatype) == 1
    same(first, read(folder))
    assert parsed == [NAME]
    same(first, ProteinCache(folder, CONFIG).read(NAME))  # without a cache
    assert parsed == [NAME, NAME]


def test_a_changed_source_is_read_again(folder, parsed):
    read(folder)
    alignment = folder.alignments(NAME).msas[0]
    text = alignment.read_bytes()
    alignment.write_bytes(text + b"\n")
    read(folder)
    assert len(parsed) == 2
    alignment.write_bytes(text)  # the old entry is still there
    read(folder)
    assert len(parsed) == 2
    alignment.unlink()
    read(folder)
    assert len(parsed) == 3


def test_a_changed_template_is_read_again(folder, parsed):
    path = folder.mmcif_path("1ubq")
    read(folder)
    content = path.read_bytes()
    path.unlink()
    assert len(read(folder).templates.aatype) == 0
    assert len(parsed) == 2
    read(folder)
    assert len(parsed) == 2
    path.write_bytes(content)
    assert len(read(folder).templates.aatype) == 1
    assert len(parsed) == 3
    read(folder)
    assert len(parsed) == 3


def test_settings_that_matter_are_part_of_the_key(folder, parsed):
    read(folder)
    read(folder, DataConfig(crop_size=3, max_recycling=0))  # matters later
    assert len(parsed) == 1
    read(folder, DataConfig(max_template_date=date(1970, 1, 1)))
    assert len(parsed) == 2


def test_a_damaged_entry_is_built_again(folder, parsed):
    first = read(folder)
    (entry,) = (folder.root / "cache").rglob("*.safetensors")
    whole = entry.read_bytes()
    for damaged in (b"", whole[:99], whole[:-1], whole[:-5] + b"x" + whole[-4:], b"\xff" * 99):
        entry.write_bytes(damaged)
        same(first, read(folder))
        assert len(entry.read_bytes()) == len(whole)
    same(first, read(folder))
    assert len(parsed) == 6


def test_files_that_change_while_they_are_read_are_not_kept(folder, monkeypatch):
    def slow(folder, name, config, **options):
        protein = read_chain(folder, name, config, **options)
        folder.alignments(name).msas[0].write_bytes(b">q\nA\n")
        return protein

    monkeypatch.setattr(cache, "read_chain", slow)
    read(folder)
    assert not list((folder.root / "cache").rglob("*.safetensors"))


@pytest.mark.data
def test_a_real_chain_and_a_real_prediction(real_data, tmp_path):
    folder = DataFolder(real_data)
    for name, is_distillation in (("7zzx_B", False), ("6kwc_A", True)):
        first, again = (
            ProteinCache(folder, CONFIG, tmp_path).read(name, is_distillation=is_distillation)
            for _ in range(2)
        )
        same(first, again)
