"""The errors a user of arlrepro can meet: each message says where, what, which and what to do."""

from collections.abc import Sequence


class ArlReproError(Exception):
    """Anything wrong with what the caller gave us; the command line prints it as one line."""


class DatasetError(ArlReproError):
    """The images, labels or masks on disk are not what the official layout says."""


class ConfigError(ArlReproError):
    """A profile, network, task or field that does not exist, or a value out of its range."""


class MetricError(ArlReproError):
    """A metric is not defined for the labels and scores it was given."""


class RunError(ArlReproError):
    """A run's folder is missing, incomplete, of another version, or its training went wrong."""


def printable(text: str, most: int | None = None) -> str:
    r"""Text as a message can show it: on one line, in characters that every terminal prints.

    Args:
        text: any.
        most: characters; of a longer text the middle is left out.

    Example:
        >>> printable("a\nb\udce4")
        'a\\nb\\udce4'
        >>> printable("0123456789", most=4)
        '01...89'
    """
    if most is not None and len(text) > most:
        text = f"{text[: most // 2]}...{text[-most // 2 :]}"
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def some(offenders: Sequence[object], most: int = 5) -> str:
    """List at most five offenders, each shortened, so that a message stays one readable line.

    Example:
        >>> some(["a", "b"])
        'a, b'
        >>> some(range(7))
        '0, 1, 2, 3, 4, ...'
    """
    shown = ", ".join(printable(str(offender), 500) for offender in offenders[:most])
    return shown + (", ..." if len(offenders) > most else "")


def check_known(what: str, name: object, known: tuple[object, ...]) -> None:
    """Refuse a name that is none of the known ones, which the message lists.

    Raises:
        ConfigError: it is not known.
    """
    if name not in known:
        raise ConfigError(f"unknown {what} {name!r}; known: {', '.join(map(str, known))}")
