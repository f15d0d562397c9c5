# What the steps share: how a room, a name and a message look, and who somebody is.
import re
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4

from pydantic import AfterValidator, BaseModel, Field

ROOM = re.compile(r"[a-z0-9-]{1,40}")
MESSAGE_ID = re.compile(r"[0-9a-f]{32}")
NAME_LENGTH, TEXT_LENGTH = 40, 2_000  # characters

# what is here since this process runs; see people_stream.py
RUN = uuid4().hex


def said(text: str) -> str:
    """What is left of a text without the blanks around it: something, or it is refused."""
    text = text.strip()
    if not text:
        raise ValueError("must not be blank")
    return text


Name = Annotated[str, Field(max_length=NAME_LENGTH), AfterValidator(said)]
Text = Annotated[str, Field(max_length=TEXT_LENGTH), AfterValidator(said)]
MessageId = Annotated[str, Field(pattern=f"^{MESSAGE_ID.pattern}$")]


class NewMessage(BaseModel):
    id: Annotated[MessageId, Field(default_factory=lambda: uuid4().hex)]
    name: Name
    text: Text


class Message(BaseModel):
    name: Name
    text: Text
    at: datetime


class Typing(BaseModel):
    name: Name
    # which window it is, so that it need not show what it said itself
    window: Annotated[str, Field(max_length=40)] = ""


class Room(BaseModel):
    room: str
    here: int
    messages: list[dict[str, Any]]


class Problem(BaseModel):
    error: str


def is_room(name):
    return ROOM.fullmatch(name) is not None


async def in_a_room(req, ctx, following):
    """A middleware: nobody gets past it to a room that there cannot be."""
    if not is_room(req.path_params["room"]):
        error = "A room's name has 1 to 40 of: small letters, digits, hyphens"
        return {"status": 404, "body": Problem(error=error)}
    return await following()


def known_by_name(handshake):
    """Who opens a connection says who they are: ws://…/?name=Ada. Others get a 401.

    What this gives comes to canAccess, onJoin and onLeave. An app with accounts would look at
    handshake.token or at a cookie in handshake.headers, and give what it knows of that account.
    """
    name = handshake.query.get("name")
    if not isinstance(name, str) or not 0 < len(name.strip()) <= NAME_LENGTH:
        return False
    return {"name": name.strip(), "connection": uuid4().hex}


def now():
    return datetime.now(UTC)
