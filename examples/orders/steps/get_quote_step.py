from pydantic import BaseModel
from shop import ITEM, Problem, problem

from motia_trio import TimedOut, http


class Quote(BaseModel):
    item: str
    price: float


# The price is made by another step. This one asks it, and waits for half a second at the most:
# nobody has to poll for a result.
config = {
    "name": "GetQuote",
    "description": "Tells what an item costs",
    "triggers": [
        http("GET", "/quotes/:item", response_schema={200: Quote, 404: Problem, 504: Problem})
    ],
    "enqueues": ["quote.wanted"],
    "flows": ["quotes"],
}


async def handler(req, ctx):
    item = req.path_params.item
    if not ITEM.fullmatch(item):
        return problem(404, "No such item")
    try:
        quote = await ctx.ask("quote.wanted", {"item": item}, timeout=0.5)
    except TimedOut:
        return problem(504, "The price is being made; ask again in a moment")
    return {"status": 200, "body": quote}
