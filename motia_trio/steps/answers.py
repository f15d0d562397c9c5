"""The answer to a request as an object."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

__all__ = ["ApiResponse"]

Body = TypeVar("Body")


class ApiResponse(BaseModel, Generic[Body]):
    """What a handler may return in place of ``{"status", "body", "headers"}``.

    A header whose value is a list is repeated. Source: Motia 1.0.4, and steps written for it.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    status: int
    body: Any = None
    headers: dict[str, Any] = {}
