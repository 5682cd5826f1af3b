from io import StringIO

import pytest
from Bio import AlignIO

from sci_memeff.data.formats.stockholm import parse_stockholm, read_stockholm
from sci_memeff.errors import BadDataError

SMALL = """# STOCKHOLM 1.0
#=GS one DE something
query   --MK-V
one/1-3 ACM-GV
two     --m..V
#=GC RF xxxxxx

query   L-
one/1-3 LH
two     -H
//
"""


def test_query_gaps_are_removed_and_counted():
    msa = parse_stockholm(SMALL, source="s")
    assert msa.sequences == ("MKVL", "M-VL", "M-V-")
    # H stands after the last column of the query: no column counts it
    assert msa.deletions.tolist() == [[0] * 4, [2, 0, 1, 0], [0] * 4]
    assert msa.descriptions == ("query", "one/1-3", "two")


@pytest.mark.parametrize(
    ("change", "line", "wrong", "mend"),
    [
        (("two     -H", "two     -HH"), 5, "'two' has 9 columns, 'query' 8", "every block"),
        (("two     -H", "two     -H x"), 10, "not 'name row': 'two     -H x'", "letters or gaps"),
        (("two     -H", "two"), 10, "not 'name row': 'two'", "letters or gaps"),
        (("two     -H", "two     -4"), 10, "not 'name row'", "letters or gaps"),
        (("//\n", ""), None, "no '//'.* cut short", "fetch or align again"),
        (("# STOCKHOLM 1.0", "#"), None, "no '# STOCKHOLM' header", "fetch or align again"),
        ((SMALL[16:], "//"), None, "no row", "fetch or align again"),
        ((SMALL[16:], "query --\n//"), 2, "'query' has gaps only", "must be the query"),
    ],
)
def test_refuses(change, line, wrong, mend):
    with pytest.raises(BadDataError, match=wrong) as caught:
        parse_stockholm(SMALL.replace(*change), source="hits.sto")
    assert caught.value.line == line
    assert mend in caught.value.mend


def test_only_the_first_alignment_is_read():
    assert len(parse_stockholm(SMALL + SMALL, source="s")) == 3


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("2q2k_A/mgnify_hits", 7),
        ("2q2k_A/uniprot_hits", 21),
        ("2q2k_A/uniref90_hits", 16),
        ("6kwc_A/mgnify_hits", 1698),
    ],
)
def test_real_alignments_agree_with_biopython(real_data, name, rows):
    path = real_data / "alignments" / f"{name}.sto"
    msa = read_stockholm(path)
    theirs = AlignIO.read(StringIO(path.read_text()), "stockholm")
    assert len(msa) == len(theirs) == rows
    query = str(theirs[0].seq)
    for row in sorted({0, 1, rows // 2, rows - 1}):
        sequence, deletions, count = [], [], 0
        for letter, column in zip(str(theirs[row].seq), query, strict=True):
            if column == "-":
                count += letter != "-"
            else:
                sequence.append(letter)
                deletions.append(count)
                count = 0
        assert msa.sequences[row] == "".join(sequence)
        assert msa.deletions[row].tolist() == deletions
