"""Dataclasses as plain data: what differs from the defaults, and the way back, with every name and type checked."""

from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

from arlrepro.errors import ConfigError


def check_known(what: str, name: object, known: tuple[object, ...]) -> None:
    """Refuse a name that is none of the known ones, which the message lists.

    Raises:
        ConfigError: it is not known.
    """
    if name not in known:
        raise ConfigError(f"unknown {what} {name!r}; known: {', '.join(map(str, known))}")


def differences(changed: Any, default: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from another's, its defaults, nested as they are."""
    found: dict[str, Any] = {}
    for entry in fields(changed):
        ours, theirs = getattr(changed, entry.name), getattr(default, entry.name)
        if is_dataclass(ours):
            if inner := differences(ours, theirs):
                found[entry.name] = inner
        elif ours != theirs:
            found[entry.name] = ours
    return found


def from_plain(kind: type, stored: dict[str, Any], where: str) -> Any:
    """A dataclass from a dictionary of its fields, nested as it is; fields that are not given take their defaults.

    Raises:
        ConfigError: there is no such field, or a value is not of its type; named as fields of `where`.
    """
    types = get_type_hints(kind)
    for name in stored:
        check_known(f"field of {where}", name, tuple(types))
    return kind(**{name: _value(types[name], value, f"{where}.{name}") for name, value in stored.items()})


def _value(kind: Any, value: Any, where: str) -> Any:
    """The stored value as the field's type; whole numbers are welcome where a fraction is meant."""
    if is_dataclass(kind):
        return from_plain(kind, value, where)  # type: ignore[arg-type]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in (int, float, str, bool):
        if type(value) is not kind:
            raise ConfigError(f"{where} is {value!r}; it must be of type {kind.__name__}")
        return value
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{where} is {value!r}; it must be a list of numbers")
    return tuple(_value(get_args(kind)[0], entry, where) for entry in value)
