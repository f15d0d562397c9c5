# What the steps share: how a contact looks, where it is kept, and who may change it.
import hmac
import os
import re
from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, Field

GROUP = "contacts"
KEY = os.environ.get("CONTACTS_KEY", "open sesame")

Name = Annotated[str, Field(min_length=1, max_length=100)]
EMAIL = r"^[!-?A-~]+@[!-?A-~]+$"
Email = Annotated[str, Field(pattern=EMAIL, max_length=200)]
Tag = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,20}$")]


class NewContact(BaseModel):
    name: Name
    email: Email
    birthday: date | None = None
    tags: Annotated[list[Tag], Field(max_length=10)] = []
    allows_messages: bool = True


class Note(BaseModel):
    text: str
    pinned: bool = False


class Contact(NewContact):
    id: str


class Search(BaseModel):
    text: Annotated[str, Field(description="Part of the name")] = ""
    tag: Annotated[list[Tag], Field(description="All of these")] = []
    sort: Literal["name", "email"] = "name"
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    offset: Annotated[int, Field(ge=0)] = 0


class Found(BaseModel):
    contacts: list[Contact]
    total: int


class Problem(BaseModel):
    error: str


def not_found():
    return {"status": 404, "body": Problem(error="No such contact")}


async def find(ctx, contact_id):
    """The contact, or None. An id from outside may be anything, a name in the state may not."""
    if not re.fullmatch("[0-9a-f]{32}", contact_id):
        return None
    return await ctx.state.get(GROUP, contact_id)


async def with_key(req, ctx, following):
    """A middleware: nobody gets past it without the key."""
    given = req.headers.get("x-api-key", "")
    if not hmac.compare_digest(given.encode(), KEY.encode()):
        return {"status": 401, "body": Problem(error="Give the key in x-api-key")}
    return await following()
