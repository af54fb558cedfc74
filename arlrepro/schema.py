"""Dataclasses of settings: what their fields may hold, checked; read from plain values; compared."""

import math
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_args, get_type_hints

from arlrepro.errors import ConfigError, check_known, short


@dataclass(frozen=True)
class Range:
    """The numbers that a field may have.

    Example:
        >>> print(Range(0, 1, above=True), Range(1, 4096, unit="px"), Range(0))
        in (0, 1] in [1, 4096] px 0 or more
        >>> float("nan") in Range(0)
        False
    """

    low: int | float
    high: int | float = math.inf
    unit: str = ""
    above: bool = False  # the low end itself is excluded
    below: bool = False  # the high end itself is excluded

    def __contains__(self, value: int | float) -> bool:
        inside = self.low <= value <= self.high and abs(value) < math.inf
        return inside and not (self.above and value == self.low) and not (self.below and value == self.high)

    def __str__(self) -> str:
        if self.low == -math.inf:
            words = "a finite number"
        elif self.high == math.inf:
            words = f"above {self.low}" if self.above else f"{self.low} or more"
        else:
            words = f"in {'(' if self.above else '['}{self.low}, {self.high}{')' if self.below else ']'}"
        return f"{words} {self.unit}".strip()


def check_fields(config: Any, section: str) -> None:
    """Refuse a field of a config that is not of its type or out of its range.

    Args:
        config: a dataclass whose fields are annotated with their types, numbers with a `Range`.
        section: what the fields belong to, for the message.

    Raises:
        ConfigError: field, value, and what it must be.
    """
    for name, kind in get_type_hints(type(config), include_extras=True).items():
        check_field(kind, getattr(config, name), f"{section}.{name}")


def check_field(kind: Any, value: Any, where: str) -> None:
    """Refuse a value that is not of a field's type, as it is annotated, or out of its range.

    Raises:
        ConfigError: where, value, and what it must be.
    """
    bounds = next((one for one in getattr(kind, "__metadata__", ()) if isinstance(one, Range)), None)
    plain = kind.__origin__ if bounds is not None else kind
    if plain in (int, float, str, bool):
        # Reason: `learning_rate=1` is meant as 1.0; but True is no number.
        welcome = (int, float) if plain is float else plain
        if not isinstance(value, welcome) or isinstance(value, bool) != (plain is bool):
            raise ConfigError(f"{where} is {short(value)}; it must be of type {plain.__name__}")
        if bounds is not None and value not in bounds:
            raise ConfigError(f"{where} is {short(value)}; it must be {bounds}")
        return
    if not isinstance(value, tuple) or not value:
        raise ConfigError(f"{where} is {short(value)}; it must be a list of at least one number")
    for entry in value:
        check_field(get_args(plain)[0], entry, where)


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
    if not isinstance(stored, dict):
        raise ConfigError(f"{where} is {short(stored)}; it must be fields by name")
    for name in stored:
        check_known(f"field of {where}", name, tuple(types))
    return kind(**{name: _value(types[name], value, f"{where}.{name}") for name, value in stored.items()})


def _value(kind: Any, value: Any, where: str) -> Any:
    """The stored value as the field's type; whole numbers are welcome where a fraction is meant."""
    if is_dataclass(kind):
        return from_plain(kind, value, where)  # type: ignore[arg-type]
    if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
        return float(value)
    if kind in (int, float, str, bool):
        if type(value) is not kind:
            raise ConfigError(f"{where} is {short(value)}; it must be of type {kind.__name__}")
        return value
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{where} is {short(value)}; it must be a list of numbers")
    parts = get_args(kind)
    if Ellipsis not in parts and len(value) != len(parts):
        raise ConfigError(f"{where} is {short(value)}; it must be a list of {len(parts)} numbers")
    return tuple(_value(parts[0], entry, where) for entry in value)
