"""Frozen records as plain data that JSON holds, and back, with every value checked.

Each kind of value has a `Field`. What it reads it checks, and says where in the text it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from typing import Any, NamedTuple, Protocol, runtime_checkable

from sci_memeff.errors import BadPlanError

__all__ = [
    "FLAG",
    "INT",
    "MEND",
    "NUMBER",
    "TEXT",
    "Constant",
    "Field",
    "Kind",
    "Record",
    "choice",
    "named",
    "one_or_several",
    "optional",
    "read_object",
    "several",
]

MEND = "write it as Plan.to_json does"


class Field(NamedTuple):
    """How one value is written, and read with the place where it stands, for messages."""

    write: Callable[[Any], Any]
    read: Callable[[Any, str], Any]


@runtime_checkable
class Kind(Protocol):
    """One of several kinds of value, told apart in the text by a name."""

    def holds(self, value: Any) -> bool:
        """Whether the value is of this kind."""
        ...

    def write(self, value: Any) -> dict[str, Any]:
        """All but the name."""
        ...

    def read(self, data: dict[str, Any], place: str) -> Any:
        """The value."""
        ...


@dataclass(frozen=True)
class Record:
    """A dataclass: each of its fields under its own name."""

    type: type
    fields: Mapping[str, Field]

    def holds(self, value: Any) -> bool:
        """Whether it is one, and of no subclass."""
        return type(value) is self.type

    def write(self, value: Any) -> dict[str, Any]:
        """As plain data."""
        return {name: field.write(getattr(value, name)) for name, field in self.fields.items()}

    def read(self, data: Any, place: str) -> Any:
        """The dataclass; BadPlanError for a field that is unknown, missing or of another kind."""
        data = read_object(data, place, self.fields)
        for field in fields(self.type):
            needed = (field.default, field.default_factory) == (MISSING, MISSING)
            if needed and field.name not in data:
                raise BadPlanError(f"{place} has no {field.name!r}", mend=MEND)
        values = {name: self.fields[name].read(x, f"{place}.{name}") for name, x in data.items()}
        return self.type(**values)


@dataclass(frozen=True)
class Constant:
    """A single value, such as a function."""

    value: Any

    def holds(self, value: Any) -> bool:
        """Whether it is that one."""
        return value is self.value

    def write(self, value: Any) -> dict[str, Any]:
        """Nothing: the name says it."""
        return {}

    def read(self, data: Any, place: str) -> Any:
        """The value."""
        read_object(data, place, ())
        return self.value


def read_object(data: Any, place: str, known: Iterable[str]) -> dict[str, Any]:
    """`data`, a mapping that has no other keys than those."""
    known = list(known)
    if not isinstance(data, dict):
        raise BadPlanError(f"{place} is {data!r}, and should be an object", mend=MEND)
    for name in data:
        if name not in known:
            raise _unknown(f"{place} has {name!r}", name, known)
    return data


def _unknown(wrong: str, name: Any, known: list[str]) -> BadPlanError:
    """For a name that nothing here has; tells the nearest."""
    nearest = get_close_matches(str(name), known, n=3, cutoff=0.5) or known
    names = ", ".join(map(repr, nearest))
    return BadPlanError(
        f"{wrong}, which this version does not know",
        mend=f"give one of {names}, or update sci_memeff" if names else "leave it out",
    )


def _of(kinds: tuple[type, ...], words: str) -> Field:
    def read(value: Any, place: str) -> Any:
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise BadPlanError(f"{place} is {value!r}, and should be {words}", mend=MEND)
        return kinds[-1](value)

    return Field(kinds[-1], read)


INT = _of((int,), "a whole number")
NUMBER = _of((int, float), "a number")
TEXT = _of((str,), "text")
FLAG = _of((bool,), "true or false")


def optional(field: Field | Record) -> Field:
    """Or null."""
    return Field(
        lambda value: None if value is None else field.write(value),
        lambda value, place: None if value is None else field.read(value, place),
    )


def choice(names: Iterable[str]) -> Field:
    """One of those."""
    known = list(names)

    def read(value: Any, place: str) -> str:
        if value not in known:
            raise _unknown(f"{place} is {value!r}", value, known)
        return value

    return Field(str, read)


def named(kinds: Mapping[str, Kind], mend: str) -> Field:
    """A value of one of several kinds; `mend` is for one of none of them."""

    def write(value: Any) -> dict[str, Any]:
        for name, kind in kinds.items():
            if kind.holds(value):
                return {"name": name, **kind.write(value)}
        raise BadPlanError(f"{value!r} has no name that another machine would know", mend=mend)

    def read(data: Any, place: str) -> Any:
        if not isinstance(data, dict) or "name" not in data:
            raise BadPlanError(
                f"{place} is {data!r}, and should be an object with a name", mend=MEND
            )
        rest = {key: value for key, value in data.items() if key != "name"}
        name = choice(list(kinds)).read(data["name"], f"{place}.name")
        return kinds[name].read(rest, place)

    return Field(write, read)


def several(field: Field | Record) -> Field:
    """A tuple of such values, which JSON calls a list."""

    def read(data: Any, place: str) -> tuple[Any, ...]:
        if not isinstance(data, list):
            raise BadPlanError(f"{place} is {data!r}, and should be a list", mend=MEND)
        return tuple(field.read(x, f"{place}[{i}]") for i, x in enumerate(data))

    return Field(lambda values: [field.write(x) for x in values], read)


def one_or_several(field: Field) -> Field:
    """A value, or a tuple of them."""
    many = several(field)
    return Field(
        lambda value: (many if isinstance(value, tuple) else field).write(value),
        lambda data, place: (many if isinstance(data, list) else field).read(data, place),
    )
