"""Settings files: what may be written in them, and what is refused with which words."""

import dataclasses

import pytest
import yaml

from sci_memeff.errors import BadCheckpointError, BadConfigError
from sci_memeff.training.config import FREE_SETTINGS, RunConfig
from sci_memeff.training.presets import PRESETS, preset
from sci_memeff.training.settings import check_same, differences, plain, read_settings, to_yaml


@pytest.fixture
def written(tmp_path):
    def write(text: str):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("name", PRESETS)
def test_saved_settings_read_back_the_same(written, name):
    assert read_settings(written(to_yaml(preset(name))), preset("demo")) == preset(name)


def test_only_what_differs_need_be_written(written):
    base = preset("finetuning")
    found = read_settings(written("optimizer: {learning_rate: 1e-4}\nrun:\n  steps: 3\n"), base)
    assert found.optimizer.learning_rate == 1e-4
    assert found.run.steps == 3
    assert found.optimizer.clip_norm == base.optimizer.clip_norm
    assert found.data == base.data


def test_empty_file_changes_nothing(written):
    assert read_settings(written("# nothing yet\n"), preset("demo")) == preset("demo")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "optimiser: {learning_rate: 1}",
            r"(?s)mine.yaml: there is no setting optimiser.*did you mean optimizer\?",
        ),
        (
            "optimizer: {learning_rat: 1}",
            r"(?s)no setting optimizer.learning_rat.*did you mean learning_rate.*settings of "
            "optimizer are: kind, learning_rate, warmup",
        ),
        ("data: {crop: 3}", r"(?s)no setting data.crop.*crop_size"),
        ("crop_size: 3", r"(?s)no setting crop_size.*did you mean data\.crop_size\?"),
        ("data: {learning_rate: 3}", r"(?s)data.learning_rate.*mean optimizer\.learning_rate\?"),
        ("run: {steps: many}", r"(?s)run.steps is 'many'.*correct run.steps; the demo preset has"),
        ("run: {steps: 0}", r"(?s)run.steps is 0.*greater than or equal to 1"),
        ("optimizer: {ema_decay: 1.0}", r"optimizer.ema_decay is 1.0: .*less than 1"),
        ("model: {c_m: -3}", r"(?s)mine.yaml: model setting c_m is -3.*whole number"),
        ("loss: {fape_weight: -1}", r"(?s)mine.yaml: loss setting fape_weight.*give 0 or more"),
        ("data: {clamp_probability: 2}", r"(?s)mine.yaml: clamp_probability.*from 0 to 1"),
        ("run: 5", r"(?s)run is 5.*write its settings, as in `run: {steps: …}`"),
        ("- 1\n- 2", r"(?s)holds a list, not settings.*one setting per line"),
        ("{", r"(?s)is not a YAML file.*readable YAML"),
        (
            "name: dmeo",
            r"(?s)mine.yaml: there is no preset 'dmeo'.*demo, initial_training, finetuning",
        ),
    ],
)
def test_bad_settings_are_refused_with_the_mend(written, text, message):
    with pytest.raises(BadConfigError, match=message):
        read_settings(written(text), preset("demo"))


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(BadConfigError, match=r"nowhere\.yaml"):
        read_settings(tmp_path / "nowhere.yaml", preset("demo"))


def test_settings_that_change_no_number_may_differ():
    here = plain(preset("demo"))
    there = here | {"run": here["run"] | {"steps": 7, "workers": 3}}
    assert differences(there, here) == []
    check_same(there, here, source="x")


def test_other_settings_are_listed_with_both_values():
    here = plain(preset("demo"))
    there = here | {"optimizer": here["optimizer"] | {"clip_norm": 9.0}, "old": 1}
    assert differences(there, here) == [
        "old: 1 there, absent here",
        f"optimizer.clip_norm: 9.0 there, {here['optimizer']['clip_norm']} here",
    ]
    with pytest.raises(
        BadCheckpointError, match=r"(?s)runs/a was written under another.*clip_norm.*config.yaml"
    ):
        check_same(there, here, source="runs/a")


def test_free_settings_exist():
    names = {f"run.{field.name}" for field in dataclasses.fields(RunConfig)}
    assert names - FREE_SETTINGS == {"run.seed", "run.recipe"}


def test_yaml_is_plain():
    text = to_yaml(preset("finetuning"))
    assert "!!" not in text
    assert yaml.safe_load(text)["data"]["max_extra_msa"] == 5120
