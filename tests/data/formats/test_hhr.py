import pytest

from sci_memeff.data.formats.hhr import parse_hhr, read_hhr
from sci_memeff.errors import BadDataError

SMALL = """Query         protein
Match_columns 9

 No Hit                             Prob
  1 1ABC_A something                 99

No 1
>1ABC_A something; 2.0A {Homo sapiens}
Probab=99.00  E-value=1e-9  Score=9.0  Aligned_cols=5  Identities=50%  Sum_probs=4.5

Q ss_pred             HHHHHH
Q protein           3 MK-VL    6 (9)
Q Consensus         3 mk~vl    6 (9)
                      ||  |
T Consensus        10 mkgv~   14 (20)
T 1ABC_A           10 MKGVI   14 (20)
T ss_dssp             HHHHHH
Confidence            99999

Q protein           7 A-    7 (9)
T 1ABC_A           15 AG   16 (20)

No 2
>2xyz_BB other
Probab=9.00  E-value=1  Aligned_cols=1
Q protein           1 M    1 (9)
T 2xyz_BB           4 M    4 (9)
"""


def test_blocks_are_joined_and_numbered():
    first, second = parse_hhr(SMALL, source="s")
    assert (first.index, first.entry_id, first.author_id) == (1, "1abc", "A")
    assert first.description == "1ABC_A something; 2.0A {Homo sapiens}"
    assert (first.aligned_columns, first.sum_probs) == (5, 4.5)
    assert (first.query, first.hit_sequence) == ("MK-VLA-", "MKGVIAG")
    assert first.query_indices.tolist() == [2, 3, -1, 4, 5, 6, -1]
    assert first.hit_indices.tolist() == [9, 10, 11, 12, 13, 14, 15]
    assert (second.entry_id, second.author_id, second.sum_probs) == ("2xyz", "BB", 0.0)


def test_no_hit_is_an_answer():
    assert parse_hhr("Query         protein\n\n No Hit\n", source="s") == ()


@pytest.mark.parametrize(
    ("old", "new", "line", "wrong"),
    [
        ("Query  ", "Qwerty ", 1, "not an HHsearch result"),
        ("No 1\n", "No one\n", 7, "lacks 'No RANK'"),
        (">1ABC_A", ">UniRef100", 8, "lacks '>ENTRY_CHAIN'"),
        ("Aligned_cols=5", "", 9, "lacks a line with Aligned_cols="),
        ("MK-VL    6 (9)", "MK-V", 12, "not 'start row end"),
        ("MK-VL    6 (9)", "MK-V     6 (9)", 12, "residues 3 to 6 and 3 letters"),
        ("  3 MK-VL    6", "  0 MK-VL    3", 12, "residues 0 to 3 and 4 letters"),
        ("T 1ABC_A           15 AG   16 (20)\n", "", 10, "query and hit do not fit"),
        ("T 1ABC_A           15 AG   16 (20)", "T 1ABC_A  15 A 15 (20)", 21, "not 'start"),
        ("Aligned_cols=5", "Aligned_cols=6", 7, "5 aligned pairs of the 6 announced"),
        (SMALL[SMALL.index("Q protein           7") :], "", 7, "4 aligned pairs of the 5"),
    ],
)
def test_refuses(old, new, line, wrong):
    assert old in SMALL
    with pytest.raises(BadDataError, match=wrong) as caught:
        parse_hhr(SMALL.replace(old, new, 1), source="hits.hhr")
    assert caught.value.line == line
    assert "fetch" in caught.value.mend


@pytest.mark.data
def test_real_hits(real_data):
    hits = read_hhr(real_data / "alignments/6kwc_A/hhsearch_output.hhr")
    assert [hit.index for hit in hits] == list(range(1, 61))
    first = hits[0]
    assert (first.entry_id, first.author_id, first.sum_probs) == ("2dfb", "A", 182.2)
    # 189 columns: residues 3 to 191 on 2 to 190
    assert first.query_indices.tolist() == list(range(2, 191))
    assert first.hit_indices.tolist() == list(range(1, 190))
    sequence = (real_data / "alignments/6kwc_A/bfd_uniref_hits.a3m").read_text().split("\n")[1]
    for hit in hits:
        columns = zip(hit.query, hit.query_indices, hit.hit_sequence, hit.hit_indices, strict=True)
        for query, at, other, there in columns:
            assert query == (sequence[at] if at >= 0 else "-")
            assert (other == "-") == (there < 0)
        pairs = (hit.query_indices >= 0) & (hit.hit_indices >= 0)
        assert pairs.sum() == hit.aligned_columns
