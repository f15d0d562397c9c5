"""TLS and HTTP/2: by a certificate and a key, both protocols by what the client asks for."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import httpx
import pytest
import trio
import trustme

from motia_trio import App, SettingInvalid, http, open_runtime, step
from motia_trio.events import AskFailed, RequestAnswered
from tests.http_server.wire import connect, served
from tests.support import Notebook, command, project, run_command

AUTHORITY = trustme.CA()


@pytest.fixture
def pems(tmp_path: Path) -> Path:
    """A folder with cert.pem, key.pem, both.pem and other.pem, which is the key of another."""
    made = AUTHORITY.issue_cert("127.0.0.1")
    made.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    made.private_key_pem.write_to_path(tmp_path / "key.pem")
    made.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    AUTHORITY.issue_cert("127.0.0.1").private_key_pem.write_to_path(tmp_path / "other.pem")
    return tmp_path


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


@step(http("GET", "/"), http("POST", "/"), name="Hello")
async def hello(req: Any) -> Any:
    return {"status": 200, "body": {"scheme": req.scheme, "host": req.host, "got": req.body}}


@step(http("GET", "/big"), name="Big")
async def big(req: Any) -> Any:
    return {"status": 200, "body": bytes(3_000_000)}


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
async def test_both_protocols_are_served(pems: Path, version: str) -> None:
    """Small and large, many at once."""
    settings: Any = {"certfile": "cert.pem", "keyfile": "key.pem"}
    app = App([hello, big], root=pems, **settings)
    async with open_runtime(app, http="127.0.0.1:0", observers=()) as rt:
        assert str(rt.http_url).startswith("https://127.0.0.1:")
        async with httpx.AsyncClient(
            base_url=str(rt.http_url), verify=trusting(), http2=version == "HTTP/2"
        ) as client:
            answer = await client.post("/", json={"a": 1})
            assert answer.http_version == version
            assert answer.json()["scheme"] == "https"
            assert answer.json()["got"] == {"a": 1}
            assert str(rt.http_url).endswith(answer.json()["host"])
            assert len(answer.headers["x-trace-id"]) == 32
            answers: list[int] = []

            async def ask() -> None:
                answers.append(len((await client.get("/big")).content))

            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(ask)
            assert answers == [3_000_000] * 5
            assert (await client.post("/", content=bytes(20_000_000))).status_code == 413
            assert (await client.get("/nope")).status_code == 404


async def test_one_file_may_have_both(pems: Path) -> None:
    app = App([hello], root=pems, certfile=str(pems / "both.pem"))
    async with open_runtime(app, http="127.0.0.1:0", observers=()) as rt:
        async with httpx.AsyncClient(base_url=str(rt.http_url), verify=trusting()) as client:
            assert (await client.get("/")).status_code == 200


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"certfile": "no.pem", "keyfile": "key.pem"}, "certfile = .*no.pem': No such file"),
        ({"certfile": "cert.pem", "keyfile": "no.pem"}, "keyfile = .*no.pem': No such file"),
        ({"certfile": "cert.pem", "keyfile": "other.pem"}, "no PEM certificate with its key"),
        ({"certfile": "key.pem", "keyfile": "key.pem"}, "no PEM certificate with its key"),
        ({"certfile": "cert.pem"}, "no PEM certificate with its key"),
        ({"keyfile": "key.pem"}, "keyfile without certfile"),
        ({"certfile": "."}, "certfile = .*: Is a directory"),
    ],
)
async def test_a_missing_or_wrong_file_is_an_error_at_start(
    pems: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingInvalid, match=words):
        async with open_runtime(App([hello], root=pems, **settings), http="127.0.0.1:0"):
            pytest.fail("entered")


def test_the_command_takes_them_as_flags_and_says_https(pems: Path) -> None:
    text = (
        "config = {'name': 'A', 'triggers': [{'type': 'http', 'method': 'GET', 'path': '/'}]}\n"
        "def handler(req): return {'status': 200, 'body': req.scheme}\n"
    )
    project(pems, {"steps/a_step.py": text})
    flags = ("--certfile", "cert.pem", "--keyfile", "key.pem")
    with command(pems, *flags) as service:
        assert service.ready.startswith("ready http=https://127.0.0.1:")
        url = service.ready.split("=", 1)[1].strip()
        assert httpx.get(url, verify=trusting()).text == "https"
        assert service.stop()[0] == 0
    code, _, err = run_command("run", str(pems), "--port", "0", "--certfile", "no.pem")
    assert code == 1
    assert "no.pem': No such file" in err


async def test_who_does_not_speak_tls_or_breaks_off_hurts_nobody(
    pems: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings: Any = {"certfile": "both.pem", "client_timeout": 0.5}
    async with open_runtime(
        App([hello, big], root=pems, **settings), http="127.0.0.1:0", observers=()
    ) as rt:
        for raw in (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b""):
            async with await connect(rt) as stream:
                await stream.send_all(raw)
                await trio.sleep(0.05)
        silent = await connect(rt)
        with trio.fail_after(5):
            assert await silent.receive_some(10) == b""
        await silent.aclose()
        context = trusting()
        context.set_alpn_protocols(["http/1.1"])
        for _ in range(20):
            tcp = await connect(rt)
            secure = trio.SSLStream(tcp, context, server_hostname="127.0.0.1")
            await secure.send_all(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n")
            await secure.receive_some(1000)
            await trio.aclose_forcefully(secure)
        async with httpx.AsyncClient(base_url=str(rt.http_url), verify=context) as client:
            assert (await client.get("/")).status_code == 200
    assert not caplog.records


class Speaker:
    """A client of HTTP/2 that does as it is told, over a bare connection: prior knowledge."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))

    async def begin(self) -> None:
        self.h2.initiate_connection()
        await self.flush()

    async def flush(self) -> None:
        await self.stream.send_all(self.h2.data_to_send())

    async def ask(
        self, number: int, path: str, method: str = "GET", *, ends: bool = True, **headers: str
    ) -> None:
        given = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "x")]
        self.h2.send_headers(number, given + list(headers.items()), end_stream=ends)
        await self.flush()

    async def hear(self, kind: type[Any], seconds: float = 5) -> Any:
        """The next event of a kind."""
        with trio.fail_after(seconds):
            while True:
                data = await self.stream.receive_some(65536)
                assert data, "the connection was closed"
                found = None
                for event in self.h2.receive_data(data):
                    if isinstance(event, h2.events.DataReceived):
                        size = event.flow_controlled_length
                        self.h2.acknowledge_received_data(size, event.stream_id)
                    if isinstance(event, kind):
                        found = event
                await self.flush()
                if found is not None:
                    return found


async def test_http_2_is_spoken_without_tls_by_prior_knowledge() -> None:
    async with served(hello) as (rt, _):
        async with await connect(rt) as stream:
            client = Speaker(stream)
            await client.begin()
            for number in (1, 3, 5):
                await client.ask(number, "/")
                head = await client.hear(h2.events.ResponseReceived)
                assert dict(head.headers)[":status"] == "200"


async def test_what_is_cut_off_in_http_2_is_a_reset_of_its_stream() -> None:
    """The others of the connection live on."""

    async def pieces() -> Any:
        yield "x"
        await trio.sleep(0.05)
        raise ValueError("broken")

    @step(http("GET", "/cut"), name="Cut")
    async def cut(req: Any) -> Any:
        return {"status": 200, "body": pieces()}

    notebook = Notebook()
    async with served(cut, hello, notebook=notebook) as (rt, _):
        async with await connect(rt) as stream:
            client = Speaker(stream)
            await client.begin()
            await client.ask(1, "/cut")
            assert (await client.hear(h2.events.StreamReset)).stream_id == 1
            await client.ask(3, "/")
            assert (await client.hear(h2.events.ResponseReceived)).stream_id == 3
    assert "broken" in notebook.of(AskFailed)[0].error


async def test_a_body_in_http_2_that_comes_after_its_answer_hurts_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served(hello, body_limit=10) as (rt, _):
        async with await connect(rt) as stream:
            client = Speaker(stream)
            await client.begin()
            await client.ask(1, "/", "POST", ends=False, **{"content-length": "1000"})
            head = await client.hear(h2.events.ResponseReceived)
            assert dict(head.headers)[":status"] == "413"
            client.h2.send_data(1, bytes(500))
            await client.flush()
            client.h2.send_data(1, bytes(500), end_stream=True)
            await client.flush()
            await client.ask(3, "/")
            with trio.fail_after(5):
                while (await client.hear(h2.events.ResponseReceived)).stream_id != 3:
                    pass
    assert not caplog.records


async def test_a_path_in_http_2_that_is_no_ascii_hurts_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served(hello) as (rt, _):
        async with await connect(rt) as stream:
            client = Speaker(stream)
            await client.begin()
            await client.ask(1, "/ä")
            await client.hear(h2.events.StreamReset)
            await client.ask(3, "/")
            assert (await client.hear(h2.events.ResponseReceived)).stream_id == 3
    assert not caplog.records


async def test_a_client_of_http_2_that_opens_no_window_is_given_up() -> None:
    """Its stream is reset, though its connection is well."""
    notebook = Notebook()
    async with served(big, client_timeout=0.4, notebook=notebook) as (rt, _):
        async with await connect(rt) as stream:
            client = Speaker(stream)
            await client.begin()
            await client.ask(1, "/big")
            began = trio.current_time()
            with trio.fail_after(5):
                while True:  # takes what fits, and acknowledges nothing
                    data = await stream.receive_some(65536)
                    events = client.h2.receive_data(data) if data else []
                    if not data or any(isinstance(e, h2.events.StreamReset) for e in events):
                        break
            assert 0.3 < trio.current_time() - began < 3
        with trio.fail_after(5):
            while rt.tree().in_flight:
                await trio.sleep(0.01)
    assert len(notebook.of(RequestAnswered)) == 1


async def test_a_body_in_http_2_that_does_not_come_is_a_408() -> None:
    @step(http("POST", "/", config={"timeout": 0.3}), name="Waits")
    async def waits(req: Any) -> Any:
        """Never run."""

    async with served(waits) as (rt, _):
        async with await connect(rt) as stream:
            client = Speaker(stream)
            await client.begin()
            await client.ask(1, "/", "POST", ends=False)
            head = await client.hear(h2.events.ResponseReceived)
    assert dict(head.headers)[":status"] == "408"
