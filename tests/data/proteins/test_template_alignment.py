import numpy as np
import pytest

from sci_memeff.data.formats.hhr import TemplateHit
from sci_memeff.data.formats.structure import Chain, Structure
from sci_memeff.data.proteins.template_alignment import align_to_query, query_start

QUERY = "MKTAYIAKQRQISFVKSHFSRQ"


def chain(sequence, name="A"):
    n = len(sequence)
    return Chain(
        author_id=name,
        label_id=name,
        sequence=sequence,
        positions=np.zeros((n, 37, 3), np.float32),
        mask=np.zeros((n, 37), bool),
        b_factors=np.zeros((n, 37), np.float32),
        author_numbers=("",) * n,
    )


def structure(**sequences):
    return Structure("1abc", {name: chain(letters, name) for name, letters in sequences.items()})


def indices(row, start):
    counted = np.cumsum([letter != "-" for letter in row]) - 1 + start
    return np.where([letter != "-" for letter in row], counted, -1).astype(np.int64)


def hit(query, letters, *, query_start=0, hit_start=0, name="A"):
    return TemplateHit(
        index=1,
        entry_id="1abc",
        author_id=name,
        description="",
        aligned_columns=sum(a != "-" != b for a, b in zip(query, letters, strict=True)),
        sum_probs=1.0,
        query=query,
        hit_sequence=letters,
        query_indices=indices(query, query_start),
        hit_indices=indices(letters, hit_start),
    )


def pairs(aligned):
    return list(zip(aligned.query_indices.tolist(), aligned.chain_indices.tolist(), strict=True))


def test_columns_go_to_the_residues_they_stand_for():
    found = align_to_query(
        hit("TAY-IAKQ", "TGYWI--Q", query_start=2, hit_start=40), QUERY, structure(A="GGTGYWIQGG")
    )
    assert pairs(found) == [(2, 2), (3, 3), (4, 4), (5, 6), (8, 7)]
    assert found.letters == "TGYIQ"


def test_a_query_that_is_numbered_otherwise_is_looked_up():
    found = align_to_query(hit("TAYI", "TAYI", query_start=9), QUERY, structure(A="TAYI"))
    assert pairs(found) == [(2, 0), (3, 1), (4, 2), (5, 3)]
    with pytest.raises(ValueError, match="the query of the search is not the chain's sequence"):
        align_to_query(hit("WWWW", "TAYI"), QUERY, structure(A="TAYI"))


def test_the_unknown_residues_of_a_query_match_anything():
    found = align_to_query(hit("TAYI", "TAYI", query_start=1), "MTXYIA", structure(A="TAYI"))
    assert pairs(found) == [(1, 0), (2, 1), (3, 2), (4, 3)]
    assert query_start(hit("TXYI", "TAYI"), "MMTAYIA") == 2
    assert query_start(hit("TAYI", "TAYI", query_start=9), "TAWI") == -1


def test_the_named_chain_comes_first_then_any():
    both = structure(A="GGTAYI", B="TAYIGG")
    assert (
        align_to_query(hit("TAYI", "TAYI", query_start=2, name="B"), QUERY, both).chain
        is (both.chains["B"])
    )
    other = structure(A="WWWW", B="GTAYI")
    found = align_to_query(hit("TAYI", "TAYI", query_start=2), QUERY, other)
    assert (found.chain.author_id, pairs(found)[0]) == ("B", (2, 1))


def test_unknown_residues_match_anything():
    found = align_to_query(
        hit("TAYIAK", "TAYXAK", query_start=2), QUERY, structure(A="GTAYIXK", B="WWWWWWW")
    )
    assert pairs(found)[0] == (2, 1)
    assert found.letters == "TAYXAK"


def test_another_version_of_the_sequence_is_realigned():
    letters = "MKTAYIAKQRQISFVKSHFSRQ"
    newer = "GS" + letters[:7] + "WW" + letters[7:15] + "G" + letters[16:]
    found = align_to_query(hit(QUERY, letters), QUERY, structure(A=newer))
    assert len(pairs(found)) >= 20
    for query_index, chain_index in pairs(found):
        if query_index != 15:
            assert QUERY[query_index] == newer[chain_index]
    assert found.letters == "".join(newer[index] for index in found.chain_indices)


def test_a_lone_chain_of_another_name_is_realigned_too():
    found = align_to_query(hit(QUERY, QUERY, name="Z"), QUERY, structure(A="G" + QUERY[:-2]))
    assert pairs(found)[0] == (0, 1)


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ({"A": "MKTAYWWWWWWWWWWWWWHFSRQ"}, "of 22 residues are those of the structure"),
        ({"A": "WWWWWWWWWWWW"}, "only 0 of 12 residues"),
        ({"B": "WWWWW", "C": "GGGGG"}, "no chain A and none of its sequence"),
    ],
)
def test_what_does_not_fit_is_refused(sequences, message):
    with pytest.raises(ValueError, match=message):
        align_to_query(hit(QUERY, QUERY), QUERY, structure(**sequences))
