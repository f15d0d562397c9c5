"""What the tests of the contract share: projects of step files, clients, and the time of day."""

from __future__ import annotations

import json
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest

from motia_trio import App, Service, open_runtime
from motia_trio.observe import LoggingObserver
from tests.contract.dialects import DIALECTS, Dialect
from tests.support import Notebook, project

# made once: reading the machine's certificates takes longer than most of these tests, which need none
TLS = ssl.create_default_context()

Serving: TypeAlias = Callable[..., AbstractAsyncContextManager[tuple[Service, httpx.AsyncClient]]]


@pytest.fixture(params=DIALECTS, ids=["first", "second", "third"])
def dialect(request: pytest.FixtureRequest) -> Dialect:
    """Each of the three dialects."""
    found: Dialect = request.param
    return found


class Project:
    """A folder of step files, whose code may call ``saw(value)`` with anything that is JSON."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._seen = root / "seen.jsonl"
        self._seen.touch()

    def app(self, *texts: str, streams: Sequence[str] = (), **settings: Any) -> App:
        """Write each text into a step file of its own, and a file for each stream, and load all."""
        prelude = (
            "import json as _json\n"
            f"def saw(value):\n    with open({str(self._seen)!r}, 'a') as file:\n"
            "        file.write(_json.dumps(value) + '\\n')\n"
        )
        files = {f"steps/{number:02}_step.py": prelude + text for number, text in enumerate(texts)}
        files.update(
            {f"steps/{name}_stream.py": f"config = {{'name': {name!r}}}\n" for name in streams}
        )
        project(self.root, files)
        return App.from_directory(self.root, **settings)

    @property
    def seen(self) -> list[Any]:
        """What was seen, in order."""
        return [json.loads(line) for line in self._seen.read_text().splitlines()]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project that has no files yet. What loading it adds to ``sys.path`` is taken away again."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    root = tmp_path / "project"
    root.mkdir()
    return Project(root)


@pytest.fixture
def notebook() -> Notebook:
    """An observer."""
    return Notebook()


@pytest.fixture
def served(notebook: Notebook) -> Serving:
    """Open a runtime with HTTP on a real socket, and a client for it."""

    @asynccontextmanager
    async def serving(
        app: App | Sequence[Any], **options: Any
    ) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
        app = app if isinstance(app, App) else App(app)
        async with (
            open_runtime(
                app, http="127.0.0.1:0", observers=[notebook, LoggingObserver()], **options
            ) as rt,
            httpx.AsyncClient(base_url=rt.http_url or "", verify=TLS) as client,
        ):
            yield rt, client

    return serving


@pytest.fixture
def in_process(notebook: Notebook) -> Serving:
    """As ``served``, without a socket: for what moves the clock."""

    @asynccontextmanager
    async def serving(
        app: App | Sequence[Any], **options: Any
    ) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
        app = app if isinstance(app, App) else App(app)
        async with open_runtime(app, observers=[notebook, LoggingObserver()], **options) as rt:
            transport = httpx.ASGITransport(rt.asgi)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                yield rt, client

    return serving


@pytest.fixture
def it_is(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], float]:
    """Set the system's wall clock: ``it_is("2026-03-29T00:00Z")``, from where MockClock goes on."""

    def set_clock(moment: str) -> float:
        wall = datetime.fromisoformat(moment).timestamp()
        monkeypatch.setattr(time, "time", lambda: wall)
        return wall

    return set_clock
