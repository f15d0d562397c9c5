"""Step files in each of the three dialects of contract §1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from motia_trio.data import alias

__all__ = ["DIALECTS", "Dialect"]


@frozen
class Dialect:
    """Writes the text of step files as one generation of Motia has them.

    ``code`` is the text before the config, which defines ``handler`` and what the config names.
    ``limits`` has the groups ``handler`` and ``queue``. ``also`` are more keys of the trigger, in
    camelCase, with the source text of their values.
    """

    number: int

    def http(self, method: str, path: str, code: str, **options: Any) -> str:
        """A step for a route."""
        keys = {"path": repr(path), "method": repr(method)}
        return self._file(["api", "api", "http"], keys, f"{method!r}, {path!r}", code, **options)

    def queue(self, topic: str, code: str, **options: Any) -> str:
        """A step for the messages on a topic."""
        keys = {"subscribes": repr([topic])} if self.number == 1 else {"topic": repr(topic)}
        return self._file(["event", "queue", "queue"], keys, repr(topic), code, **options)

    def cron(self, expression: str, code: str, **options: Any) -> str:
        """A step for the times of an expression."""
        keys = {"cron" if self.number == 1 else "expression": repr(expression)}
        return self._file(["cron", "cron", "cron"], keys, repr(expression), code, **options)

    def _file(
        self,
        kinds: Sequence[str],
        keys: Mapping[str, str],
        arguments: str,
        code: str,
        *,
        name: str = "Step",
        publishes: Sequence[str] = (),
        limits: Mapping[str, Mapping[str, Any]] | None = None,
        **also: str,
    ) -> str:
        kind = kinds[self.number - 1]
        step = {"name": repr(name)}
        of_trigger = {"type": repr(kind), **keys, **also}
        if limits:
            of_trigger["infrastructure"] = repr(limits)
        if self.number == 1:
            return (
                f"{code}\nconfig = {_dict({**step, **of_trigger, 'emits': repr([*publishes])})}\n"
            )
        step["enqueues"] = repr([*publishes])
        if self.number == 2:
            return f"{code}\nconfig = {_dict({**step, 'triggers': f'[{_dict(of_trigger)}]'})}\n"
        for key, source in also.items():
            arguments += f", {key if key.islower() else alias(key)}={source}"
        if limits:
            of_handler = dict(limits.get("handler", {}))
            flat = {**limits.get("queue", {})}
            flat.update({"timeout": of_handler.pop("timeout")} if "timeout" in of_handler else {})
            flat.update({"handler": of_handler} if of_handler else {})
            arguments += f", config={flat!r}"
        config = _dict({**step, "triggers": f"[{kind}({arguments})]"})
        return f"from motia_trio import {kind}\n{code}\nconfig = {config}\n"


def _dict(entries: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{key!r}: {source}" for key, source in entries.items()) + "}"


DIALECTS = (Dialect(1), Dialect(2), Dialect(3))
