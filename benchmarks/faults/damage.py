"""How the bytes of a file are damaged, and when that is survived."""

import random
from collections.abc import Callable
from typing import Any

from arlrepro.errors import ArlReproError

#: Damages a file's bytes.
Damage = Callable[[bytes, random.Random], bytes]


def flipped(whole: bytes, draw: random.Random) -> bytes:
    """One bit that changed."""
    place, damaged = draw.randrange(len(whole)), bytearray(whole)
    damaged[place] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def cut(whole: bytes, draw: random.Random) -> bytes:
    """The end is missing."""
    return whole[: draw.randrange(len(whole))]


def foreign(whole: bytes, draw: random.Random) -> bytes:
    """Another file of that name."""
    return draw.choice(
        [b"", b"thesis, chapter 1", b"[" * 100_000, b"\x89PNG\r\n\xff\xfe", bytes(len(whole)), b"{}", b"a,b\n1\n"]
    )


def survives(read: Callable[[], Any], same: Callable[[Any], bool]) -> bool:
    """Whether what is read is right, or an error of the library in one line."""
    try:
        return same(read())
    except ArlReproError as error:
        return "\n" not in str(error)
    except Exception:
        return False
