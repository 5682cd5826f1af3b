import pytest

from sci_memeff.data.formats.mmcif import parse_mmcif
from sci_memeff.data.formats.polymers import one_letter
from sci_memeff.errors import BadDataError

from .entries import atom, entry, loop


@pytest.mark.parametrize(
    ("component", "canonical", "letter"),
    [
        ("TRP", "", "W"),
        ("TRP", "A", "W"),  # a standard residue is what it is called
        ("MSE", "", "M"),
        ("SEP", "", "S"),  # phosphoserine, from the table
        ("SEP", "X", "X"),  # the file has the last word
        ("ZZZ", "K", "K"),
        ("ZZZ", "", "X"),
        ("UNK", "", "X"),
        ("SEC", "U", "X"),  # selenocysteine is none of the twenty
        ("CRO", "", "X"),  # a chromophore of three residues
    ],
)
def test_one_letter(component, canonical, letter):
    assert one_letter(component, canonical) == letter


def test_canonical_sequence_of_the_wrong_length_is_not_used():
    residues, atoms = ["CRO", "ZZZ"], [atom("CA", "ZZZ", 2)]
    chain = parse_mmcif(entry(residues, atoms, canonical="TYGK"), source="s").chain("A")
    assert chain.sequence == "XX"
    chain = parse_mmcif(entry(residues, atoms, canonical="TK"), source="s").chain("A")
    assert chain.sequence == "TK"


def test_canonical_sequence_may_run_over_lines():
    text = entry(["ZZZ", "GLY"], [atom("CA", seq=2)], canonical="\n;S\nG\n;\n")
    assert parse_mmcif(text, source="s").chain("A").sequence == "SG"


def test_of_two_residues_at_one_place_the_first_is_the_sequence():
    residues = loop("entity_poly_seq", ["entity_id", "num", "mon_id"], ["1 1 SER", "1 1 THR"])
    atoms = [atom("CB", "THR", 1, (9, 9, 9)), atom("CB", "SER", 1, (1, 1, 1))]
    text = entry([], atoms)
    text = text.replace(loop("entity_poly_seq", ["entity_id", "num", "mon_id"], []), residues)
    structure = parse_mmcif(text, source="s")
    chain = structure.chain("A")
    assert chain.sequence == "S"
    assert chain.positions[chain.mask].tolist() == [[1, 1, 1]]
    assert structure.dropped == {"a second residue at the same place": 1}


def test_no_protein():
    text = entry(["DA"], [atom("P", "DA")], kind="polydeoxyribonucleotide")
    with pytest.raises(BadDataError, match="its polymers are polydeoxyribonucleotide") as caught:
        parse_mmcif(text, source="s.cif")
    assert caught.value.field == "_entity_poly.type"
    assert "polypeptide(L)" in caught.value.mend


@pytest.mark.parametrize(
    ("old", "new", "field", "mend"),
    [
        ("_entity_poly_seq.", "_other.", "_entity_poly_seq.entity_id", "write the whole table"),
        ("_entity_poly.", "_other.", "_entity_poly.entity_id", "write the whole table"),
        ("_struct_asym.", "_other.", "_struct_asym.id", "write the whole table"),
        ("1 1 GLY", "1 one GLY", "_entity_poly_seq.num", "number the residues"),
    ],
)
def test_what_is_missing_is_named(old, new, field, mend):
    text = entry(["GLY"], [atom("CA")])
    assert old in text
    with pytest.raises(BadDataError) as caught:
        parse_mmcif(text.replace(old, new), source="s")
    assert caught.value.field == field
    assert mend in caught.value.mend
