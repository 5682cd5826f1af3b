from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from sci_memeff.chemistry import MSA_GAP, RESTYPE_INDEX
from sci_memeff.data.config import DataConfig
from sci_memeff.data.formats.hhr import TemplateHit
from sci_memeff.data.formats.structure import Chain, Structure
from sci_memeff.data.proteins.template_search import Query, find_templates, latest_date
from sci_memeff.errors import BadDataError

QUERY = "MKTAYIAKQRQISFVKSHFSRQ"
OTHER = "MKSAYVAKQRELSFIKSHYSKQ"


def chain(sequence=OTHER):
    rng = np.random.default_rng(len(sequence))
    mask = rng.random((len(sequence), 37)) < 0.5
    mask[:, 1] = True
    assert set(np.unique(mask)) == {False, True}
    positions = (rng.normal(size=(*mask.shape, 3)) * 5 + 100).astype(np.float32)
    positions[~mask] = 0.0
    numbers = tuple(str(index) for index in range(len(sequence)))
    return Chain("A", "A", sequence, positions, mask, np.zeros(mask.shape, np.float32), numbers)


def structure(released=date(2000, 1, 1), **changes):
    return Structure("1abc", {"A": replace(chain(), **changes)}, release_date=released)


def hit(letters=OTHER, *, entry_id="1abc", start=0, sum_probs=9.0):
    indices = np.arange(start, start + len(letters))
    return TemplateHit(
        index=1,
        entry_id=entry_id,
        author_id="A",
        description="",
        aligned_columns=len(letters),
        sum_probs=sum_probs,
        query=QUERY[start : start + len(letters)],
        hit_sequence=letters,
        query_indices=indices,
        hit_indices=indices,
    )


def search(*hits, structures=None, query=None, **settings):
    known = {"1abc": structure()} if structures is None else structures
    config = DataConfig(**settings)
    return find_templates(query or Query(QUERY), hits, known.get, config)


def test_templates_stand_where_they_are_aligned():
    found = search(hit(OTHER[4:18], start=4, sum_probs=7.5))
    assert found.names == ("1abc_A",)
    assert not found.refused
    templates = found.templates
    aligned = [RESTYPE_INDEX[letter] for letter in OTHER[4:18]]
    assert templates.aatype[0].tolist() == [MSA_GAP] * 4 + aligned + [MSA_GAP] * 4
    source = chain()
    assert np.array_equal(templates.mask[0, 4:18], source.mask[4:18])
    assert not templates.mask[0, :4].any()
    assert templates.sum_probs.tolist() == [[7.5]]
    # Moved to its own centre, otherwise unchanged.
    centre = source.positions[source.mask].mean(axis=0)
    expected = (source.positions[4:18] - centre) * source.mask[4:18, :, None]
    assert templates.positions[0, 4:18] == pytest.approx(expected, abs=1e-4)
    assert not templates.positions[0][~templates.mask[0]].any()


def test_the_best_come_first_and_no_more_than_asked_for():
    entries = ("1aaa", "1bbb", "1ccc", "1ddd")
    hits = [
        hit(entry_id=entry, sum_probs=score)
        for entry, score in zip(entries, (1.0, 5.0, 3.0, 3.0), strict=True)
    ]
    structures = dict.fromkeys(entries, structure())
    found = search(*hits, structures=structures, max_template_hits=3)
    assert found.names == ("1bbb_A", "1ccc_A", "1ddd_A")
    assert found.templates.sum_probs[:, 0].tolist() == [5.0, 3.0, 3.0]
    assert search(*hits, structures=structures, max_template_hits=0).names == ()


def test_the_last_day_is_the_earlier_one():
    config = DataConfig(max_template_date=date(2018, 4, 30))
    assert latest_date(Query(QUERY), DataConfig()) is None
    assert latest_date(Query(QUERY), config) == date(2018, 4, 30)
    assert latest_date(Query(QUERY, None, date(2020, 1, 1)), config) == date(2018, 4, 30)
    assert latest_date(Query(QUERY, None, date(2000, 3, 1)), config) == date(2000, 1, 1)


def refusal(*args, **keywords):
    found = search(*args, **keywords)
    assert found.names == ()
    assert len(found.templates.aatype) == 0
    (reason,) = found.refused.values()
    return reason


def test_refuses_hits_by_what_the_search_says():
    own = Query(QUERY, "1ABC", date(2030, 1, 1))
    assert refusal(hit(), query=own) == "it is the query's own entry"
    long = Query(QUERY * 12)
    assert refusal(hit(), query=long) == "only 22 of 264 residues are aligned"
    assert "the query itself" in refusal(hit(QUERY))
    assert refusal(hit(OTHER[:9])) == "it is only 9 residues long"
    # 20 of 22 residues are 91 %: a fragment of the query, no duplicate.
    assert search(hit(QUERY[:20]), structures={"1abc": structure(sequence=QUERY)}).names


def test_refuses_hits_by_what_the_structure_says():
    assert refusal(hit(), structures={}) == "there is no structure file of it"
    young = Query(QUERY, None, date(2000, 1, 31))
    assert refusal(hit(), query=young) == "released 2000-01-01, after 1999-12-02"
    undated = {"1abc": structure(released=None)}
    assert "its release date is not known" in refusal(hit(), structures=undated, query=young)
    assert search(hit(), structures=undated).names
    foreign = {"1abc": structure(sequence="W" * 22)}
    assert "residues are those of the structure" in refusal(hit(), structures=foreign)
    empty = {"1abc": structure(mask=np.zeros((22, 37), bool))}
    assert refusal(hit(), structures=empty) == "none of its atoms are known"
    few = np.zeros((22, 37), bool)
    few[0, :4] = True
    assert "fewer than five" in refusal(hit(), structures={"1abc": structure(mask=few)})
    far = chain().positions.copy()
    far[7:] += 200.0
    assert "150 Å apart" in refusal(hit(), structures={"1abc": structure(positions=far)})


def test_a_bad_template_file_is_refused_not_fatal():
    def read(entry_id):
        raise BadDataError("cut short", source=entry_id, mend="fetch it again")

    found = find_templates(Query(QUERY), [hit()], read, DataConfig())
    assert found.refused == {"1abc_A": "1abc: cut short"}
