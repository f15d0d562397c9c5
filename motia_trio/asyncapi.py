"""The topics and streams of an app as an AsyncAPI 3.0 document. Pure.

Source: the AsyncAPI Specification 3.0.0. Its schemas are of JSON Schema draft 07.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from attrs import define, field

from motia_trio.api_docs import (
    Schemas,
    describe,
    identifier,
    info_of,
    tags_of,
    to_draft_07,
    unique,
)
from motia_trio.steps import QueueTrigger, StateTrigger, StreamTrigger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from motia_trio.api_docs import Node
    from motia_trio.app import App
    from motia_trio.steps import Publication, Step, StreamDeclaration
    from motia_trio.steps.schemas import Schema

__all__ = ["asyncapi_document"]

_ANY_OR_NOTHING = {"description": "A value, or null where there is none."}
# motia-contract §6 and §7: what the steps are told that follow changes
_STATE_CHANGE = {
    "type": "object",
    "required": ["type", "group_id", "item_id", "old_value", "new_value"],
    "properties": {
        "type": {"const": "state"},
        "group_id": {"type": "string"},
        "item_id": {"type": "string"},
        "old_value": _ANY_OR_NOTHING,
        "new_value": _ANY_OR_NOTHING,
    },
}
_SENT: dict[str, Any] = {
    "description": "What was sent to the stream, and is not kept.",
    "type": "object",
    "required": ["type", "data"],
    "properties": {
        "type": {"const": "event"},
        "data": {
            "type": "object",
            "required": ["type", "data"],
            "properties": {"type": {"type": "string"}, "data": {}},
        },
    },
}


def _stream_change(item: Node) -> dict[str, Any]:
    """What a step is told of a change of an item, and of an event."""
    change = {
        "type": "object",
        "required": ["type", "data"],
        "properties": {"type": {"enum": ["create", "update", "delete"]}, "data": item},
    }
    return {
        "type": "object",
        "required": ["type", "timestamp", "stream_name", "group_id", "id", "event"],
        "properties": {
            "type": {"const": "stream"},
            "timestamp": {"description": "Milliseconds since 1970.", "type": "integer"},
            "stream_name": {"type": "string"},
            "group_id": {"type": "string"},
            "id": {
                "description": "Null for an event to a whole group.",
                "type": ["string", "null"],
            },
            "event": {"oneOf": [change, _SENT]},
        },
    }


def asyncapi_document(
    app: App, *, title: str | None = None, version: str = "1.0.0"
) -> dict[str, Any]:
    """Give the AsyncAPI 3.0 document of an app's topics, streams and state: a dict that is JSON.

    A channel is a topic, a stream, or the state; an operation is that a step receives from it or
    sends to it. The same app gives the same document. ``title`` is the project's folder if not
    given, ``version`` is of the project's interface.
    """
    document = _Document(app.streams)
    for step in app.steps:
        document.listens(step)
        for publication in step.publications:
            document.publishes(step, publication)
    for name in app.streams:
        document.stream(name)
    tags = tags_of(flow for step in app.steps for flow in step.flows)
    made = {
        "asyncapi": "3.0.0",
        "info": {**info_of(app, title, version), **({"tags": tags} if tags else {})},
        "defaultContentType": "application/json",
        "channels": document.channels(),
        "operations": document.operations,
        "components": {"schemas": document.schemas()},
    }
    return deepcopy(made)  # the caller's to change


@define
class _Channel:
    """A channel: what is said of it, and the schemas that its one message has to fit."""

    key: str
    about: dict[str, Any]
    message: str
    payloads: list[Node] = field(factory=list)

    def as_object(self) -> dict[str, Any]:
        message: dict[str, Any] = {"name": self.message}
        if self.payloads:
            one = len(self.payloads) == 1
            message["payload"] = self.payloads[0] if one else {"allOf": self.payloads}
        return {**self.about, "messages": {identifier(self.message): message}}

    def references(self) -> dict[str, Any]:
        place = f"#/channels/{self.key}"
        message = {"$ref": f"{place}/messages/{identifier(self.message)}"}
        return {"channel": {"$ref": place}, "messages": [message]}


class _Document:
    """What is gathered while the steps are gone through."""

    def __init__(self, streams: Mapping[str, StreamDeclaration]) -> None:
        self._streams = streams
        self.operations: dict[str, dict[str, Any]] = {}
        self._channels: dict[tuple[str, str], _Channel] = {}
        self._keys: set[str] = set()
        self._schemas = Schemas()

    def channels(self) -> dict[str, Any]:
        return {channel.key: channel.as_object() for channel in self._channels.values()}

    def schemas(self) -> dict[str, Any]:
        placed = self._schemas.components
        return {
            name: to_draft_07(schema) if isinstance(schema, dict) else schema
            for name, schema in placed.items()
        }

    def listens(self, step: Step) -> None:
        """Note what a step listens to; a time or a request is no channel."""
        for trigger in step.triggers:
            if isinstance(trigger, QueueTrigger):
                self._add(step, "receive", self._topic(trigger.topic), "")
            elif isinstance(trigger, StateTrigger):
                words = _filters(group=trigger.group_id, key=trigger.key)
                self._add(step, "receive", self._state(), words)
            elif isinstance(trigger, StreamTrigger):
                words = _filters(group=trigger.group_id, item=trigger.item_id)
                self._add(step, "receive", self.stream(trigger.stream_name), words)
        queues = [each for each in step.triggers if isinstance(each, QueueTrigger)]
        for topic in dict.fromkeys(each.topic for each in queues):
            accepted = [each.input_schema for each in queues if each.topic == topic]
            self._take(step, topic, accepted)

    def _take(self, step: Step, topic: str, accepted: list[Schema | None]) -> None:
        """Note what a step takes from a topic: what fits one of its triggers."""
        payloads: list[Node] = []
        for schema in accepted:
            if schema is None:
                return
            placed = self._schemas.add(schema.json_schema, f"{identifier(step.name)}Input")
            if (payload := to_draft_07(placed)) not in payloads:
                payloads.append(payload)
        payload = payloads[0] if len(payloads) == 1 else {"anyOf": payloads}
        channel = self._topic(topic)
        if payload not in channel.payloads:  # a message has to fit every step that gets it
            channel.payloads.append(payload)

    def publishes(self, step: Step, publication: Publication) -> None:
        """Note that a step says it publishes to a topic."""
        words = [publication.label or "", "Not every time." if publication.conditional else ""]
        self._add(step, "send", self._topic(publication.topic), " ".join(filter(None, words)))

    def _add(self, step: Step, action: str, channel: _Channel, words: str) -> None:
        key = unique(f"{identifier(step.name)}_{action}_{channel.key}", self.operations)
        about = describe(step)
        if words:
            about["description"] = "\n\n".join(filter(None, (about.get("description"), words)))
        self.operations[key] = {
            "action": action,
            "title": step.name,
            **about,
            **({"tags": tags_of(step.flows)} if step.flows else {}),
            **channel.references(),
        }

    def _topic(self, topic: str) -> _Channel:
        # braces in an address are parameters; there is no way to write others
        known = None if "{" in topic or "}" in topic else topic
        return self._channel("topic", topic, {"address": known, "title": topic}, topic)

    def _state(self) -> _Channel:
        parameters = {
            "groupId": {"location": "$message.payload#/group_id"},
            "key": {"location": "$message.payload#/item_id"},
        }
        about = {
            "address": "state/{groupId}/{key}",
            "title": "state",
            "description": "Changes of the state. Those of one key come in order.",
            "parameters": parameters,
        }
        return self._channel("state", "state", about, "StateChange", _STATE_CHANGE)

    def stream(self, name: str) -> _Channel:
        """Note a stream: a channel whether a step listens to it or not."""
        parameters = {
            "groupId": {"location": "$message.payload#/group_id"},
            "itemId": {"location": "$message.payload#/id"},
        }
        about = {
            "address": f"streams/{quote(name, safe='')}/{{groupId}}/{{itemId}}",
            "title": name,
            "description": "Changes of the stream's items, and what is sent to it. "
            "Those of one item come in order.",
            "parameters": parameters,
        }
        return self._channel("stream", name, about, "StreamChange", self._change_of(name))

    def _change_of(self, stream: str) -> Node:
        """The payload of a stream's changes: with its items' schema, if it has one."""
        declared = self._streams.get(stream)
        if declared is None or declared.schema is None:
            return _stream_change({"description": "The item."})
        placed = self._schemas.add(declared.schema.json_schema, f"{identifier(stream)}Item")
        return _stream_change(to_draft_07(placed))

    def _channel(
        self, kind: str, name: str, about: dict[str, Any], message: str, *payloads: Node
    ) -> _Channel:
        """The channel of this kind and name, which is made when it is first asked for."""
        if (kind, name) not in self._channels:
            key = unique(identifier(name), self._keys)
            self._keys.add(key)
            self._channels[kind, name] = _Channel(key, about, message, list(payloads))
        return self._channels[kind, name]


def _filters(**filters: str | None) -> str:
    """What of the changes a trigger is told, in words."""
    given = [f"{what} `{name}`" for what, name in filters.items() if name is not None]
    return f"Only of {' and '.join(given)}." if given else ""
