import gzip

import numpy as np
import pytest

from sci_memeff.data.formats.a3m import parse_a3m, read_a3m
from sci_memeff.errors import BadDataError

from .test_msa import counted_one_by_one

SMALL = ">query\nMKVL\n>one\nab-Kc.V-def\n>two\nMKV\nL\n"


def test_small():
    msa = parse_a3m(SMALL, source="s")
    assert msa.sequences == ("MKVL", "-KV-", "MKVL")
    assert msa.deletions.tolist() == [[0] * 4, [2, 0, 1, 0], [0] * 4]
    assert msa.descriptions == ("query", "one", "two")
    assert msa.query == "MKVL"
    assert len(msa) == 3


def test_compressed(tmp_path):
    path = tmp_path / "hits.a3m.gz"
    path.write_bytes(gzip.compress(SMALL.encode()))
    assert read_a3m(path).sequences == parse_a3m(SMALL, source="s").sequences


@pytest.mark.parametrize(
    ("text", "line", "wrong", "mend"),
    [
        (">q\nMKV\n>a\nMKV\n>b\nMKVL\n>c\nMK\n", 5, "'b' has 4 columns, the query 3", "align or"),
        (">q\nMKV\n>a\nM*V\n", 3, r"'\*' in the row of 'a'", "letters, '-' and '.' only"),
        (">q\nMKV\n>a\nMÅV\n", 3, "'Å' in the row of 'a'", "letters, '-' and '.' only"),
        (">q\nM K\n", 1, "' ' in the row of 'q'", "letters, '-' and '.' only"),
        (">q\nM-V\n>a\nMKV\n", 1, "the query .* has gaps or small letters", "-M first"),
        (">q\nMkV\n>a\nMV\n", 1, "the query .* has gaps or small letters", "-M first"),
        ("\n", None, "no sequence", "begin each sequence"),
    ],
)
def test_refuses(text, line, wrong, mend):
    with pytest.raises(BadDataError, match=wrong) as caught:
        parse_a3m(text, source="hits.a3m")
    assert caught.value.line == line
    assert caught.value.source == "hits.a3m"
    assert mend in caught.value.mend


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "rows", "columns"),
    [
        ("102m_A/uniref100_hits", 869, 154),
        ("2q2k_A/bfd_uniclust_hits", 4, 70),
        ("5zyh_A/uniref100_hits", 1004, 237),
        ("6kwc_A/bfd_uniref_hits", 1428, 191),
        ("7zzx_B/uniref100_hits", 8356, 204),
        ("8f9h_A/uniref100_hits", 869, 154),
    ],
)
def test_real_alignments(real_data, name, rows, columns):
    path = real_data / "alignments" / f"{name}.a3m"
    msa = read_a3m(path)
    assert msa.deletions.shape == (rows, columns)
    assert len(msa) == len(msa.descriptions) == rows
    assert {len(row) for row in msa.sequences} == {columns}
    assert not msa.deletions[0].any()
    # three rows far apart, letter by letter
    bodies = [part.partition("\n")[2] for part in path.read_text().split(">")[1:]]
    for row in (1, rows // 2, rows - 1):
        body = bodies[row].replace("\n", "")
        assert msa.deletions[row].tolist() == counted_one_by_one(body)
        assert msa.sequences[row] == "".join(letter for letter in body if not letter.islower())
    assert np.all(msa.deletions >= 0)
