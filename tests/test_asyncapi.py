"""The AsyncAPI document of an app, checked by AsyncAPI's own schema."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from motia_trio import App, LoadFailed, cron, http, queue, state, step, stream
from motia_trio.asyncapi import asyncapi_document

ROOT = Path(__file__).parents[1]
OF_ASYNCAPI = jsonschema_rs.validator_for(
    json.loads((ROOT / "tests/asyncapi_schema/3.0.0.json").read_text("utf-8"))
)


class Address(BaseModel):
    street: str


class Order(BaseModel):
    id: int
    to: Address


class Tree(BaseModel):
    parts: list[Tree] = []


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


PAIR = {
    "type": "object",
    "properties": {
        "pair": {"type": "array", "prefixItems": [{"type": "string"}], "items": False},
        "short": {"$ref": "#/properties/text", "maxLength": 3},
        "text": {"type": "string"},
    },
    "dependentRequired": {"pair": ["text"]},
    "dependentSchemas": {"short": {"required": ["pair"]}},
}
KINDS = [
    Order,
    Tree,
    Annotated[Cat | Dog, Field(discriminator="kind")],
    list[Order],
    tuple[int, str],
    PAIR,
    {},
    dict[str, Any],
    str | None,
]


async def handler(input: Any) -> None: ...


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [each for item in value.values() for each in references(item)]
    return [each for item in value for each in references(item)] if isinstance(value, list) else []


def validate(document: dict[str, Any]) -> None:
    """It is AsyncAPI, and all that it refers to is in it."""
    OF_ASYNCAPI.validate(document)
    for reference in references(document):
        at: Any = document
        assert reference.startswith("#/")
        for part in reference[2:].split("/"):
            at = at[part]
    for channel in document["channels"].values():
        for message in channel["messages"].values():
            fits(document, message.get("payload", True))


def fits(document: dict[str, Any], payload: Any) -> Any:
    """What a payload's schema says."""
    schema = {"components": document["components"], "allOf": [payload]}
    return jsonschema_rs.Draft7Validator(schema).is_valid


def payload_of(document: dict[str, Any], topic: str) -> Any:
    (message,) = document["channels"][topic]["messages"].values()
    return message["payload"]


def document_of(*steps: Any) -> dict[str, Any]:
    document = asyncapi_document(App(steps, root="/srv/shop"))
    validate(document)
    return document


def test_an_app_without_topics_has_a_valid_document() -> None:
    document = document_of(step(http("GET", "/"), cron("0 0 * * *"), name="S")(handler))
    assert document["asyncapi"] == "3.0.0"
    assert document["info"] == {"title": "shop", "version": "1.0.0"}
    assert (document["channels"], document["operations"]) == ({}, {})


def test_who_listens_to_a_topic_receives_and_who_lists_it_sends() -> None:
    document = document_of(
        step(
            http("POST", "/orders"),
            name="PlaceOrder",
            enqueues=[{"topic": "order.placed", "label": "A new order", "conditional": True}],
            flows=["orders"],
        )(handler),
        step(queue("order.placed", input=Order), name="ship order", flows=["orders"])(handler),
    )
    (channel,) = document["channels"].values()
    assert (channel["address"], list(channel["messages"])) == ("order.placed", ["order.placed"])
    assert payload_of(document, "order.placed") == {"$ref": "#/components/schemas/Order"}
    sends = document["operations"]["PlaceOrder_send_order.placed"]
    receives = document["operations"]["ship_order_receive_order.placed"]
    assert (sends["action"], receives["action"]) == ("send", "receive")
    assert sends["channel"] == receives["channel"] == {"$ref": "#/channels/order.placed"}
    assert sends["description"] == "A new order Not every time."
    assert (receives["title"], receives["summary"]) == ("ship order", "Ship order")
    assert receives["tags"] == document["info"]["tags"] == [{"name": "orders"}]


def test_a_message_has_to_fit_every_step_that_gets_it() -> None:
    document = document_of(
        step(queue("t", input=Order), name="A")(handler),
        step(queue("t", input=Order), queue("t"), name="B")(handler),
        step(queue("t", input={"required": ["paid"]}), name="C")(handler),
    )
    payload = payload_of(document, "t")
    assert payload == {"allOf": [{"$ref": "#/components/schemas/Order"}, {"required": ["paid"]}]}
    check = fits(document, payload)
    order = {"id": 1, "to": {"street": "Main"}}
    assert check({**order, "paid": True})
    assert not check(order)
    assert not check({"paid": True})
    assert len(document["operations"]) == 4


def test_of_several_triggers_of_one_step_a_message_has_to_fit_one() -> None:
    document = document_of(step(queue("t", input=Order), queue("t", input=Tree), name="A")(handler))
    check = fits(document, payload_of(document, "t"))
    assert check({"id": 1, "to": {"street": "Main"}})
    assert check({"parts": []})
    assert not check({"id": 1, "parts": 1})


def test_a_topic_without_a_schema_takes_anything() -> None:
    document = document_of(step(queue("t"), name="A")(handler))
    assert "payload" not in document["channels"]["t"]["messages"]["t"]


def test_state_and_streams_are_channels_with_what_their_steps_are_told() -> None:
    document = document_of(
        step(state(group_id="stock", key="kettle"), stream("chat", group_id="lobby"), name="A")(
            handler
        ),
        step(state(), stream("chat"), stream("notes/1"), name="B")(handler),
    )
    assert {key: each["address"] for key, each in document["channels"].items()} == {
        "state": "state/{groupId}/{key}",
        "chat": "streams/chat/{groupId}/{itemId}",
        "notes_1": "streams/notes%2F1/{groupId}/{itemId}",
    }
    change = {
        "type": "state",
        "group_id": "stock",
        "item_id": "k",
        "old_value": None,
        "new_value": 1,
    }
    assert fits(document, payload_of(document, "state"))(change)
    event = {"type": "create", "data": {"text": "hello"}}
    told = {"type": "stream", "timestamp": 1, "stream_name": "chat", "group_id": "g", "id": "1"}
    assert fits(document, payload_of(document, "chat"))({**told, "event": event})
    assert not fits(document, payload_of(document, "chat"))(told)
    operations = document["operations"]
    assert operations["A_receive_state"]["description"] == "Only of group `stock` and key `kettle`."
    assert operations["A_receive_chat"]["description"] == "Only of group `lobby`."
    assert "description" not in operations["B_receive_chat"]


def test_a_declared_stream_is_a_channel_with_its_items_schema() -> None:
    schema = {"type": "object", "required": ["text"]}
    app = App(streams=[{"name": "chat", "schema": schema}, {"name": "notes"}])
    document = asyncapi_document(app)
    validate(document)
    assert set(document["channels"]) == {"chat", "notes"}
    told = {"type": "stream", "timestamp": 1, "stream_name": "chat", "group_id": "g", "id": "1"}
    for data, fit in (({"text": "hello"}, True), ({}, False)):
        event = {"type": "create", "data": data}
        assert fits(document, payload_of(document, "chat"))({**told, "event": event}) is fit
        assert fits(document, payload_of(document, "notes"))({**told, "event": event})


@pytest.mark.parametrize(
    ("key", "data", "fit"),
    [
        ("1", {"type": "typing", "data": {"by": "ann"}}, True),
        (None, {"type": "typing", "data": None}, True),
        (1, {"type": "typing", "data": None}, False),
        (None, {"text": "an item"}, False),
    ],
)
def test_what_is_sent_to_a_stream_is_in_its_channel_too(key: Any, data: Any, fit: bool) -> None:  # noqa: FBT001
    schema = {"type": "object", "required": ["text"]}
    document = asyncapi_document(App(streams=[{"name": "chat", "schema": schema}]))
    validate(document)
    told = {"type": "stream", "timestamp": 1, "stream_name": "chat", "group_id": "g", "id": key}
    event = {"type": "event", "data": data}
    assert fits(document, payload_of(document, "chat"))({**told, "event": event}) is fit


def test_topics_that_make_one_id_are_told_apart() -> None:
    document = document_of(
        step(queue("a b"), queue("a/b"), queue("a_b"), stream("a_b"), name="S")(handler)
    )
    addresses = {key: each["address"] for key, each in document["channels"].items()}
    assert addresses == {
        "a_b": "a b", "a_b_2": "a/b", "a_b_3": "a_b",
        "a_b_4": "streams/a_b/{groupId}/{itemId}",
    }  # fmt: skip


def test_a_topic_with_braces_has_no_address_that_could_be_written() -> None:
    document = document_of(step(queue("{a}"), name="S")(handler))
    (channel,) = document["channels"].values()
    assert (channel["address"], channel["title"]) == (None, "{a}")


@pytest.mark.parametrize("index", range(len(KINDS)))
def test_a_document_with_a_schema_of_each_kind_is_valid(index: int) -> None:
    document_of(step(queue("t", input=KINDS[index]), name="S")(handler))


values = st.fixed_dictionaries(
    {},
    optional={
        "pair": st.lists(st.sampled_from(["a", 1]), max_size=2),
        "short": st.sampled_from(["abc", "abcd", 1]),
        "text": st.sampled_from(["abcd", 1]),
    },
)


@given(values)
def test_a_schema_means_in_draft_07_what_it_meant(value: dict[str, Any]) -> None:
    document = asyncapi_document(App([step(queue("t", input=PAIR), name="S")(handler)]))
    meant = jsonschema_rs.Draft202012Validator(PAIR).is_valid(value)
    assert fits(document, payload_of(document, "t"))(value) == meant


def test_a_document_is_json_the_same_every_time_and_the_callers_to_change() -> None:
    steps = [
        step(queue(f"t{n}", input=kind), state(), stream("s"), name=f"S{n}")(handler)
        for n, kind in enumerate(KINDS)
    ]
    app = App(steps)
    first, text = asyncapi_document(app), json.dumps(asyncapi_document(app))
    assert json.dumps(first) == text
    payload_of(first, "state").clear()
    payload_of(first, "s")["properties"].clear()
    assert json.dumps(asyncapi_document(app)) == text


def test_three_hundred_steps_take_well_under_a_second() -> None:
    app = App([step(queue(f"t{n}", input=Order), name=f"S{n}", enqueues=f"t{n + 1}")(handler) for n in range(300)])  # fmt: skip
    began = time.process_time()
    asyncapi_document(app)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "folder", sorted(path.parent.name for path in ROOT.glob("examples/*/steps"))
)
def test_the_documents_of_the_examples_are_valid(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    document = asyncapi_document(App.from_directory(ROOT / "examples" / folder))
    validate(document)


def test_the_document_of_the_steps_in_motias_documents_is_valid(tmp_path: Path) -> None:
    (tmp_path / "steps").mkdir()
    for path in sorted((ROOT / "tests/documents").glob("*_step.py")):
        shutil.copy(path, tmp_path / "steps")
        try:
            App.from_directory(tmp_path)
        except LoadFailed:  # some are there twice, some lack their handlers
            (tmp_path / "steps" / path.name).unlink()
    document = asyncapi_document(App.from_directory(tmp_path))
    validate(document)
    assert "message.sent" in {each["address"] for each in document["channels"].values()}
