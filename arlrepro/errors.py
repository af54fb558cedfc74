"""The errors a user of arlrepro can meet: each message says where, what, which and what to do."""

import errno
import reprlib
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


class OutputError(ArlReproError):
    """A place that results belong in cannot be written."""


#: What to do about an error of the operating system, by its number.
REMEDIES = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room within the quota",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f)",
    errno.EACCES: "give yourself the right to it, or name another folder",
    errno.EPERM: "give yourself the right to it, or name another folder",
    errno.EROFS: "it lies on a read-only disk: name another folder",
    errno.ENOENT: "it is gone, or was never there: make its folder, or name another",
    errno.ENOTDIR: "a part of its path is a file: name another folder",
    errno.EISDIR: "a folder of that name is in the way: name another file",
    errno.EEXIST: "a file of that name is in the way: name another folder",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.EIO: "the disk has a fault: look at it before going on",
}


def said(error: OSError, where: object = None, fault: str = "") -> str:
    """An error of the operating system as one line: where, what, and what to do.

    Args:
        error: of the system.
        where: the file or folder; by default the one that the error names.
        fault: what could not be done, such as "cannot be written".

    Example:
        >>> said(PermissionError(errno.EACCES, "Permission denied", "results/x"))
        'results/x: Permission denied; give yourself the right to it, or name another folder'
        >>> said(OSError(errno.ENOSPC, "No space left on device"), "runs", "cannot be written")
        'runs: cannot be written (No space left on device); make room on the disk'
    """
    where, reason = error.filename if where is None else where, error.strerror or error
    remedy = REMEDIES.get(error.errno or 0, "look at the disk and the rights of its folder")
    return f"{'' if where is None else f'{where}: '}{f'{fault} ({reason})' if fault else reason}; {remedy}"


def short(value: object) -> str:
    """A value as Python writes it, cut to a length that leaves a message one readable line.

    Example:
        >>> short("a" * 250_000)
        "'aaaaaaaaaaaaaaaaaaaa...aaaaaaaaaaaaaaaaaaaaa'"
    """
    return _SHORT.repr(value)


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 46


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
        raise ConfigError(f"unknown {what} {short(name)}; known: {', '.join(map(str, known))}")
