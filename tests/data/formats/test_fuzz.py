"""Whatever the text, a reader gives its record or raises BadDataError; nothing else."""

import gzip
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sci_memeff.data.files import decode
from sci_memeff.data.formats.a3m import parse_a3m
from sci_memeff.data.formats.fasta import parse_fasta
from sci_memeff.data.formats.hhr import TemplateHit, parse_hhr
from sci_memeff.data.formats.mmcif import parse_mmcif
from sci_memeff.data.formats.msa import Msa
from sci_memeff.data.formats.pdb import parse_pdb
from sci_memeff.data.formats.stockholm import parse_stockholm
from sci_memeff.data.formats.structure import Structure
from sci_memeff.errors import BadDataError

from .entries import GLYCINE, atom, entry
from .test_a3m import SMALL as A3M
from .test_hhr import SMALL as HHR
from .test_pdb import residue
from .test_stockholm import SMALL as STOCKHOLM

CIF = entry(
    ["MSE", "GLY", "SER"],
    [
        *(atom(name, "GLY", 2, (x, -2.5, 3)) for x, name in enumerate(GLYCINE)),
        *(atom("CB", "SER", 3, label_alt_id=label) for label in "AB"),
    ],
    canonical="MGS",
    extra="_exptl.method 'X-RAY'\n_refine.ls_d_res_high 2.0\n"
    "_pdbx_audit_revision_history.revision_date 2001-01-01\n",
)
PDB = (
    "HEADER    X\nEXPDTA    X-RAY DIFFRACTION\nSEQRES   1 A    3  MET ALA GLY\nMODEL        1\n"
    + residue("ALA", "2 ", 0)
    + residue("GLY", "3A", 9, alternate="B")
    + "TER\nENDMDL\nEND\n"
)
PARSERS = {
    "cif": (parse_mmcif, CIF),
    "pdb": (partial(parse_pdb, entry_id="x"), PDB),
    "a3m": (parse_a3m, A3M),
    "sto": (parse_stockholm, STOCKHOLM),
    "hhr": (parse_hhr, HHR),
    "fasta": (parse_fasta, A3M),
}
TOKENS = ["\n", " ", "_", "'", '"', ";", "#", "?", ".", "-", ">", "\0", "\r", "0", "-1", "1e400"]
TOKENS += ["nan", "loop_\n", "data_", "\n;", "_atom_site.id", "Q ", "T ", "No 1", "//", "Å", "A"]
TOKENS += ["ATOM  ", "TER\n", "ENDMDL\n", "99999999999999999999", "\t", "\x0b", "\u2028", "٣"]
QUICK = settings(
    max_examples=150,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def check(record: object) -> None:
    """What every record promises."""
    if isinstance(record, Structure):
        assert record.chains
        for chain in record.chains.values():
            assert len(chain) == len(chain.mask) == len(chain.author_numbers)
            assert np.isfinite(chain.positions).all()
            assert np.isfinite(chain.b_factors).all()
            assert chain.mask.any()
            assert set(chain.sequence) <= set("ARNDCQEGHILKMFPSTWYVX")
    elif isinstance(record, Msa):
        assert record.deletions.shape == (len(record), len(record.query))
        assert len(record.descriptions) == len(record)
        assert (record.deletions >= 0).all()
        assert "-" not in record.query
    elif isinstance(record, TemplateHit):
        assert len(record.query) == len(record.query_indices)
        assert len(record.hit_sequence) == len(record.hit_indices)


def try_on(parse, text: str) -> None:
    try:
        records = parse(text, source="fuzz")
    except BadDataError:
        return
    for record in records if isinstance(records, tuple | list) else [records]:
        check(record)


@pytest.mark.parametrize("kind", PARSERS)
def test_the_texts_to_start_from_are_good(kind):
    parse, text = PARSERS[kind]
    assert parse(text, source="fuzz")


@pytest.mark.parametrize("kind", PARSERS)
@QUICK
@given(st.text(max_size=200) | st.lists(st.sampled_from(TOKENS), max_size=40).map("".join))
def test_random_text(kind, text):
    try_on(PARSERS[kind][0], text)


EDIT = st.tuples(
    st.floats(0, 1),
    st.integers(0, 12),
    st.sampled_from(TOKENS) | st.text(max_size=3),
)


def edited(text: str, edits: list[tuple[float, int, str]]) -> str:
    """Each edit takes some characters away and puts others in their place."""
    for place, length, new in edits:
        at = int(place * len(text))
        text = text[:at] + new + text[at + length :]
    return text


@pytest.mark.parametrize("kind", PARSERS)
@QUICK
@given(st.lists(EDIT, min_size=1, max_size=4))
def test_edited_text(kind, edits):
    parse, text = PARSERS[kind]
    try_on(parse, edited(text, edits))


@pytest.mark.parametrize("kind", PARSERS)
@QUICK
@given(st.data())
def test_lines_in_another_order(kind, data):
    parse, text = PARSERS[kind]
    lines = text.split("\n")
    order = data.draw(st.lists(st.integers(0, len(lines) - 1), max_size=len(lines) + 3))
    try_on(parse, "\n".join(lines[at] for at in order))


BUNDLED = Path(__file__).parents[3] / "data"
REAL = {
    "cif": "mmcif/1psm.cif",
    "a3m": "alignments/2q2k_A/bfd_uniclust_hits.a3m",
    "sto": "alignments/2q2k_A/uniref90_hits.sto",
}


@pytest.mark.parametrize("kind", REAL)
@settings(parent=QUICK, max_examples=60)
@given(st.lists(EDIT, min_size=1, max_size=3))
def test_edited_real_files(kind, edits):
    try_on(PARSERS[kind][0], edited((BUNDLED / REAL[kind]).read_text(), edits))


@QUICK
@given(st.binary(max_size=60), st.integers(0, 60), st.sampled_from(["x", "x.gz"]))
def test_bytes(noise, cut, name):
    for content in (noise, gzip.compress(b"some text")[:cut] + noise):
        with suppress(BadDataError):
            assert decode(content, source=name)
