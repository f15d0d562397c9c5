"""The load on a library that blocks, from one thread.

One thread keeps as many messages outstanding as there are publishers. As many threads were
slower with huey and dramatiq, and no faster with Celery: they share the GIL, or a lock.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from benchmarks.peers.channel import TEXT, ReadEnd
from benchmarks.peers.load import PATIENCE, START, WARM_UP, Figures, Load

Send = Callable[[int, str], object]


def measure(load: Load, send: Send) -> Figures:
    """The figures of a function that sends a message and returns when it is stored."""
    publisher = _Publisher(load, send)
    publisher.send()
    publisher.drain(START)
    warm_up = publisher.open_batch(WARM_UP)
    times = publisher.closed_loop()
    return load.figures(times, publisher.open_batch(load.batch(warm_up, times)))


class _Publisher:
    def __init__(self, load: Load, send: Send) -> None:
        self._load = load
        self._send = send
        self._pipe = ReadEnd()
        self._numbers = itertools.count()
        self._sent: dict[int, float] = {}  # when, of the messages that are not done

    def send(self) -> None:
        number = next(self._numbers)
        self._sent[number] = time.perf_counter()
        self._send(number, TEXT)

    def collect(self) -> list[float]:
        """Seconds from send to done, of those that came back."""
        now = time.perf_counter()
        began = [self._sent.pop(number, None) for number in self._pipe.read()]
        return [now - at for at in began if at is not None]  # None: delivered twice

    def drain(self, seconds: float) -> None:
        end = time.perf_counter() + seconds
        while self._sent:
            left = end - time.perf_counter()
            if left <= 0:
                raise TimeoutError(f"{len(self._sent)} messages were not done in {seconds} s")
            self._pipe.wait(left)
            self.collect()

    def closed_loop(self) -> list[float]:
        times: list[float] = []
        end = time.perf_counter() + self._load.seconds
        while (now := time.perf_counter()) < end:
            if len(self._sent) < self._load.publishers:
                self.send()
            else:
                self._pipe.wait(end - now)
            times += self.collect()
        self.drain(PATIENCE)
        return times

    def open_batch(self, size: int) -> float:
        done = 0
        began, end = time.perf_counter(), self._load.batch_end()
        for _ in range(size):
            self.send()
            done += len(self.collect())
        while done < size and (now := time.perf_counter()) < end:
            self._pipe.wait(end - now)
            done += len(self.collect())
        took = time.perf_counter() - began
        self.drain(PATIENCE)
        return done / took
