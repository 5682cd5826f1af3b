import gzip
from io import StringIO

import pytest
from Bio.SeqIO.FastaIO import SimpleFastaParser

from sci_memeff.data.formats.fasta import FastaRecord, parse_fasta, read_query
from sci_memeff.errors import BadDataError


def test_records_with_their_lines():
    text = "#A3M#\n\n>one two\r\nAC\nD-\n\0>three\nEF\n"
    assert parse_fasta(text, source="s") == [
        FastaRecord("one two", "ACD-", 3),
        FastaRecord("three", "EF", 6),
    ]


def test_agrees_with_biopython():
    text = ">one two\nAC\nD-\n>three\nEF\n>four\nG\nH\nI\n"
    ours = [(record.description, record.sequence) for record in parse_fasta(text, source="s")]
    assert ours == list(SimpleFastaParser(StringIO(text)))


@pytest.mark.parametrize(
    ("text", "line", "wrong", "mend"),
    [
        ("ACD\n>a\nAC\n", 1, "letters before the first header: 'ACD'", "begin each sequence with"),
        (">a\nAC\n>b\n>c\nAC\n", 3, "no letters below 'b'", "it may be cut short"),
        ("# nothing\n", None, "no sequence", "begin each sequence with"),
    ],
)
def test_refuses(text, line, wrong, mend):
    with pytest.raises(BadDataError, match=wrong) as caught:
        parse_fasta(text, source="s.fasta")
    assert caught.value.line == line
    assert mend in caught.value.mend


def test_query(tmp_path):
    path = tmp_path / "query.fasta.gz"
    path.write_bytes(gzip.compress(b">a protein\nmkv\nLA\n"))
    assert read_query(path) == FastaRecord("a protein", "MKVLA", 1)


@pytest.mark.parametrize(
    ("text", "line", "wrong", "mend"),
    [
        (">a\nAC\n>b\nAC\n", 3, "2 sequences where one query", "one file for each protein"),
        (">a\nA-C1\n", 1, "'-1' in the sequence", "one-letter codes"),
    ],
)
def test_what_is_no_query(tmp_path, text, line, wrong, mend):
    path = tmp_path / "query.fasta"
    path.write_text(text)
    with pytest.raises(BadDataError, match=wrong) as caught:
        read_query(path)
    assert caught.value.line == line
    assert mend in caught.value.mend
