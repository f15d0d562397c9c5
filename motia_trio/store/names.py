"""What groups, keys and streams may be called."""

from __future__ import annotations

__all__ = ["LONGEST_NAME", "check_name", "is_stream"]

# bytes in UTF-8
LONGEST_NAME = 512


def check_name(what: str, name: object) -> str:
    """Give ``name`` if it may be the name of a group, a key or a stream.

    Raises:
        ValueError: it is no string, is empty, has more than 512 bytes, or is not writable as UTF-8.
    """
    if isinstance(name, str) and name.isascii() and 0 < len(name) <= LONGEST_NAME:
        return name
    if not isinstance(name, str) or not name:
        raise ValueError(f"{what} is a non-empty string, not {name!r:.80}")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{what} must be writable as UTF-8: {name!r:.80}") from None
    if size > LONGEST_NAME:
        raise ValueError(f"{what} has {size} bytes, over the limit of {LONGEST_NAME}: {name!r:.80}")
    return name


def is_stream(space: str) -> bool:
    """Tell whether a space is a stream: neither the state nor one of the runtime's, ``(…)``."""
    return space != "" and space[0] != "("
