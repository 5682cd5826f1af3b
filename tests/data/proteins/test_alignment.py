import numpy as np
import pytest

from sci_memeff.data.formats.msa import Msa
from sci_memeff.data.proteins.alignment import merge_msas, search_order
from sci_memeff.errors import BadDataError


def msa(*rows, deletion=0):
    deletions = np.full((len(rows), len(rows[0])), deletion, np.int32)
    return Msa(rows, deletions, tuple("abcdefgh"[: len(rows)]))


def test_searches_are_joined_in_alphafolds_order():
    names = ["zebra.a3m", "mgnify_hits.sto", "bfd_uniclust_hits.a3m", "alpha.a3m"]
    names += ["uniref90_hits.a3m", "uniref100_hits.a3m", "small_bfd_hits.sto"]
    assert sorted(names, key=search_order) == [
        "uniref90_hits.a3m",
        "bfd_uniclust_hits.a3m",
        "small_bfd_hits.sto",
        "mgnify_hits.sto",
        "alpha.a3m",
        "uniref100_hits.a3m",
        "zebra.a3m",
    ]


def test_rows_seen_before_are_left_out():
    merged = merge_msas(
        "ARN",
        {
            "mgnify.sto": msa("ARN", "A-N", "AAA", "AAA", deletion=2),
            "uniref90.a3m": msa("ARN", "A-N", deletion=1),
        },
    )
    assert merged.msa.tolist() == [[0, 1, 2], [0, 21, 2], [0, 0, 0]]
    assert merged.deletions.tolist() == [[1, 1, 1], [1, 1, 1], [2, 2, 2]]
    assert merged.msa.dtype == np.uint8


def test_without_alignments_there_is_the_query():
    merged = merge_msas("AXV", {})
    assert merged.msa.tolist() == [[0, 20, 19]]
    assert merged.deletions.tolist() == [[0, 0, 0]]


def test_rare_letters_read_as_hhblits_reads_them():
    merged = merge_msas("AAAAA", {"x": msa("AAAAA", "BZUOJ")})
    assert merged.msa[1].tolist() == [3, 6, 4, 20, 20]  # D E C X X


def test_unknown_residues_may_be_anything():
    assert len(merge_msas("AXN", {"x": msa("ARN")}).msa) == 1
    assert len(merge_msas("ARN", {"x": msa("AXN")}).msa) == 1


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("ARV", r"u\.a3m: .* differs from the chain's sequence at residue 3 \(V where .* has N\)"),
        ("AR", "is the beginning of the chain's sequence.* has 2 residues, the chain 3"),
        ("ARNA", "goes on after it; it has 4 residues, the chain 3"),
        ("ARN", None),
    ],
)
def test_a_foreign_query_is_refused_where_it_differs(query, message):
    if message is None:
        assert len(merge_msas("ARN", {"u.a3m": msa(query)}).msa) == 1
        return
    with pytest.raises(BadDataError, match=message) as caught:
        merge_msas("ARN", {"u.a3m": msa(query)})
    assert caught.value.source == "u.a3m"
    assert "mend: search with the chain's whole sequence (SEQRES" in str(caught.value)
