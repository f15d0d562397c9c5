"""@motiadev/stream-client-browser, as npm has it, in Chromium: on the port of the streams and on HTTP's."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from attrs import define

from tests.support import Command, command, project

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHAT = Path(__file__).parents[2] / "examples/chat"
PACKAGE = "@motiadev/stream-client-browser"
BUILDS = ("0.2.2", "beta", "example")

# does what is asked for, in order
DO = """
config = {"name": "Do", "triggers": [{"type": "http", "method": "POST", "path": "/do"}]}

async def handler(req, ctx):
    for verb, *arguments in req.body:
        await getattr(ctx.streams.chat, verb)(*arguments)
    return {"status": 204}
"""

STREAM = """
config = {"name": "chat", "canAccess": lambda subscription, auth: subscription.group_id != "secret"}

def authenticate(handshake):
    return {} if handshake.token == "sesame" else False
"""

# gives the page, and the files of the packages as they are; of old, modules name others without .js
SERVE = """
from pathlib import Path

TYPES = {".js": "text/javascript", ".html": "text/html"}
config = {"name": "Serve", "triggers": [{"type": "http", "method": "GET", "path": "/files/*path"}]}

def handler(req, ctx):
    path = Path("/", req.path_params.path)
    path = path if path.suffix in TYPES else path.with_name(path.name + ".js")
    headers = {"content-type": TYPES[path.suffix]}
    return {"status": 200, "body": path.read_bytes(), "headers": headers}
"""

PAGE = """<!doctype html>
<script type="importmap">{"imports": IMPORTS}</script>
<script type="module">
  import { Stream } from 'client'
  window.told = {}
  window.open_ = (url, protocols) => { window.stream = new Stream(url, { protocols: protocols ?? undefined }) }
  window.follow = (as, group, id) => {
    told[as] = []
    const subscription =
      id === null ? stream.subscribeGroup('chat', group) : stream.subscribeItem('chat', group, id)
    subscription.addChangeListener((state) => told[as].push(structuredClone(state)))
    subscription.onEvent('e', (data) => told[as].push({ event: data }))
  }
  // of each change of a group: what is not as it was before
  window.followChanges = (as, group) => {
    told[as] = []
    let before = null
    stream.subscribeGroup('chat', group).addChangeListener((state) => {
      const now = new Map(state.map((item) => [item.id, item.n]))
      const keys = new Set([...(before?.keys() ?? []), ...now.keys()])
      const changed = [...keys].filter((key) => before?.get(key) !== now.get(key))
      told[as].push(changed.map((key) => [key, now.get(key) ?? null]))
      before = now
    })
  }
  window.ready = true
</script>
"""


def item(key: str, **data: Any) -> dict[str, Any]:
    return {**data, "id": key}


@define
class Opened:
    """A page with one of the builds, and the service that it is of."""

    service: Command
    page: Page

    def connect(self, url: str, protocols: list[str] | None = None) -> None:
        self.page.evaluate("([url, protocols]) => open_(url, protocols)", [url, protocols])

    def follow(self, as_: str, group: str, key: str | None = None) -> None:
        self.page.evaluate("([as, group, key]) => follow(as, group, key)", [as_, group, key])

    def told(self, as_: str, count: int) -> Any:
        """What a subscription was told, once it is so much."""
        wait = "([as, count]) => told[as].length >= count"
        self.page.wait_for_function(wait, arg=[as_, count], polling=20)
        return self.page.evaluate("as => told[as]", as_)

    def do(self, *calls: Any) -> None:
        answer = httpx.post(f"{self.service.url}/do", json=calls, timeout=60)
        assert answer.status_code == 204, answer.text


@pytest.fixture(params=BUILDS)
def build(request: pytest.FixtureRequest, packages: Path) -> dict[str, str]:
    """The import map with which a page has one of them."""
    if request.param == "example":
        return {"client": f"/files{CHAT}/page/stream-client.js"}
    modules = packages / "node_modules"
    client = modules / (PACKAGE if request.param == "0.2.2" else f"{PACKAGE}-beta")
    if request.param == "0.2.2":
        uuid = _found(client, "uuid") / "dist/esm-browser/index.js"
        return {"client": f"/files{client}/dist/index.js", "uuid": f"/files{uuid}"}
    return {
        "client": f"/files{client}/dist/index.js",
        "uuid": f"/files{_found(client, 'uuid')}/dist/index.js",
        "@motiadev/stream-client": f"/files{_found(client, '@motiadev/stream-client')}/dist/index.js",
    }


def _found(package: Path, name: str) -> Path:
    """Where a package has another from, as node and npm say it."""
    for folder in package.parents:
        for place in (package / "node_modules", folder):
            if place.name == "node_modules" and (place / name).is_dir():
                return place / name
    raise AssertionError(f"{name} is not installed")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {"do_step.py": DO, "serve_step.py": SERVE, "chat_stream.py": STREAM}
    return project(tmp_path, {f"steps/{name}": text for name, text in files.items()})


@contextmanager
def opened(chromium: Browser, root: Path, build: dict[str, str], *options: str) -> Iterator[Opened]:
    html = root / "page.html"
    html.write_text(PAGE.replace("IMPORTS", json.dumps(build)))
    with command(root, *options) as service:
        page = chromium.new_context().new_page()
        try:
            page.goto(f"{service.url}/files{html}")
            page.wait_for_function("window.ready")
            yield Opened(service, page)
        finally:
            page.context.close()


@pytest.mark.parametrize("port", ["streams", "http"])
def test_items_and_groups_are_followed(
    chromium: Browser, root: Path, build: dict[str, str], port: str
) -> None:
    with opened(chromium, root, build) as here:
        url = here.service.streams_url if port == "streams" else here.service.url
        here.connect(url.replace("http:", "ws:"))
        here.follow("all", "room")
        here.follow("a", "room", "a")
        here.follow("refused", "secret")
        assert (here.told("all", 1), here.told("a", 1)) == ([[]], [None])
        event = {"type": "e", "data": 1}
        here.do(
            ["set", "secret", "a", {"n": 0}],
            ["set", "room", "a", {"n": 1}],
            ["set", "room", "b", {"n": 2}],
            ["send", {"groupId": "room", "id": "a"}, event],
            ["send", {"groupId": "room"}, {"type": "e", "data": 2}],
            ["update", "room", "a", {"type": "increment", "path": "n"}],
            ["delete", "room", "a"],
        )
        assert here.told("a", 5) == [None, item("a", n=1), {"event": 1}, item("a", n=2), None]
        assert here.told("all", 7) == [
            [],
            [item("a", n=1)],
            [item("a", n=1), item("b", n=2)],
            {"event": 1},
            {"event": 2},
            [item("a", n=2), item("b", n=2)],
            [item("b", n=2)],
        ]
        assert here.told("refused", 0) == []


@pytest.mark.parametrize("build", ["0.2.2", "beta"], indirect=True)  # the example's is 0.2.2 again
def test_of_10_000_changes_none_is_missed_and_none_comes_twice(
    chromium: Browser, root: Path, build: dict[str, str]
) -> None:
    with opened(chromium, root, build, "--store", "memory:") as here:
        here.connect(here.service.streams_url)
        here.page.evaluate("followChanges('room', 'room')")
        here.told("room", 1)
        there: set[str] = set()
        wanted: list[Any] = [[]]
        for batch in range(0, 10_000, 500):
            calls: list[Any] = []
            for n in range(batch, batch + 500):
                key = str(n % 7)
                if n % 10 == 0 and key in there:
                    there.discard(key)
                    calls.append(["delete", "room", key])
                    wanted.append([[key, None]])
                else:
                    there.add(key)
                    calls.append(["set", "room", key, {"n": n}])
                    wanted.append([[key, n]])
            here.do(*calls)
            here.page.wait_for_function(f"told.room.length >= {len(wanted)}", polling=20)
        assert here.told("room", len(wanted)) == wanted


def test_a_page_rejoins_a_service_that_comes_back(
    chromium: Browser, root: Path, build: dict[str, str]
) -> None:
    with opened(chromium, root, build) as here:
        url = here.service.streams_url
        here.connect(url)
        here.do(["set", "room", "a", {"n": 1}])
        here.follow("all", "room")
        here.follow("a", "room", "a")
        assert here.told("all", 1) == [[item("a", n=1)]]
        assert here.told("a", 1) == [item("a", n=1)]
        here.service.stop()
        with command(root, "--stream-port", str(httpx.URL(url).port)) as again:
            assert again.streams_url == url
            here.service = again
            assert here.told("a", 2)[1:] == [item("a", n=1)]
            here.do(["set", "room", "a", {"n": 2}], ["set", "room", "b", {"n": 3}])
            assert here.told("a", 3)[2:] == [item("a", n=2)]
            two = [item("a", n=2), item("b", n=3)]
            assert here.told("all", 4)[1:] == [[item("a", n=1)], [item("a", n=2)], two]


AUTHENTICATE = """
[streams]
authenticate = "steps.chat_stream:authenticate"
"""


def test_a_token_is_taken_from_the_query_and_without_it_there_is_no_connection(
    chromium: Browser, root: Path, build: dict[str, str]
) -> None:
    root.joinpath("motia.toml").write_text(AUTHENTICATE)
    with opened(chromium, root, build) as here:
        url = here.service.streams_url
        here.connect(f"{url}/?authToken=wrong")
        here.follow("nobody", "room")
        here.connect(f"{url}/?authToken=sesame")
        here.follow("all", "room")
        assert here.told("all", 1) == [[]]
        here.do(["set", "room", "a", {"n": 1}])
        assert here.told("all", 2)[1:] == [[item("a", n=1)]]
        assert here.told("nobody", 0) == []


@pytest.mark.parametrize("build", ["beta"], indirect=True)  # 0.2.2 takes an address alone
def test_a_token_is_taken_as_a_sub_protocol(
    chromium: Browser, root: Path, build: dict[str, str]
) -> None:
    root.joinpath("motia.toml").write_text(AUTHENTICATE)
    with opened(chromium, root, build) as here:
        for url in (here.service.streams_url, here.service.url.replace("http:", "ws:")):
            here.connect(url, ["Authorization", "sesame"])
            here.follow(url, "room")
            assert here.told(url, 1) == [[]]


def test_the_client_in_the_example_is_what_its_page_says_how_to_build(
    packages: Path, tmp_path: Path
) -> None:
    """Of the very versions, by the command of the page: nothing in it was changed by hand."""
    text = CHAT.joinpath("README.md").read_text()
    found = re.search(r"^npx (esbuild .*?)\n```", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    for name, version in re.findall(r"([@/\w-]+)@([\d.]+)", text[: found.start()].splitlines()[-1]):
        folder = _found(packages / "node_modules" / PACKAGE, name.removeprefix("install "))
        assert json.loads((folder / "package.json").read_text())["version"] == version
    arguments = shlex.split(found[1].replace("\\\n", ""))
    made = tmp_path / "stream-client.js"
    arguments[arguments.index("--outfile=stream-client.js")] = f"--outfile={made}"
    program = packages / "node_modules/.bin" / arguments[0]
    subprocess.run([program, *arguments[1:]], cwd=packages, check=True, capture_output=True)
    assert made.read_text() == CHAT.joinpath("page/stream-client.js").read_text()
