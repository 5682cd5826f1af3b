"""What the commands work on: the user's functions, found as `python -m` finds them; presets."""

import sys

import pytest
import torch
from torch import nn

from sci_memeff.cli.subjects import DtypeName, PresetName, subject
from sci_memeff.errors import BadConfigError

FP32 = DtypeName.fp32


def test_a_function_of_one_s_own():
    found = subject("tests.cli.steps:example", None, FP32)
    assert found.name == "tests.cli.steps:example"
    assert found.optimizer is None
    model, batch = found.real(torch.device("cpu"))
    assert found.step(model, batch).isfinite()
    assert subject("tests.cli.steps:with_optimizer", None, FP32).optimizer is not None


def test_a_module_in_the_folder_one_is_in(tmp_path, monkeypatch):
    (tmp_path / "just_here.py").write_text("def f():\n    return len, len, 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    assert subject("just_here:f", None, FP32).batch == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "'nowhere' is no MODULE:FUNCTION\n  mend: write it as in mypackage"),
        (":f", "':f' is no MODULE:FUNCTION"),
        ("no_such_module:f", "there is no module no_such_module\n  mend: run the command where"),
        ("tests.cli.no_such:f", "there is no module tests.cli.no_such"),
        ("tests.cli.steps:absent", "has no function absent\n  mend: name one that returns"),
        ("tests.cli.steps:not_a_function", "has no function not_a_function"),
        ("tests.cli.steps:two_things", r"returned \(int, int\)\n  mend: return \(model, step, ba"),
        ("tests.cli.steps:nothing", "returned a NoneType"),
    ],
)
def test_what_cannot_be_had(name, message):
    with pytest.raises(BadConfigError, match=message):
        subject(name, None, FP32)


def test_what_the_user_s_module_lacks_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "lacking.py").write_text("import a_package_that_is_absent\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_absent"):
        subject("lacking:f", None, FP32)


def test_named_once():
    with pytest.raises(BadConfigError, match="nothing is named to work on\n  mend: give --preset"):
        subject(None, None, FP32)
    with pytest.raises(BadConfigError, match="named twice"):
        subject("tests.cli.steps:example", PresetName.demo, FP32)
    with pytest.raises(
        BadConfigError, match=r"--crop is for presets, and .* is your own\n  mend: leave"
    ):
        subject("tests.cli.steps:example", None, FP32, crop=3, blocks=None)


def test_a_preset_of_another_size():
    found = subject(None, PresetName.demo, DtypeName.bf16, crop=9, blocks=1, passes=2)
    assert found.name == "demo, bf16"
    assert found.batch["aatype"].shape == (1, 9, 2)
    assert found.batch["aatype"].is_meta
    model, batch = found.real(torch.device("cpu"))
    assert isinstance(model, nn.Module)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert found.step(model, batch).isfinite()
