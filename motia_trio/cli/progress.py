"""One line on stderr about what takes longer than a second."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["progress"]

# seconds: until the first word, between two on a terminal, and between two elsewhere
FIRST, NEXT, NEXT_ELSEWHERE = 1.0, 0.5, 30.0
_WIDTH = 79


@contextmanager
def progress(tell: Callable[[], str]) -> Iterator[None]:
    """Say what ``tell`` says, and for how long it has been so, while the block runs.

    A terminal has one line that changes and is gone at the end; a file gets a line now and then.
    """
    done = threading.Event()
    began = time.monotonic()
    alive = sys.stderr.isatty()
    spoke = False

    def speak() -> None:
        nonlocal spoke
        wait = FIRST
        while not done.wait(wait):
            spoke = True
            line = f"{tell()} ({time.monotonic() - began:.0f} s)"
            sys.stderr.write(f"\r{line[:_WIDTH]:<{_WIDTH}}" if alive else f"{line}\n")
            sys.stderr.flush()
            wait = NEXT if alive else NEXT_ELSEWHERE

    thread = threading.Thread(target=speak, name="motia_trio progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        if spoke and alive:
            sys.stderr.write(f"\r{'':<{_WIDTH}}\r")
            sys.stderr.flush()
