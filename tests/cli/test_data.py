"""`sci-memeff data`: what it says of the bundled folder, of a bad one, and how it fetches."""

import gzip
import json
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from typer.testing import CliRunner

from sci_memeff.cli.main import app


def run(*args: object):
    return CliRunner().invoke(app, ["data", *map(str, args)])


def last(result) -> dict:
    return json.loads(result.stdout.splitlines()[-1])


def test_list_shows_every_chain(data):
    result = run("list", data)
    assert result.exit_code == 0, result.output
    assert last(result) == {"chains": 5, "residues": 309, "left_out": 0}
    assert "1ubq_A" in result.stdout


def test_check_passes_the_bundled_folder(data):
    result = run("check", data)
    assert result.exit_code == 0, result.output
    assert last(result)["chains"] == 5


def test_check_names_what_is_bad_and_why(tmp_path, data):
    (tmp_path / "mmcif").mkdir()
    whole = (data / "mmcif" / "1ubq.cif").read_text()
    (tmp_path / "mmcif" / "1ubq.cif").write_text(whole)
    (tmp_path / "mmcif" / "1cut.cif").write_text(whole[: len(whole) // 2])
    shutil.copy(data / "mmcif" / "4zey.cif", tmp_path / "mmcif")
    folder = tmp_path / "alignments" / "4zey_A"
    folder.mkdir(parents=True)
    (folder / "hits.a3m").write_text(">other\nMKV\n")
    result = run("check", tmp_path)
    assert result.exit_code == 2
    assert last(result) == {"chains": 1, "residues": 76, "left_out": 2}
    assert "left out 1cut" in result.stdout
    assert "hits.a3m" in result.stdout
    assert "mend:" in result.stdout


def test_check_fails_for_one_bad_structure_and_not_for_stray_alignments(tmp_path, data):
    shutil.copytree(data / "mmcif", tmp_path / "mmcif")
    (tmp_path / "alignments" / "9zzz_A").mkdir(parents=True)
    result = run("check", tmp_path)
    assert result.exit_code == 0
    assert "left out 9zzz_A: has alignments and no structure" in result.stdout
    (tmp_path / "mmcif" / "1psm.cif").write_text("data_x\n")
    result = run("check", tmp_path)
    assert result.exit_code == 2
    assert "1psm.cif" in result.stdout
    assert "mend: fetch the file again" in result.stdout
    (tmp_path / "validation.txt").write_text("9zzz_A\n")
    result = run("check", tmp_path)
    assert result.exit_code == 2
    assert "validation.txt: names chains that are not there: 9zzz_A" in result.stderr


def test_check_of_a_folder_without_structures(tmp_path):
    result = run("check", tmp_path)
    assert result.exit_code == 2
    assert "no structures: put ENTRY.cif into mmcif/" in result.stdout


def test_features_of_one_chain(data):
    result = run("features", data, "1psm_A")
    assert result.exit_code == 0, result.output
    assert "msa_feat" in result.stdout
    assert last(result)["residues"] == 38


def test_unknown_chain_is_refused(data):
    result = run("features", data, "1ubq_Z")
    assert result.exit_code == 2
    assert "no protein chain 'Z'" in result.stderr


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path, data, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    root = tmp_path / "served"
    root.mkdir()
    (root / "1psm.cif.gz").write_bytes(gzip.compress((data / "mmcif" / "1psm.cif").read_bytes()))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=root)) as server:
        Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_fetch_tells_of_each_name(tmp_path, server):
    out = tmp_path / "mine"
    args = ["--to", out, "--entries-from", server, "--alignments-from", server]
    result = run("fetch", "1psm", "9zzz", *args)
    assert result.exit_code == 2
    assert last(result) == {"fetched": 1, "present": 0, "absent": 0, "failed": 1}
    assert "9zzz" in result.stderr
    assert "404" in result.stderr
    assert (out / "mmcif" / "1psm.cif.gz").exists()
    again = run("fetch", "1psm_A", *args, "--no-alignments")
    assert again.exit_code == 0, again.output
    assert last(again) == {"fetched": 0, "present": 1, "absent": 0, "failed": 0}
