"""A Quart app below /admin, in the same process and on the same port as the steps."""

import urllib.request

import trio
from quart_trio import QuartTrio

from motia_trio import App, http, open_runtime, step

admin = QuartTrio("admin")


@admin.get("/users/<name>")
async def show_user(name):
    return f"<h1>{name}</h1>"


@step(http("GET", "/users/:name"))
async def get_user(req, ctx):
    return {"status": 200, "body": f"user {req.path_params.name}"}


def get(url):
    with urllib.request.urlopen(url) as response:
        return response.read().decode()


async def main():
    app = App([get_user], mount={"/admin": admin})
    async with open_runtime(app, http="127.0.0.1:0") as rt:
        assert await trio.to_thread.run_sync(get, f"{rt.http_url}/users/ada") == "user ada"
        page = await trio.to_thread.run_sync(get, f"{rt.http_url}/admin/users/ada")
        assert page == "<h1>ada</h1>"


trio.run(main)
