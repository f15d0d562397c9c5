"""Starts the example as a user does, and walks through it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples.conversation import await_record
from tests.support import Command, command

KEY = {"x-api-key": "open sesame"}
ADA = {"name": "Ada", "email": "ada@example.org", "tags": ["maths"]}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Command]:
    """The service of a copy of the example, so that it begins without a store."""
    copy = tmp_path / "contacts"
    shutil.copytree(Path(__file__).parent, copy, ignore=shutil.ignore_patterns(".*", "test_*"))
    with command(copy, "--log-format", "json") as service:
        yield service


@pytest.fixture
def client(running: Command) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url) as client:
        yield client


def create(client: httpx.Client, **changed: Any) -> str:
    answer = client.post("/contacts", json={**ADA, **changed})
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/contacts/{answer.json()['id']}"
    return str(answer.json()["id"])


def test_a_contact_is_created_found_changed_and_deleted(client: httpx.Client) -> None:
    number = create(client)
    create(client, name="Bob", tags=[])
    found = client.get("/contacts", params={"text": "ad", "tag": "maths", "limit": 5}).json()
    assert (found["total"], found["contacts"][0]["id"]) == (1, number)
    place = f"/contacts/{number}"
    changed = client.patch(place, json={"name": "Ada L."}, headers=KEY).json()
    assert (changed["name"], changed["email"]) == ("Ada L.", "ada@example.org")
    other = {"name": "Eve", "email": "eve@example.org", "birthday": "1999-12-31"}
    assert client.put(place, json=other, headers=KEY).json()["birthday"] == "1999-12-31"
    assert client.get(place).json()["name"] == "Eve"
    gone = client.delete(place, headers=KEY)
    assert (gone.status_code, gone.content) == (204, b"")
    assert client.get(place).status_code == 404


def test_what_does_not_fit_is_told_whole(client: httpx.Client) -> None:
    answer = client.post("/contacts", json={"email": "ada", "tags": ["Maths"]})
    assert answer.status_code == 400
    assert [each["path"] for each in answer.json()["details"]] == ["name", "email", "tags[0]"]
    answer = client.get("/contacts", params={"limit": "many", "offset": -1})
    assert answer.status_code == 400
    assert [each["path"] for each in answer.json()["details"]] == ["limit", "offset"]


def test_nobody_changes_a_contact_without_the_key(client: httpx.Client) -> None:
    place = f"/contacts/{create(client)}"
    for key in ({}, {"x-api-key": "sesame"}):
        assert client.delete(place, headers=key).status_code == 401
        assert client.patch(place, json={"name": "Eve"}, headers=key).status_code == 401
    assert client.get(place).json()["name"] == "Ada"


def test_a_message_goes_to_those_who_want_messages(client: httpx.Client, running: Command) -> None:
    mail = {"by": "mail", "subject": "Hello"}
    shy = create(client, allows_messages=False)
    assert client.post(f"/contacts/{shy}/messages", json=mail).status_code == 422
    answer = client.post(f"/contacts/{create(client)}/messages", json=mail)
    assert answer.status_code == 202
    delivered = await_record(running, "delivered")
    assert delivered["fields"] == {"to": "ada@example.org", "by": "mail"}
    assert delivered["trace_id"] == answer.headers["x-trace-id"]


def test_pinned_notes_come_first(client: httpx.Client) -> None:
    place = f"/contacts/{create(client)}/notes"
    assert client.get(place).json() == []
    for note in ({"text": "Likes tea"}, {"text": "Allergic to cats", "pinned": True}):
        assert client.post(place, json=note).status_code == 201
    assert [note["text"] for note in client.get(place).json()] == ["Allergic to cats", "Likes tea"]


def test_the_newsletter_takes_a_form(client: httpx.Client) -> None:
    answer = client.post("/newsletter", data={"email": "ada@example.org", "every": "day"})
    assert answer.text == "<p>Every day to ada@example.org</p>"
    assert client.post("/newsletter", data={"email": "ada"}).status_code == 400


def test_the_document_is_served(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert sum(len(item) for item in document["paths"].values()) == 10
