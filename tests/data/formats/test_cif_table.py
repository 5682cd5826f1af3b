import gemmi
import numpy as np
import pytest

from sci_memeff.data.formats.cif_table import columns, first_value, numbers, read_block, values
from sci_memeff.errors import BadDataError


def block(text: str) -> gemmi.cif.Block:
    return gemmi.cif.read_string(text).sole_block()


def test_values_are_unquoted_and_the_unknown_is_empty():
    found = block("data_x\nloop_\n_a.b\n'it is'\n?\n.\n\"'\"\n'?'\n")
    assert values(found, "_a.b") == ["it is", "", "", "'", "?"]
    assert values(found, "_a.c") == []
    assert first_value(found, "_a.b") == "it is"
    assert first_value(found, "_a.c") == ""


def test_columns_of_a_table_and_of_single_items():
    assert columns(block("data_x\n_a.b 1\n_a.c 2\n"), "_a.", ["c", "b"], source="s") == [
        ["2"],
        ["1"],
    ]


@pytest.mark.parametrize(
    ("text", "field", "wrong"),
    [
        ("data_x\n_a.b 1\n", "_a.c", "has 0 values, b 1"),
        ("data_x\n_a.c 1\n", "_a.b", "has 0 values"),
        ("data_x\nloop_\n_a.b\n1\n2\n_a.c 1\n", "_a.c", "has 1 values, b 2"),
    ],
)
def test_columns_that_do_not_fit(text, field, wrong):
    with pytest.raises(BadDataError, match=wrong) as caught:
        columns(block(text), "_a.", ["b", "c"], source="s")
    assert caught.value.field == field
    assert "write the whole table" in caught.value.mend


def test_numbers():
    assert numbers(["1", "-2.5e1"], source="s", field="f").tolist() == [1, -25]
    found = numbers(["1.25(3)", "", "nan", "2"], source="s", field="f")
    assert np.array_equal(found, [1.25, np.nan, np.nan, 2], equal_nan=True)


def test_what_is_no_number():
    with pytest.raises(BadDataError, match=r"f: '1\.x' is no number") as caught:
        numbers(["1", "1.x"], source="s", field="f")
    assert "cut short" in caught.value.mend


@pytest.mark.parametrize(
    ("text", "line", "wrong"),
    [
        ("not cif", 1, "line 1: is not CIF: expected block header"),
        ("data_x\nloop_\n_a.b\n_a.c\n1 2\n3\n", 2, "line 2: is not CIF: Wrong number of values"),
        ("data_x\n_a.b 1\n_a.b 2\n", 3, "line 3: is not CIF: duplicate tag _a.b"),
        ("data_x\n#\n_a.b 1\n#\n_c.d 1\n#\n_e.f 1\n#\n_g.h 1\n", 10, "does not end in '#'"),
        ("data_x\n_c.b 1\n", None, r"has no table _a\."),
        ("", None, r"has no table _a\."),
    ],
)
def test_refuses(text, line, wrong):
    with pytest.raises(BadDataError, match=wrong) as caught:
        read_block(text, "_a.", source="x.cif")
    assert caught.value.line == line
    assert "cut short" in caught.value.mend


def test_the_block_that_has_the_table_is_read():
    assert read_block("data_x\n_c.b 1\ndata_y\n_a.b 1\n", "_a.", source="s").name == "y"
