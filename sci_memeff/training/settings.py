"""Settings files: YAML laid over a preset, every key and value checked before anything runs."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from sci_memeff.errors import BadCheckpointError, BadConfigError
from sci_memeff.training.config import FREE_SETTINGS
from sci_memeff.training.presets import Preset, preset

__all__ = ["check_same", "differences", "override", "plain", "read_settings", "to_yaml"]


def read_settings(path: Path, base: Preset) -> Preset:
    """The YAML mapping in `path` laid over `base`: only what differs need be written.

    A whole config.yaml of a run folder is such a file too. BadConfigError names an unknown key
    with its nearest valid one, and a value of the wrong type or out of range.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadConfigError(
            f"{path} is not a YAML file ({error})", mend="give a readable YAML file"
        ) from error
    if content is None:
        return base
    if not isinstance(content, Mapping):
        raise BadConfigError(
            f"{path} holds a {type(content).__name__}, not settings",
            mend="write one setting per line, such as `optimizer: {learning_rate: 0.0005}`",
        )
    named = content.get("name")
    if isinstance(named, str) and named != base.name:
        try:
            base = preset(named)
        except BadConfigError as error:
            raise BadConfigError(f"{path}: {error.wrong}", mend=error.mend) from error
    return override(base, content, source=str(path))


def override(base: Preset, changes: Mapping[str, Any], *, source: str) -> Preset:
    """`base` with nested `changes`, validated; `source` is named in errors."""
    _check_names(Preset, changes, source, "")
    merged = _merged(plain(base), changes)
    try:
        return TypeAdapter(Preset).validate_python(merged)
    except ValidationError as error:
        first = error.errors()[0]
        own = first.get("ctx", {}).get("error")
        if isinstance(own, BadConfigError):  # from a dataclass' own check
            raise BadConfigError(f"{source}: {own.wrong}", mend=own.mend) from error
        key = ".".join(str(part) for part in first["loc"])
        raise BadConfigError(
            f"{source}: {key} is {first['input']!r}: {first['msg']}",
            mend=f"correct {key}; the {base.name} preset has {_at(plain(base), first['loc'])!r}",
        ) from error


def plain(settings: Preset) -> dict[str, Any]:
    """Nested plain values, as JSON and YAML can hold them."""
    return TypeAdapter(Preset).dump_python(settings, mode="json")


def to_yaml(settings: Preset) -> str:
    """The text of config.yaml: every setting, in the order of the dataclasses."""
    return yaml.safe_dump(plain(settings), sort_keys=False, allow_unicode=True)


def differences(saved: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """Settings that change the numbers and differ, each as "key: there → here"."""
    there, here = _flat(saved), _flat(present)
    lines = []
    for key in sorted(there.keys() | here.keys()):
        one, other = there.get(key, "absent"), here.get(key, "absent")
        if one != other and key not in FREE_SETTINGS:
            lines.append(f"{key}: {one} there, {other} here")
    return lines


def check_same(saved: Mapping[str, Any], present: Mapping[str, Any], *, source: str) -> None:
    """BadCheckpointError that lists what differs between a checkpoint's settings and a run's."""
    lines = differences(saved, present)
    if lines:
        raise BadCheckpointError(
            f"{source} was written under another configuration:\n    " + "\n    ".join(lines),
            mend="resume with the run folder's own config.yaml (leave out --preset, --config and "
            "--seed) and the same --data, or start a new run in another folder with --weights",
        )


def _check_names(kind: type, changes: Mapping[str, Any], source: str, prefix: str) -> None:
    types = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    for key, value in changes.items():
        if key not in names:
            group = prefix.rstrip(".") or "the top level"
            raise BadConfigError(
                f"{source}: there is no setting {prefix}{key}",
                mend=f"{_meant(str(key), names)}the settings of {group} are: {', '.join(names)}",
            )
        if is_dataclass(types[key]) and isinstance(types[key], type):
            if not isinstance(value, Mapping):
                raise BadConfigError(
                    f"{source}: {prefix}{key} is {value!r}",
                    mend=f"write its settings, as in `{key}: {{{fields(types[key])[0].name}: …}}`",
                )
            _check_names(types[key], value, source, f"{prefix}{key}.")


def _meant(key: str, names: Sequence[str]) -> str:
    """Asks whether a setting of that name in another group is meant, or one of a like name."""
    everywhere = _flat(plain(preset("demo")))
    near = [name for name in everywhere if name.endswith(f".{key}")]
    near = near or difflib.get_close_matches(key, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}? " if near else ""


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in changes.items():
        old = out.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = _merged(old, value)
        out[key] = value
    return out


def _at(settings: Any, path: tuple[int | str, ...]) -> Any:
    for part in path:
        settings = settings[part] if isinstance(settings, Mapping) else settings
    return settings


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"optimizer.learning_rate": 0.001, …}."""
    out: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{prefix}{name}.")
        else:
            out[f"{prefix}{name}"] = value
    return out
