"""Walks through the example's page as its reader would; then a browser, with two windows."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from examples.walkthrough import Walk, blocks, commands
from tests.stream_clients.chromium import open_chromium
from tests.support import Command, child, command

README = Path(__file__).with_name("README.md")
SOON = 1_000  # ms


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the example, so that it begins without a store."""
    copy = tmp_path / "examples" / "chat"
    ignored = shutil.ignore_patterns(".*", "test_*", "__pycache__")
    shutil.copytree(README.parent, copy, ignore=ignored)
    return copy


@pytest.fixture
def running(project: Path) -> Iterator[Command]:
    with command(project) as service:
        yield service


@pytest.fixture
def client(running: Command) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url) as client:
        yield client


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


class Window:
    """A browser window in which somebody chats. ``problems``: what the browser complained of."""

    def __init__(self, chromium: Browser, url: str, name: str) -> None:
        self.problems: list[str] = []
        self.page: Page = chromium.new_context().new_page()
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.goto(url)
        self.page.get_by_label("Your name").fill(name)
        self.page.keyboard.press("Enter")
        expect(self.page.get_by_role("list", name="People")).to_contain_text(name)

    def write(self, text: str) -> None:
        """Type, as a person does."""
        self.field.press_sequentially(text)

    def say(self, text: str) -> None:
        self.write(text)
        self.field.press("Enter")

    @property
    def field(self) -> Any:
        return self.page.get_by_role("textbox", name="Message")

    def sees(self, *texts: str, within: float = 10_000) -> None:
        """Wait until these messages are shown, and no others."""
        shown = self.page.get_by_role("log").locator(".text")
        expect(shown).to_have_text([*texts], timeout=within)

    def sees_people(self, *names: str) -> None:
        people = self.page.get_by_role("list", name="People").get_by_role("listitem")
        expect(people).to_have_text([*names])
        expect(self.page.get_by_role("heading", name=f"Here: {len(names)}")).to_be_visible()

    def sees_typing(self, words: str) -> None:
        expect(self.page.get_by_label("Who is typing")).to_have_text(words)

    def close(self) -> None:
        self.page.context.close()


@pytest.fixture
def windows(chromium: Browser, running: Command) -> Iterator[tuple[Window, Window]]:
    ada, bob = (Window(chromium, running.url, name) for name in ("Ada", "Bob"))
    yield ada, bob
    ada.close()
    bob.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page speaks with curl")
@pytest.mark.usefixtures("project")
def test_every_command_of_the_page_does_what_the_page_shows(tmp_path: Path) -> None:
    with Walk.begin(tmp_path) as walk:
        for language, block in blocks(README):
            if language == "text":
                walk.log(block)
            elif language == "console":
                for line, shown in commands(block):
                    walk.console(line, shown)
        assert walk.stop() == 0


def test_what_one_says_the_other_sees_within_a_second(windows: tuple[Window, Window]) -> None:
    ada, bob = windows
    ada.say("Hello there")
    bob.sees("Hello there", within=SOON)
    bob.say("<b>Hello</b> yourself")
    for window in windows:
        window.sees("Hello there", "<b>Hello</b> yourself", within=SOON)
        assert window.problems == []
    expect(ada.field).to_have_value("")
    expect(ada.field).to_be_focused()  # whoever has no mouse goes on


def test_who_types_is_shown_to_the_other_until_it_is_said(windows: tuple[Window, Window]) -> None:
    ada, bob = windows
    ada.write("Let me think")
    bob.sees_typing("Ada is typing …")
    ada.sees_typing("")
    ada.field.press("Enter")
    bob.sees("Let me think")
    bob.sees_typing("")
    ada.write("And so")
    bob.sees_typing("Ada is typing …")
    bob.sees_typing("")  # she has stopped for a while


def test_who_closes_the_window_is_not_there_any_more(windows: tuple[Window, Window]) -> None:
    ada, bob = windows
    ada.sees_people("Ada", "Bob")
    bob.sees_people("Ada", "Bob")
    bob.page.close()
    ada.sees_people("Ada")


def test_a_reload_keeps_the_name_and_what_was_said(windows: tuple[Window, Window]) -> None:
    ada, bob = windows
    ada.say("one")
    bob.say("two")
    ada.sees("one", "two")
    ada.page.reload()
    ada.sees("one", "two")
    bob.sees_people("Ada", "Bob")
    ada.say("three")
    bob.sees("one", "two", "three", within=SOON)


def test_each_room_has_its_own_messages_and_people(windows: tuple[Window, Window]) -> None:
    ada, bob = windows
    ada.say("in the lobby")
    bob.sees("in the lobby")
    bob.page.get_by_role("link", name="garden").click()
    bob.sees()
    bob.sees_people("Bob")
    ada.sees_people("Ada")
    bob.say("in the garden")
    bob.sees("in the garden")
    bob.page.go_back()
    bob.sees("in the lobby")
    ada.sees("in the lobby")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_both_go_on_when_the_service_comes_back(chromium: Browser, project: Path, end: int) -> None:
    with command(project) as first:
        ada, bob, eve = (Window(chromium, first.url, name) for name in ("Ada", "Bob", "Eve"))
        ada.say("before")
        bob.sees("before")
        expect(ada.field).to_have_value("")  # it was answered, too
        first.stop(end)
    lost = ada.page.get_by_text("The connection is lost")
    expect(lost).to_be_visible()
    ada.say("nobody is there")
    expect(ada.page.get_by_role("alert")).to_contain_text("This was not sent")
    eve.close()  # whom nobody has seen leave, if the service was killed
    port = httpx.URL(first.url).port
    with command(project, "--port", str(port)) as second:
        assert second.url == first.url
        expect(lost).to_be_hidden()
        for window in (ada, bob):
            window.sees_people("Ada", "Bob")
            window.sees("before")
        ada.page.get_by_role("button", name="Send").click()
        bob.sees("before", "nobody is there", within=SOON)
        bob.say("after")
        ada.sees("before", "nobody is there", "after", within=SOON)
    ada.close()
    bob.close()


def test_a_message_that_is_posted_twice_is_one(client: httpx.Client) -> None:
    message = {"id": "0" * 32, "name": "Ada", "text": " Hello "}
    first = client.post("/rooms/lobby/messages", json=message)
    again = client.post("/rooms/lobby/messages", json={**message, "name": "Eve", "text": "Mine"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json() == {"id": "0" * 32}
    room = client.get("/rooms/lobby").json()
    assert (room["here"], len(room["messages"])) == (0, 1)
    assert {**room["messages"][0], "at": ""} == {"name": "Ada", "text": "Hello", "at": ""}


def test_what_does_not_fit_is_refused(client: httpx.Client) -> None:
    for body in ({"name": "Ada", "text": "  "}, {"name": "", "text": "Hello"}, {"text": "Hello"}):
        assert client.post("/rooms/lobby/messages", json=body).status_code == 400
    for room in ("Lobby", "a" * 41, "%2e%2e"):
        assert client.post(f"/rooms/{room}/typing", json={"name": "Ada"}).status_code == 404
        assert client.get(f"/rooms/{room}").status_code == 404
    for file in ("nothing.js", "..%2fchat.py", "%2e%2e%2fchat.py"):
        assert client.get(f"/page/{file}").status_code == 404


def test_of_a_room_the_newest_200_messages_stay(client: httpx.Client) -> None:
    for number in range(205):
        client.post("/rooms/lobby/messages", json={"name": "Ada", "text": str(number)})
    kept = [message["text"] for message in client.get("/rooms/lobby").json()["messages"]]
    assert kept == [str(number) for number in range(5, 205)]


@pytest.mark.parametrize("query", ["", "?name=", "?name=a&name=b", f"?name={'a' * 41}"])
def test_nobody_listens_without_a_name(client: httpx.Client, query: str) -> None:
    handshake = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "MDEyMzQ1Njc4OWFiY2RlZg==",
    }
    assert client.get(f"/{query}", headers=handshake).status_code == 401


def test_a_room_is_heard_in_a_terminal_until_ctrl_c(
    client: httpx.Client, running: Command, project: Path
) -> None:
    client.post("/rooms/garden/messages", json={"name": "Ada", "text": "before"})
    with child(project / "listen.py", "garden", running.streams_url) as listening:
        assert listening.stdout is not None
        assert listening.stdout.readline() == "Ada: before\n"
        client.post("/rooms/lobby/messages", json={"name": "Bob", "text": "elsewhere"})
        client.post("/rooms/garden/messages", json={"name": "Bob", "text": "now"})
        assert listening.stdout.readline() == "Bob: now\n"
        assert client.get("/rooms/garden").json()["here"] == 1
        listening.send_signal(signal.SIGINT)
        assert listening.communicate(timeout=20) == ("", "")
        assert listening.returncode == 0
