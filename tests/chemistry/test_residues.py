from typing import Any

from sci_memeff.chemistry import residues as r


def test_names_are_one_to_one() -> None:
    assert len(set(r.RESTYPES)) == len(set(r.THREE_LETTERS)) == r.UNKNOWN == r.NUM_RESTYPES - 1
    assert list(r.THREE_LETTERS) == sorted(r.THREE_LETTERS)
    assert all(r.THREE_TO_ONE[three] == one for one, three in r.ONE_TO_THREE.items())
    assert set(r.THREE_TO_ONE) - set(r.THREE_LETTERS) == {"MSE"}
    assert r.THREE_TO_ONE["MSE"] == "M"
    assert r.RESTYPE_INDEX["A"] == 0
    assert r.RESTYPE_INDEX["V"] == 19


def test_tokens_of_an_alignment() -> None:
    assert (r.MSA_GAP, r.MSA_MASKED, r.NUM_MSA_TOKENS) == (21, 22, 23)
    assert r.MSA_TOKEN.shape == (256,)
    read = {chr(code): int(token) for code, token in enumerate(r.MSA_TOKEN)}
    assert all(read[letter] == index for letter, index in r.RESTYPE_INDEX.items())
    assert read["X"] == read["J"] == read["O"] == read["*"] == read["a"] == r.UNKNOWN
    assert read["-"] == read["."] == r.MSA_GAP
    assert read["B"] == r.RESTYPE_INDEX["D"]
    assert read["Z"] == r.RESTYPE_INDEX["E"]
    assert read["U"] == r.RESTYPE_INDEX["C"]


def test_agrees_with_the_published_names(published: dict[str, Any]) -> None:
    assert published["restypes_one_letter_order"] == r.RESTYPES
    assert published["restype_1to3"] == r.ONE_TO_THREE


def test_tokens_agree_with_hhblits(published: dict[str, Any]) -> None:
    codes = published["hhblits_aa_to_id"]
    letter_of = {code: letter for letter, code in codes.items() if letter in r.MSA_ALPHABET}
    for letter, code in codes.items():
        assert r.MSA_ALPHABET[r.MSA_TOKEN[ord(letter)]] == letter_of[code], letter
