"""Bodies in, over real sockets: every form of contract §4, whole, split, packed and broken."""

from __future__ import annotations

import gzip
import json
import random
import threading
import tracemalloc
import zlib
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from motia_trio import UploadedFile, http, step
from motia_trio.data import Data
from motia_trio.events import RequestAnswered
from motia_trio.http_server.encodings import Inflater
from motia_trio.http_server.multipart import Form
from motia_trio.http_server.refusals import BodyTooLarge, Malformed
from tests.http_server.wire import body_of, connect, read_to_end, served, status_of, tell
from tests.support import Notebook


def shown(value: Any) -> Any:
    """A value as JSON can tell it."""
    if isinstance(value, UploadedFile):
        return {
            "name": value.name,
            "type": value.type,
            "size": value.size,
            "bytes": value.bytes.decode("latin-1") if value.size < 1000 else len(value.bytes),
        }
    if isinstance(value, bytes):
        return {"bytes": value.decode("latin-1")}
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shown(item) for item in value]
    return value


@step(http("POST", "/echo"), http("GET", "/echo"), name="Echo")
async def echo(req: Any) -> Any:
    return {"status": 200, "body": {"body": shown(req.body), "raw": len(req.raw_body)}}


FIRST = step(
    {"name": "First", "type": "api", "path": "/first", "method": "POST", "emits": []},
    lambda req: {"status": 200, "body": {"body": req.body}},
)


async def test_no_body_is_an_empty_mapping_for_the_first_dialect_and_none_otherwise() -> None:
    async with served(echo, FIRST) as (_, client):
        assert (await client.post("/first")).json() == {"body": {}}
        assert (await client.post("/echo")).json() == {"body": None, "raw": 0}
        json_type = {"content-type": "application/json"}
        assert (await client.post("/echo", headers=json_type)).json()["body"] is None
        form = {"content-type": "application/x-www-form-urlencoded"}  # one without fields
        assert (await client.post("/echo", headers=form)).json()["body"] == {}
        assert (await client.get("/echo")).json()["body"] is None


async def test_a_form_with_files_gives_text_and_files_with_name_type_and_bytes() -> None:
    async with served(echo) as (_, client):
        answer = await client.post(
            "/echo",
            data={"title": "Hällo", "tag": ["a", "b"]},
            files={"doc": ("ä b.txt", b"\x00\xff", "text/x-odd"), "none": ("", b"x")},
        )
    assert answer.json()["body"] == {
        "title": "Hällo",
        "tag": ["a", "b"],
        "doc": {"name": "ä b.txt", "type": "text/x-odd", "size": 2, "bytes": "\x00\xff"},
        "none": "x",
    }
    assert answer.json()["raw"] > 100


async def test_files_of_one_name_are_a_list() -> None:
    files = [("f", ("1", b"a", "text/plain")), ("f", ("2", b"b", "text/plain"))]
    async with served(echo) as (_, client):
        answer = await client.post("/echo", files=files)
    assert [(each["name"], each["bytes"]) for each in answer.json()["body"]["f"]] == [
        ("1", "a"),
        ("2", "b"),
    ]


async def test_a_large_file_lies_on_the_disk_and_is_gone_with_its_request() -> None:
    """Its raw body is not kept a second time."""
    kept: list[UploadedFile] = []

    @step(http("POST", "/"), name="Upload")
    async def upload(req: Any) -> Any:
        file = req.body.file
        kept.append(file)
        first = file.read(3)
        whole = await file.read_all()
        return {
            "status": 200,
            "body": [file.on_disk, first.decode(), len(whole), len(file.bytes), len(req.raw_body)],
        }

    content = b"abc" + bytes(5_000_000)
    async with served(upload) as (_, client):
        answer = await client.post("/", files={"file": ("big", content)})
        assert answer.json() == [True, "abc", len(content), len(content), 0]
        await client.post("/", files={"file": ("small", b"abc")})
        assert kept[0].file.closed
        assert kept[1].file.closed
        assert not kept[1].on_disk


async def test_the_loop_does_not_wait_for_the_disk() -> None:
    """What goes onto the disk is written in a thread."""
    threads: set[int] = set()
    write = UploadedFile.write

    def note(self: UploadedFile, data: bytes) -> None:
        if self.is_large_with(len(data)):
            threads.add(threading.get_ident())
        write(self, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UploadedFile, "write", note)
        async with served(echo) as (_, client):
            await client.post("/echo", files={"file": ("big", bytes(3_000_000))})
    assert threads
    assert threading.get_ident() not in threads


async def test_a_form_in_pieces_of_any_size_is_the_same_form() -> None:
    async with served(echo) as (rt, _):
        body = (
            b'--X\r\ncontent-disposition: form-data; name="a"\r\n\r\none\r\n'
            b'--X\r\ncontent-disposition: form-data; name="f"; filename="n"\r\n'
            b"content-type: text/plain\r\n\r\n\r\n--Y\r\n\r\n--X--\r\n"
        )
        head = (
            b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=X\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        )
        for size in (1, 7, 50):
            async with await connect(rt) as stream:
                for place in range(0, len(body), size):
                    await stream.send_all(
                        (head if place == 0 else b"") + body[place : place + size]
                    )
                answer = await read_to_end(stream)
            assert body_of(answer)["body"]["a"] == "one"
            assert body_of(answer)["body"]["f"]["bytes"] == "\r\n--Y\r\n"


@given(st.data())
def test_what_is_split_anywhere_is_parsed_as_if_it_was_whole(data: st.DataObject) -> None:
    texts = st.text(st.characters(codec="utf-8", exclude_characters='"\\\r\n%'), max_size=8)
    fields = data.draw(st.lists(st.tuples(texts, st.binary(max_size=30)), max_size=4))
    body = b"".join(
        b'--B\r\nContent-Disposition: form-data; name="%s"; filename="f"\r\n\r\n%s\r\n'
        % (name.encode(), content)
        for name, content in fields
    )
    body += b"--B--\r\n"
    if any(b"\r\n--B" in b"\r\n" + content for _, content in fields):
        return

    async def main() -> None:
        form = Form("multipart/form-data; boundary=B")
        place = 0
        try:
            while place < len(body):
                size = data.draw(st.integers(1, 40))
                await form.feed(body[place : place + size])
                place += size
            got = await form.finish()
            expected: dict[str, list[bytes]] = {}
            for name, content in fields:
                expected.setdefault(name, []).append(content)
            assert {
                name: [each.bytes for each in (value if isinstance(value, list) else [value])]
                for name, value in dict.items(got)
            } == expected
        finally:
            form.close()

    trio.run(main)


PART = b'--X\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n'


@pytest.mark.parametrize(
    ("content_type", "body", "reason"),
    [
        ("multipart/form-data", PART + b"--X--\r\n", "without a boundary"),
        ("multipart/form-data; boundary=X", PART, "the end is missing"),
        ("multipart/form-data; boundary=X", b"nonsense", "multipart"),
        ("multipart/form-data; boundary=X", PART * 1001 + b"--X--\r\n", "more than 1000 parts"),
        (
            "multipart/form-data; boundary=X",
            b"--X\r\ncontent-disposition: form-data; name="
            + b"a" * 9000
            + b"\r\n\r\n1\r\n--X--\r\n",
            "multipart",
        ),
        (
            "multipart/form-data; boundary=X",
            b"--X\r\n" + b"a: b\r\n" * 5000 + b"\r\n1\r\n--X--\r\n",
            "multipart",
        ),
        ("multipart/form-data; boundary=X", b"--X\r\na: b\r\n\r\n1\r\n--X--\r\n", "without a name"),
        ("multipart/form-data; boundary=X", PART.replace(b"1", b"\xff") + b"--X--\r\n", "utf-8"),
        ("multipart/form-data; boundary=" + "x" * 300, b"--x", "oundary"),
        ("application/x-www-form-urlencoded", b"a=%ff", "not urlencoded"),
        ("application/json", b'{"a": 1', "not JSON"),
        ("text/plain; charset=utf-16", b"x", "not a text"),
    ],
)
async def test_what_is_wrong_with_a_body_is_in_the_log_and_not_in_the_answer(
    content_type: str, body: bytes, reason: str
) -> None:
    notebook = Notebook()
    async with served(echo, notebook=notebook) as (_, client):
        answer = await client.post("/echo", content=body, headers={"content-type": content_type})
    assert (answer.status_code, answer.json()) == (400, {"error": "Malformed request body"})
    (event,) = notebook.of(RequestAnswered)
    assert event.reason is not None
    assert reason in event.reason


async def test_other_multiparts_are_bytes() -> None:
    async with served(echo) as (_, client):
        headers = {"content-type": "multipart/mixed; boundary=X"}
        answer = await client.post("/echo", content=PART, headers=headers)
    assert answer.json()["body"] == {"bytes": PART.decode()}


def members(*parts: bytes) -> bytes:
    return b"".join(gzip.compress(part, mtime=0) for part in parts)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(b'{"a":1}', mtime=0)),
        ("GZIP", gzip.compress(b'{"a":1}', mtime=0)),
        ("x-gzip", members(b'{"a"', b":1}")),
        ("gzip", members(b"", b'{"a"', b"", b":1}", b"")),
        ("deflate", zlib.compress(b'{"a":1}')),
        ("deflate", raw_deflate(b'{"a":1}')),
        ("identity", b'{"a":1}'),
        ("", b'{"a":1}'),
    ],
)
async def test_packed_bodies_are_unpacked_and_the_raw_body_is_what_came(
    encoding: str, packed: bytes
) -> None:
    headers = {"content-encoding": encoding, "content-type": "application/json"}
    async with served(echo) as (rt, client):
        answer = await client.post("/echo", content=packed, headers=headers)
        assert answer.json() == {"body": {"a": 1}, "raw": len(packed)}
        # byte by byte, as a slow client sends it
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in packed) + b"0\r\n\r\n"
        raw = f"POST /echo HTTP/1.1\r\nhost: x\r\n{head}transfer-encoding: chunked\r\n\r\n"
        assert body_of(await tell(rt, raw.encode() + chunks)) == answer.json()


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", b"not gzip"),
        ("gzip", gzip.compress(b"x", mtime=0)[:-1]),
        ("gzip", gzip.compress(b"x", mtime=0) + b"garbage"),
        ("gzip", gzip.compress(b"x", mtime=0)[:-6] + b"\0" * 6),
        ("deflate", zlib.compress(b"x") + b"garbage"),
        ("deflate", b"\x78"),
        ("deflate", b"\xff" * 10),
    ],
)
async def test_what_is_packed_wrongly_is_malformed(encoding: str, packed: bytes) -> None:
    async with served(echo) as (_, client):
        answer = await client.post("/echo", content=packed, headers={"content-encoding": encoding})
    assert (answer.status_code, answer.json()) == (400, {"error": "Malformed request body"})


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "gzip, br"])
async def test_other_encodings_are_a_415_that_says_what_would_do(encoding: str) -> None:
    async with served(echo) as (_, client):
        answer = await client.post("/echo", content=b"x", headers={"content-encoding": encoding})
    assert answer.status_code == 415
    assert answer.json()["error"] == "Unsupported media type"
    assert answer.headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=X"])
async def test_a_bomb_is_refused_at_the_limit_without_being_inflated(kind: str) -> None:
    bomb = gzip.compress(bytes(300_000_000), mtime=0)
    assert len(bomb) < 400_000
    headers = {"content-encoding": "gzip", "content-type": kind}
    async with served(echo, body_limit=1_000_000) as (_, client):
        await client.post("/echo", content=b"{}", headers={"content-type": "application/json"})
        tracemalloc.start()
        answer = await client.post("/echo", content=bomb, headers=headers)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    if answer.status_code == 400:
        assert kind.startswith("multipart")  # zeros are no form, which shows at once
    else:
        assert answer.json() == {"error": "Request body too large", "limit": 1_000_000}
    assert peak < 10_000_000


@given(st.binary(max_size=2000), st.sampled_from(["gzip", "deflate"]), st.integers(0, 2**32))
def test_any_way_to_split_what_is_packed_gives_the_same(
    content: bytes, encoding: str, number: int
) -> None:
    seed = random.Random(number)
    cut = seed.randint(0, len(content))
    is_gzip = encoding == "gzip"
    packed = members(content[:cut], content[cut:]) if is_gzip else zlib.compress(content)
    inflater = Inflater(len(content), gzip=is_gzip)
    got = bytearray()
    while packed:
        size = seed.randint(1, 30)
        for piece in inflater.feed(packed[:size]):
            got += piece
        packed = packed[size:]
    for piece in inflater.finish():
        got += piece
    assert bytes(got) == content


@given(st.integers(1, 3000), st.integers(0, 3000))
def test_no_more_than_the_limit_is_ever_made(size: int, limit: int) -> None:
    inflater = Inflater(limit, gzip=True)
    made = 0
    try:
        for piece in inflater.feed(gzip.compress(bytes(size), mtime=0)):
            made += len(piece)
        for piece in inflater.finish():
            made += len(piece)
    except BodyTooLarge:
        assert size > limit
    else:
        assert made == size <= limit
    assert made <= limit


def test_a_stream_without_an_end_is_malformed() -> None:
    inflater = Inflater(100, gzip=False)
    with pytest.raises(Malformed):
        list(inflater.finish())


async def test_too_large_is_told_however_it_comes() -> None:
    """With a length, in chunks, and to a client that sends all before it listens."""
    expected = {"error": "Request body too large", "limit": 100_000}
    async with served(echo, body_limit=100_000) as (rt, client):
        answer = await client.post("/echo", content=bytes(20_000_000))
        assert (answer.status_code, answer.json()) == (413, expected)

        async def chunks() -> Any:
            for _ in range(300):
                yield bytes(65536)

        answer = await client.post("/echo", content=chunks())
        assert (answer.status_code, answer.json()) == (413, expected)
        assert (await client.post("/echo", content=bytes(100_000))).status_code == 200
        head = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999\r\n\r\n"
        assert status_of(await tell(rt, head, eof=False)) == 413


async def test_a_client_that_waits_for_100_continue_gets_it() -> None:
    async with served(echo) as (rt, _):
        async with await connect(rt) as stream:
            await stream.send_all(
                b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nexpect: 100-continue\r\n"
                b"content-type: application/json\r\nconnection: close\r\n\r\n"
            )
            with trio.fail_after(5):
                assert (await stream.receive_some(1000)).startswith(b"HTTP/1.1 100 ")
            await stream.send_all(b"{}")
            assert body_of(await read_to_end(stream)) == {"body": {}, "raw": 2}


async def test_a_body_that_dribbles_is_a_408_at_the_bound_of_its_trigger() -> None:
    @step(http("POST", "/slow", config={"timeout": 0.3}), name="Slow")
    async def slow(req: Any) -> Any:
        """Never run."""

    async with served(slow) as (rt, _):
        async with await connect(rt) as stream:
            await stream.send_all(b"POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx")
            answer = await read_to_end(stream)
    assert status_of(answer) == 408
    assert body_of(answer) == {"error": "Request timed out"}


@pytest.mark.parametrize("query", ["a=%", "a=%zz&b=%2", "%ff=%ff", "=&&=", "a" * 10_000])
async def test_a_query_of_any_form_is_answered(query: str) -> None:
    @step(http("GET", "/q"), name="Query")
    async def handler(req: Any) -> Any:
        return {"status": 200, "body": req.query_params}

    async with served(handler) as (rt, _):
        answer = await tell(rt, f"GET /q?{query} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    assert status_of(answer) == 200


def test_a_file_may_be_a_field_of_a_model_and_is_a_string_in_a_schema() -> None:
    from pydantic import BaseModel, ValidationError

    class Upload(BaseModel):
        file: UploadedFile

    file = UploadedFile("n", "text/plain", b"abc")
    assert Upload(file=file).file is file
    with pytest.raises(ValidationError):
        Upload(file="x")  # type: ignore[arg-type]
    assert Upload.model_json_schema()["properties"]["file"] == {
        "format": "binary",
        "title": "File",
        "type": "string",
    }
    file.close()


def test_a_file_can_go_to_another_process() -> None:
    import pickle

    file = UploadedFile("n", "text/plain", b"abc")
    file.read(1)
    copy = pickle.loads(pickle.dumps(file))  # noqa: S301 - our own
    assert (copy.name, copy.type, copy.size, copy.read(), file.read()) == (
        "n",
        "text/plain",
        3,
        b"abc",
        b"bc",
    )
    copy.close()
    file.close()
    assert json.dumps(Data()) == "{}"


class Photo(BaseModel):
    title: str
    photo: bytes
    more: list[bytes] = []
    raw: UploadedFile | None = None

    model_config = ConfigDict(arbitrary_types_allowed=True)


async def test_a_models_bytes_take_a_file_and_its_other_fields_texts() -> None:
    @step(http("POST", "/", body_schema=Photo), name="Upload")
    async def upload(req: Any) -> Any:
        photo: Photo = req.body
        return {
            "status": 200,
            "body": [photo.title, len(photo.photo), photo.raw and photo.raw.name, len(photo.more)],
        }

    file = ("a.png", b"\x00\xff\x89", "image/png")
    async with served(upload) as (_, client):
        answer = await client.post("/", data={"title": "5"}, files={"photo": file, "raw": file})
        assert answer.json() == ["5", 3, "a.png", 0]
        several = [("photo", file), ("more", file), ("more", file)]
        assert (await client.post("/", data={"title": "5"}, files=several)).json()[3] == 2
        wrong = await client.post("/", data={"raw": "text"}, files={"title": file})
    assert wrong.status_code == 400
    told = {each["path"]: each["message"] for each in wrong.json()["details"]}
    assert set(told) == {"title", "photo", "raw"}
    assert "json" not in told["raw"].lower()
