from pathlib import Path

from chat import Problem

from motia_trio import http

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
PAGE = Path(__file__).parents[1] / "page"
FILES = {path.name: path for path in PAGE.iterdir() if path.suffix in TYPES}
OWN = "default-src 'self'"

# The page is these files as they are; no build makes them. A handler without `async` runs in a
# thread, so it may read a file.
config = {
    "name": "ServePage",
    "description": "Serves the page and its modules",
    "triggers": [
        http("GET", "/", response_schema={200: bytes}),
        http("GET", "/page/:file", response_schema={200: bytes, 404: Problem}),
    ],
    "flows": ["chat"],
}


def handler(req, ctx):
    path = FILES.get(req.path_params.get("file", "index.html"))
    if path is None:
        return {"status": 404, "body": Problem(error="No such file")}
    headers = {
        "content-type": TYPES[path.suffix],
        "cache-control": "no-cache",
        # what somebody says is text; if it ever were more, the browser would run none of it
        "content-security-policy": f"{OWN}; connect-src 'self' ws: wss:; img-src 'self' data:",
        "x-content-type-options": "nosniff",
    }
    return {"status": 200, "headers": headers, "body": path.read_bytes()}
