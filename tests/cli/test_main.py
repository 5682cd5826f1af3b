"""The console command: what it offers, how it explains itself and how it fails."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from sci_memeff.cli.failures import readable
from sci_memeff.cli.main import app
from sci_memeff.errors import BadDataError

ROOT = Path(__file__).parents[2]

FLAGS = {
    "train": "--budget --config --data --device --out --preset --recipe --resume --seed --steps "
    "--verify --weights",
    "plan": "--allow --blocks --budget --crop --dtype --front --json --max-crop --no-host --out "
    "--passes --plot --preset --recipe --target",
    "predict": "--alignments --chain --data --device --fasta --model --out --seed --weights",
    "verify": "--bar --blocks --crop --data --device --dtype --json --passes --plan --plot "
    "--preset --recipe --reference --seeds --steps --tolerance",
    "calibrate": "--device --out",
    "measure": "--blocks --crop --device --dtype --json --passes --plan --plot --preset --real",
    "data fetch": "--alignments --alignments-from --entries-from --no-alignments --to",
    "data list": "",
    "data check": "",
    "data features": "",
}


def commands(group, path: tuple[str, ...] = ()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def test_flags_are_these_and_no_others():
    found = {}
    for name, command in commands(typer.main.get_command(app)):
        options = [o for p in command.params for o in (*p.opts, *p.secondary_opts)]
        found[name] = " ".join(sorted(o for o in options if o.startswith("--") and o != "--help"))
    assert found == FLAGS


@pytest.mark.parametrize("name", [*FLAGS, "", "data"])
def test_help_explains_itself(name):
    result = CliRunner().invoke(app, [*name.split(), "--help"])
    assert result.exit_code == 0
    if not name:
        assert "sci-memeff train --preset demo --data data" in result.stdout
    if name in FLAGS:
        assert "Example" in result.stdout
        assert f"sci-memeff {name}" in result.stdout


def test_script_takes_the_same_flags_and_fails_readably(tmp_path):
    script = [sys.executable, str(ROOT / "scripts" / "train_af2.py")]
    out = subprocess.run(
        [*script, "--preset", "demo", "--data", str(tmp_path / "none"), "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.returncode == 2
    assert out.stderr.startswith(f"error: {tmp_path / 'none'}: no such folder\n  mend: give the")
    assert "Traceback" not in out.stderr


def test_error_of_the_package_is_one_message(capsys):
    @readable
    def command() -> None:
        raise BadDataError("is odd", source="a.cif", mend="make it even", line=3)

    with pytest.raises(typer.Exit) as caught:
        command()
    assert caught.value.exit_code == 2
    assert capsys.readouterr().err == "error: a.cif, line 3: is odd\n  mend: make it even\n"


def test_bug_keeps_its_traceback():
    @readable
    def command() -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        command()
