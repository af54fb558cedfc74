"""Where a profile's protocol departs from the paper's: `departures.yaml`, in the order of the likely effect."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from arlrepro import registry, storage
from arlrepro.config import Experiment
from arlrepro.errors import ConfigError, some
from arlrepro.profiles import PAPER, Profile

DEPARTURES_YAML = Path(__file__).with_name("departures.yaml")
#: How many of them lead: those with the largest likely effects.
LEADING = 5
#: What an entry need not have.
OPTIONAL = ("variant", "by", "tried")


@dataclass(frozen=True)
class Departure:
    """One setting in which a protocol is not the paper's."""

    setting: str
    fields: tuple[str, ...]  # of the config, `section.field`; none where every profile departs
    paper: str
    here: str
    reason: str
    likely: str  # effect
    variant: str = ""  # of the ablation, whose runs measure the effect
    by: str = ""  # what would measure it
    #: Pairs of trials before the protocol, each a name and a side of evaluation, px.
    tried: tuple[tuple[tuple[str, int], ...], ...] = ()


def read_departures(path: Path = DEPARTURES_YAML) -> tuple[Departure, ...]:
    """Every departure, of whatever profile.

    Raises:
        ConfigError: an entry has an unknown key, lacks one, or names a field that the config has not; or the file is
            damaged or another one.
    """
    there = {field.name for field in fields(Departure)}
    found = []
    with storage.reading(path, ConfigError, "restore it: git checkout departures.yaml"):
        for entry in yaml.safe_load(path.read_text(encoding="utf8")):
            wrong = sorted(set(entry) ^ there)
            if unknown := [key for key in wrong if key not in OPTIONAL]:
                raise ConfigError(f"{path}: departure {entry.get('setting')}: {some(unknown)}: unknown or lacking")
            tried = tuple(tuple(map(tuple, pair)) for pair in entry.get("tried", ()))
            one = Departure(**{**entry, "fields": tuple(entry["fields"]), "tried": tried})
            for name in one.fields:
                _value(PAPER, name)
            found.append(one)
    return tuple(found)


def departures(profile: Profile, every: tuple[Departure, ...] | None = None) -> list[Departure]:
    """Those of one profile, its own values in what is done here.

    Example:
        >>> from arlrepro.profiles import ISIC2017_256_IMAGENET
        >>> [one.setting for one in departures(ISIC2017_256_IMAGENET)][:2]
        ['pretrained weights', 'resolution of the images']
    """
    words = {name: _Words(profile, name) for name in ("networks", "start", *(one.name for one in fields(Experiment)))}
    found = []
    for one in read_departures() if every is None else every:
        if not one.fields or any(_value(profile, name) != _value(PAPER, name) for name in one.fields):
            found.append(Departure(**{**vars(one), "here": one.here.format(**words)}))
    return found


@dataclass(frozen=True)
class _Words:
    """A section of the config, or a word of the profile, as a format string reads it."""

    profile: Profile
    name: str

    def __getattr__(self, field: str) -> str:
        return _shown(_value(self.profile, f"{self.name}.{field}"))

    def __format__(self, spec: str) -> str:
        if self.name == "networks":
            return ", ".join(map(registry.network, self.profile.networks))
        if self.name == "start":
            return registry.start(self.profile.experiment.network.weights)
        return _shown(_value(self.profile, self.name))


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " to ".join(f"{one:g}" for one in (value[0], value[-1]))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _value(profile: Profile, name: str) -> Any:
    """A field of a profile's config; of `network.name` what its networks are without their attention."""
    if name == "network.name":
        return {registry.NETWORKS[network].plain for network in profile.networks}
    value: Any = profile.experiment
    for part in name.split("."):
        if not hasattr(value, part):
            raise ConfigError(f"{DEPARTURES_YAML}: no field {name!r} in the config")
        value = getattr(value, part)
    return value
