"""The HTTP triggers below /api in an ASGI application of our own, on a hypercorn of our own."""

import urllib.request

import trio
from hypercorn.config import Config
from hypercorn.trio import serve as hypercorn_serve

from motia_trio import App, http, open_runtime, step


@step(http("GET", "/users/:id"))
async def get_user(req, ctx):
    return {"status": 200, "body": f"user {req.path_params.id}"}


def site(api):
    async def app(scope, receive, send):
        if scope["type"] == "http" and scope["path"].startswith("/api/"):
            await api({**scope, "root_path": "/api"}, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"home"})
        elif scope["type"] == "lifespan":
            await api(scope, receive, send)

    return app


def get(url):
    with urllib.request.urlopen(url) as response:
        return response.read().decode()


async def main():
    config = Config()
    config.bind = ["127.0.0.1:0"]
    stop = trio.Event()
    async with open_runtime(App(steps=[get_user])) as rt, trio.open_nursery() as nursery:

        async def edge(task_status):
            await hypercorn_serve(
                site(rt.asgi), config, shutdown_trigger=stop.wait, task_status=task_status
            )

        [url] = await nursery.start(edge)
        assert await trio.to_thread.run_sync(get, f"{url}/") == "home"
        assert await trio.to_thread.run_sync(get, f"{url}/api/users/7") == "user 7"
        stop.set()


trio.run(main)
