from html import escape
from typing import Literal

from contacts import Email
from pydantic import BaseModel


class Subscription(BaseModel):
    email: Email
    every: Literal["day", "week"] = "week"
    copies: int = 1


# What a page's <form method="post"> sends fits a schema just as JSON does.
config = {
    "name": "Subscribe",
    "description": "Subscribes to the newsletter, by the form on a page",
    "triggers": [
        {
            "type": "http",
            "method": "POST",
            "path": "/newsletter",
            "bodySchema": Subscription,
            "responseSchema": {200: str},
        }
    ],
    "flows": ["newsletter"],
}


async def handler(req, ctx):
    wish = req.body
    await ctx.state.set("newsletter", wish.email, wish)
    return {"status": 200, "body": f"<p>Every {wish.every} to {escape(wish.email)}</p>"}
