"""The mapping that handlers receive: a dict that also answers to attributes and to both spellings.

Source: Motia handed plain objects to Python steps, which read them as ``req.body["x"]``,
``req.get("pathParams", {})`` and ``input.orderId`` alike.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

__all__ = ["Data", "Nothing", "Request", "alias", "wrap"]


@lru_cache(maxsize=4096)
def alias(name: str) -> str:
    """Give the other spelling of a name: ``path_params`` for ``pathParams``, and the reverse."""
    if "_" in name.strip("_"):
        head, *rest = name.split("_")
        return head + "".join(part[:1].upper() + part[1:] for part in rest)
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name)


class Data(dict[str, Any]):
    """A dict with attribute access and camelCase/snake_case aliases for its keys.

    An exact key always wins over an alias. Keys that are names of dict methods (``items``,
    ``keys``, ``copy``…) are reached by ``data["items"]``.
    """

    __slots__ = ()

    def __missing__(self, key: str) -> Any:
        if isinstance(key, str):
            other = alias(key)
            if other != key and dict.__contains__(self, other):
                return dict.__getitem__(self, other)
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        if dict.__contains__(self, key):
            return True
        return isinstance(key, str) and dict.__contains__(self, alias(key))

    def get(self, key: str, default: Any = None, /) -> Any:
        """Give the value of a key or of its alias, or ``default``."""
        try:
            return self[key]
        except KeyError:
            return default

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(
                f"no {name!r} here; there are: {', '.join(map(str, self)) or 'no keys'}",
                name=name,
                obj=self,
            ) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(f"no {name!r} here", name=name, obj=self) from None


class Request(Data):
    """An HTTP request as a handler sees it.

    Keys: ``body``, ``headers`` (lower-case names), ``path_params``, ``query_params``, ``method``,
    ``path``, ``trace_id``. ``raw_body`` (the bytes as received) and ``request_body`` (reads the
    body as it arrives, for handlers that ask for ``MotiaHttpArgs``) are attributes, also reachable
    by ``get("rawBody")``, and not keys, so that the request stays writable as JSON.
    """

    __slots__ = ("_raw_body", "_reader")

    def __init__(self, fields: dict[str, Any], raw_body: bytes, reader: Any = None) -> None:
        super().__init__(fields)
        object.__setattr__(self, "_raw_body", raw_body)
        object.__setattr__(self, "_reader", reader)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self), self.raw_body)

    def __missing__(self, key: str) -> Any:
        if key in {"raw_body", "rawBody"}:
            return object.__getattribute__(self, "_raw_body")
        if key in {"request_body", "requestBody"}:
            return object.__getattribute__(self, "_reader")
        return super().__missing__(key)


class Nothing:
    """What the first dialect gets where nothing is: falsy, equal to None, None for any key.

    In JSON it is null.
    """

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, Nothing)

    def __hash__(self) -> int:
        return hash(None)

    def __getitem__(self, key: object) -> None:
        return None

    def get(self, _: object, default: Any = None, /) -> Any:
        """Give ``default``."""
        return default

    def __repr__(self) -> str:
        return "<nothing>"


def wrap(value: Any) -> Any:
    """Turn every dict inside a freshly decoded JSON value into :class:`Data`, and give it back.

    It is changed in place: nobody else may hold ``value``. Depth does not matter.
    """
    whole: list[Any] = [value]
    unseen: list[Any] = [whole]
    while unseen:
        container = unseen.pop()
        parts: Any = container.items() if type(container) is Data else enumerate(container)
        for key, item in parts:
            if type(item) is dict:
                data = container[key] = Data(item)
                unseen.append(data)
            elif type(item) is list:
                unseen.append(item)
    return whole[0]
