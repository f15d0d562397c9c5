# What the steps share: how an order looks, how one is found, and who may delete one.
import hmac
import os
import re
from datetime import datetime
from typing import Annotated, Literal
from uuid import uuid4

from pydantic import BaseModel, Field

KEY = os.environ.get("ORDERS_KEY", "open sesame")
LOW, FULL = 3, 10  # of one item: fewer than LOW is too few, and then it is filled up to FULL

ITEM = re.compile(r"[a-z][a-z ]{0,39}")
ORDER_ID = re.compile(r"[A-Za-z0-9-]{1,40}")

Item = Annotated[str, Field(pattern=f"^{ITEM.pattern}$")]
OrderId = Annotated[str, Field(pattern=f"^{ORDER_ID.pattern}$")]
Status = Literal["reserved", "out of stock", "shipped"]


class NewOrder(BaseModel):
    id: Annotated[OrderId, Field(default_factory=lambda: uuid4().hex)]
    item: Item
    count: Annotated[int, Field(ge=1, le=100)] = 1


class Order(NewOrder):
    status: Status
    changed_at: datetime
    parcel: str | None = None


class Problem(BaseModel):
    error: str


def problem(status, error):
    return {"status": status, "body": Problem(error=error)}


async def find(ctx, order_id):
    """The order, or None. An id comes from outside, and may be what no order can have."""
    return await ctx.state.get("orders", order_id) if ORDER_ID.fullmatch(order_id) else None


async def with_key(req, ctx, following):
    """A middleware: nobody gets past it without the key."""
    given = req.headers.get("x-api-key", "")
    if not hmac.compare_digest(given.encode(), KEY.encode()):
        return problem(401, "Give the key in x-api-key")
    return await following()
