"""The load on an asyncio library, from as many tasks as there are publishers."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence

from benchmarks.peers.channel import TEXT, ReadEnd
from benchmarks.peers.load import PATIENCE, START, WARM_UP, Figures, Load

Send = Callable[[int, str], Awaitable[object]]
SendMany = Callable[[Sequence[int], str], Awaitable[object]]

CHUNK = 100  # messages in one call, where a library can send many in one


async def measure(load: Load, send: Send, send_many: SendMany | None = None) -> Figures:
    """The figures of a coroutine function; the batches go through `send_many` if there is one."""
    publisher = _Publisher(load, send, send_many)
    asyncio.get_running_loop().add_reader(publisher.pipe.fd, publisher.wake)
    async with asyncio.timeout(START):
        await publisher.cycle()
    warm_up = await publisher.open_batch(WARM_UP)
    times = await publisher.closed_loop()
    return load.figures(times, await publisher.open_batch(load.batch(warm_up, times)))


class _Publisher:
    def __init__(self, load: Load, send: Send, send_many: SendMany | None) -> None:
        self._load = load
        self._send = send
        self._send_many = send_many
        self.pipe = ReadEnd()
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[float]] = {}

    def expect(self, number: int) -> asyncio.Future[float]:
        """When this message is done, to be awaited."""
        self._waiting[number] = future = asyncio.get_running_loop().create_future()
        return future

    def wake(self) -> None:
        """Read from the pipe."""
        now = time.perf_counter()
        for number in self.pipe.read():
            future = self._waiting.pop(number, None)
            if future is not None and not future.done():  # None: delivered twice
                future.set_result(now)

    async def cycle(self) -> float:
        """Send a message, and give the time when it is done."""
        number = next(self._numbers)
        done = self.expect(number)
        await self._send(number, TEXT)
        return await done

    async def closed_loop(self) -> list[float]:
        times: list[float] = []
        end = time.perf_counter() + self._load.seconds

        async def publisher() -> None:
            while (began := time.perf_counter()) < end:
                at = await self.cycle()
                if at < end:
                    times.append(at - began)

        await self._as_publishers(publisher, self._load.seconds + PATIENCE)
        return times

    async def open_batch(self, size: int) -> float:
        numbers = list(itertools.islice(self._numbers, size))
        expected = [self.expect(number) for number in numbers]
        step = CHUNK if self._send_many else 1
        chunks = iter([numbers[at : at + step] for at in range(0, size, step)])

        async def publisher() -> None:
            for chunk in chunks:
                if self._send_many:
                    await self._send_many(chunk, TEXT)
                else:
                    await self._send(chunk[0], TEXT)

        began, end = time.perf_counter(), self._load.batch_end()
        await self._as_publishers(publisher, end - began + PATIENCE)
        done, late = await asyncio.wait(expected, timeout=max(0.0, end - time.perf_counter()))
        took = time.perf_counter() - began
        if late:
            await asyncio.wait_for(asyncio.gather(*late), PATIENCE)
        return len(done) / took

    async def _as_publishers(
        self, publisher: Callable[[], Awaitable[None]], seconds: float
    ) -> None:
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(publisher() for _ in range(self._load.publishers)))
