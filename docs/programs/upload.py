"""A form with a file, and an answer that is sent while it is made."""

import httpx
import trio

from motia_trio import App, http, open_runtime, step


@step(http("POST", "/photos"))
async def add_photo(req, ctx):
    photo = req.body.photo  # a file: name, type, size, and what is in it
    content = await photo.read_all()
    return {"status": 201, "body": [req.body.title, photo.name, photo.type, len(content)]}


@step(http("GET", "/countdown"))
async def countdown(req, ctx):
    async def events():
        for number in (2, 1, 0):
            yield {"event": "tick", "data": {"left": number}}
            await trio.sleep(0.01)

    return {"status": 200, "headers": {"content-type": "text/event-stream"}, "body": events()}


async def main():
    app = App([add_photo, countdown])
    async with open_runtime(app, http="127.0.0.1:0") as rt, httpx.AsyncClient() as client:
        files = {"photo": ("cat.png", bytes(2_000_000), "image/png")}
        answer = await client.post(f"{rt.http_url}/photos", data={"title": "Cat"}, files=files)
        assert answer.json() == ["Cat", "cat.png", "image/png", 2_000_000]
        answer = await client.get(f"{rt.http_url}/countdown")
        assert answer.text.startswith('event: tick\ndata: {"left":2}\n\n')


trio.run(main)
