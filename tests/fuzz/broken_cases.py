"""The table of broken and odd requests: the bytes, and the statuses of what must be answered."""

from __future__ import annotations

import gzip
import random
import zlib

from attrs import frozen

from tests.fuzz.broken import LIMIT

NEXT = b"GET /x/next HTTP/1.1\r\nhost: x\r\n\r\n"
JSON = b"application/json"
TEXT = b"text/plain"
URLENCODED = b"application/x-www-form-urlencoded"
MULTIPART = b"multipart/form-data; boundary=b"


@frozen
class Case:
    """Bytes to send at once, and the statuses that come back, in order; none: a close alone."""

    name: str
    raw: bytes
    answers: tuple[int, ...]


def get(target: bytes = b"/", *headers: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    """A request without a body; ``headers`` stand behind the host."""
    return b"\r\n".join([b"GET " + target + b" " + version, b"host: x", *headers, b"", b""])


def post(body: bytes, *headers: bytes, kind: bytes = JSON, path: bytes = b"/") -> bytes:
    """A request whose headers tell the length."""
    head = [b"POST " + path + b" HTTP/1.1", b"host: x", b"content-type: " + kind]
    return b"\r\n".join([*head, b"content-length: %d" % len(body), *headers, b"", body])


def framed(framing: bytes, body: bytes, path: bytes = b"/") -> bytes:
    """A request with these lines for its length, whatever they are."""
    return b"POST " + path + b" HTTP/1.1\r\nhost: x\r\n" + framing + b"\r\n\r\n" + body


def chunked(body: bytes, path: bytes = b"/") -> bytes:
    """A request in chunks, as they are."""
    return framed(b"transfer-encoding: chunked", body, path)


def upgrade(*headers: bytes) -> bytes:
    """A wish for a websocket."""
    return get(b"/", b"connection: upgrade", b"upgrade: websocket", *headers)


def part(headers: bytes, body: bytes = b"x") -> bytes:
    """A part of a form."""
    return b"--b\r\n" + headers + b"\r\n\r\n" + body + b"\r\n"


NAMED = b'content-disposition: form-data; name="a"'
FILE = NAMED + b'; filename="f"'
END = b"--b--\r\n"
GZIP = b"content-encoding: gzip"
KEY = (b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", b"sec-websocket-version: 13")
ENDED = b"0\r\n\r\n"
ABC = b"3\r\nabc\r\n0\r\n\r\n"

# who sends both lengths, or one that two readers could read in two ways, is to get one answer: what
# a proxy took for a body must not be taken for a request. RFC 9112, 6.1 to 6.3 and 11.2
SMUGGLING = [
    Case("both lengths", framed(b"content-length: 5\r\ntransfer-encoding: chunked", ENDED), (400,)),
    Case("both, turned", framed(b"transfer-encoding: chunked\r\ncontent-length: 5", ENDED), (400,)),
    Case("both, none", framed(b"transfer-encoding: chunked\r\ncontent-length: 0", ENDED), (400,)),
    Case("chunked in 1.0", b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n" + ENDED, (400,)),
    Case("chunked twice", framed(b"transfer-encoding: chunked\r\n" * 2 + b"a: b", ENDED), (501,)),
    Case("chunked, identity", framed(b"transfer-encoding: chunked, identity", ENDED), (501,)),
    Case("identity", framed(b"transfer-encoding: identity\r\ncontent-length: 5", ENDED), (501,)),
    Case("xchunked", framed(b"transfer-encoding: xchunked", ENDED), (501,)),
    Case("quoted", framed(b'transfer-encoding: "chunked"', ENDED), (501,)),
    Case("space before colon", framed(b"transfer-encoding : chunked", ENDED), (400,)),
    Case("vertical tab", framed(b"transfer-encoding:\x0bchunked", ENDED), (400,)),
    Case("two lengths", framed(b"content-length: 3\r\ncontent-length: 4", b"abc"), (400,)),
    Case("list of lengths", framed(b"content-length: 3, 4", b"abc"), (400,)),
    Case("negative", framed(b"content-length: -1", b"abc"), (400,)),
    Case("plus", framed(b"content-length: +3", b"abc"), (400,)),
    Case("hex", framed(b"content-length: 0x3", b"abc"), (400,)),
    Case("space within", framed(b"content-length: 1 3", b"abc"), (400,)),
    Case("underscore", framed(b"content-length: 0_3", b"abc"), (400,)),
    Case("empty length", framed(b"content-length: ", b"abc"), (400,)),
    Case("other digits", framed(b"content-length: \xd9\xa3", b"abc"), (400,)),
    Case("superscript", framed(b"content-length: \xb3", b"abc"), (400,)),
    Case("25 digits", framed(b"content-length: " + b"9" * 25, b"abc"), (400,)),
    Case("5,000 digits", framed(b"content-length: " + b"9" * 5000, b"abc"), (400,)),
    Case("chunk size: plus", chunked(b"+" + ABC), (400,)),
    Case("chunk size: minus", chunked(b"-" + ABC), (400,)),
    Case("chunk size: hex", chunked(b"0x" + ABC), (400,)),
    Case("chunk size: space", chunked(b" " + ABC), (400,)),
    Case("chunk size: none", chunked(b"\r\n" + ABC), (400,)),
    Case("chunk size: 20 digits", chunked(b"F" * 20 + ABC), (400,)),
    Case("chunk size: bare LF", chunked(ABC.replace(b"\r\n", b"\n")), (400,)),
    Case("chunk longer", chunked(b"3\r\nabcde\r\n0\r\n\r\n"), (400,)),
    Case("chunk without end", chunked(b"3\r\nabcde0\r\n\r\n"), (400,)),
    Case("chunk extension: LF", chunked(b"3;\nx\r\nabc\r\n0\r\n\r\n"), (400,)),
    Case("chunk extension: 100 kB", chunked(b"3;" + b"x" * 100_000 + b"\r\nabc\r\n" + ENDED), (431,)),
    Case("trailer without colon", chunked(b"3\r\nabc\r\n0\r\nx y\r\n\r\n"), (400,)),
    Case("trailers of 200 kB", chunked(b"0\r\n" + b"x: yyyyyyyyyyyyyyyy\r\n" * 10_000 + b"\r\n"), (431,)),
]  # fmt: skip

# what may be followed by another request, which has its answer
KEPT = [
    Case("chunk extension", chunked(b'3;a=b;c="d"\r\nabc\r\n0\r\n\r\n'), (200,)),
    Case("trailers", chunked(b"3\r\nabc\r\n0\r\nx: y\r\ncontent-length: 7\r\n\r\n"), (200,)),
    Case("chunks in capitals", framed(b"Transfer-Encoding: ChUnKeD", ABC), (200,)),
    Case("length twice", framed(b"content-length: 3\r\ncontent-length: 3", b"abc"), (200,)),
    Case("length with zeros", framed(b"content-length: 003", b"abc"), (200,)),
    Case("a body for GET", get(b"/", b"content-length: 3") + b"abc", (200,)),
    Case("no length, no body", framed(b"a: b", b""), (200,)),
    Case("folded header", get(b"/", b"a: b", b" c"), (200,)),
    Case("bare LF", b"GET / HTTP/1.1\nhost: x\n\n", (200,)),
    Case("HTTP/1.2", get(version=b"HTTP/1.2"), (200,)),
    Case("unknown method", b"BREW / HTTP/1.1\r\nhost: x\r\n\r\n", (405,)),
    Case("TRACE", b"TRACE / HTTP/1.1\r\nhost: x\r\n\r\n", (405,)),
    Case("CONNECT", b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n", (404,)),
    Case("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", (204,)),
    Case("GET *", get(b"*"), (404,)),
    Case("absolute form", get(b"http://other:80/x/7?a=b"), (200,)),
    Case("absolute form without path", get(b"http://other"), (200,)),
    Case("authority form", get(b"x:80"), (404,)),
    Case("broken percent-encodings", get(b"/x/%C0%80%zz%?%ff=%zz&=&&;=%00"), (200,)),
    Case("percent-encoded NUL and CRLF", get(b"/x/%00%0d%0a"), (200,)),
    Case("fragment", get(b"/x/a#b"), (200,)),
    Case("dots", get(b"/x/../../etc/passwd"), (404,)),
    Case("only slashes", get(b"//////"), (404,)),
    Case("header not ASCII", get(b"/echo", b"x-echo: \xff\xe4"), (200,)),
    Case("header with a control character", get(b"/", b"a: b\x1b[0m"), (200,)),
    Case("expects 100", post(b"1", b"expect: 100-continue"), (200,)),
    Case("expects else", post(b"1", b"expect: tea"), (200,)),
    Case("h2c", get(b"/", b"upgrade: h2c", b"connection: upgrade", b"http2-settings: AAA"), (200,)),
    Case("upgrade to rubbish", get(b"/", b"upgrade: \xff", b"connection: upgrade, \xff"), (200,)),
    Case("preflight not ASCII", b"OPTIONS / HTTP/1.1\r\nhost: x\r\norigin: \xff\r\n"
        b"access-control-request-method: \xe4\r\naccess-control-request-headers: \xff\r\n\r\n", (204,)),
]  # fmt: skip

# whose connection ends with the answer, whatever follows
CLOSED = [
    Case("rubbish", b"GARBAGE\r\n\r\n", (400,)),
    Case("a TLS handshake", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", (400,)),
    Case("line breaks alone", b"\r\n" * 1000, (400,)),
    Case("HTTP/0.9", b"GET /\r\n\r\n", (400,)),
    Case("HTTP/0.9, said", get(version=b"HTTP/0.9"), (505,)),
    Case("HTTP/2.0", get(version=b"HTTP/2.0"), (505,)),
    Case("HTTP/3.0", get(version=b"HTTP/3.0"), (505,)),
    Case("HTTP/1", get(version=b"HTTP/1"), (400,)),
    Case("HTTP/1.10", get(version=b"HTTP/1.10"), (400,)),
    Case("http/1.1", get(version=b"http/1.1"), (400,)),
    Case("HTTP/1.0", b"GET / HTTP/1.0\r\n\r\n", (200,)),
    Case("HTTP/1.0, kept", b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", (200,)),
    Case("asked to close", get(b"/", b"connection: close"), (200,)),
    Case("asked to close, and a line break", post(b"1", b"connection: close") + b"\r\n", (200,)),
    Case("no host", b"GET / HTTP/1.1\r\n\r\n", (400,)),
    Case("two hosts", get(b"/", b"host: y"), (400,)),
    Case("NUL in target", get(b"/\x00"), (400,)),
    Case("target not ASCII", get(b"/\xc3\xa4"), (400,)),
    Case("space in target", get(b"/a b"), (400,)),
    Case("method not ASCII", b"G\xc3\xa4T / HTTP/1.1\r\nhost: x\r\n\r\n", (400,)),
    Case("space before method", b" " + get(), (400,)),
    Case("two spaces", b"GET  / HTTP/1.1\r\nhost: x\r\n\r\n", (400,)),
    Case("bare CR", b"GET / HTTP/1.1\rhost: x\r\r", (400,)),
    Case("CR in header", get(b"/", b"a: b\rc: d"), (400,)),
    Case("NUL in header", get(b"/", b"a: b\x00c"), (400,)),
    Case("header without colon", get(b"/", b"a b"), (400,)),
    Case("header without name", get(b"/", b": b"), (400,)),
    Case("header of 60 kB", get(b"/", b"a: " + b"x" * 60_000), (431,)),
    Case("header of 1 MB", get(b"/", b"a: " + b"x" * 1_000_000), (431,)),
    Case("10,000 headers", get(b"/", *[b"a: b"] * 10_000), (431,)),
    Case("method of 60 kB", b"A" * 60_000 + b" / HTTP/1.1\r\nhost: x\r\n\r\n", (431,)),
    Case("target of 1 MB", get(b"/" + b"x" * 1_000_000), (431,)),
    Case("websocket: no key", upgrade(), (400,)),
    Case("websocket: other version", upgrade(KEY[0], b"sec-websocket-version: 99"), (400,)),
    Case("websocket: no ASCII", upgrade(b"sec-websocket-key: \xff", b"sec-websocket-version: \xff"), (400,)),
    Case("websocket: extension", upgrade(*KEY, b"sec-websocket-extensions: x; y=\xff"), (400,)),
    Case("websocket: protocol", upgrade(*KEY, b"sec-websocket-protocol: \xff,,"), (400,)),
    Case("websocket: frames ahead", upgrade(*KEY) + b"\x81\xff\xff\xff\xff", (400,)),
    Case("websocket: a body", upgrade(*KEY, b"content-length: 5") + b"hello", (400,)),
    Case("a body that is cut off", framed(b"content-length: 3000", b"abc"), (400,)),
    Case("chunks that are cut off", chunked(b"30\r\nabc"), (400,)),
]  # fmt: skip

DEEP = 100_000

# bodies that are not what they say
BODIES = [
    Case("JSON: none", post(b"{"), (400,)),
    Case("JSON: 100,000 deep", post(b"[" * DEEP), (400,)),
    Case("JSON: 100,000 deep and back", post(b"[" * (LIMIT // 2) + b"]" * (LIMIT // 2)), (400,)),
    Case("JSON: objects deep", post(b'{"a":' * 30_000 + b"1" + b"}" * 30_000), (400,)),
    Case("JSON: a number of 100 kB", post(b"9" * 100_000), (400,)),
    Case("JSON: infinite", post(b"1e99999"), (400,)),
    Case("JSON: half a surrogate", post(b'"\\ud800"'), (400,)),
    Case("JSON: UTF-16", post('"a"'.encode("utf-16")), (400,)),
    Case("JSON: NUL", post(b"\x00"), (400,)),
    Case("schema: other", post(b'{"n": "x"}', path=b"/orders"), (400,)),
    Case("schema: a list", post(b"[" + b"1," * 50_000 + b"1]", path=b"/orders"), (400,)),
    Case("text: unknown charset", post(b"x", kind=TEXT + b"; charset=nope"), (400,)),
    Case("text: no charset", post(b"x", kind=TEXT + b"; charset=zip"), (400,)),
    Case("text: a path for a charset", post(b"x", kind=TEXT + b"; charset=../x"), (400,)),
    Case("text: empty charset", post(b"x", kind=TEXT + b"; charset="), (400,)),
    Case("text: a long charset", post(b"x", kind=TEXT + b"; charset=" + b"a" * 9_000), (400,)),
    Case("text: not in its charset", post(b"\xff", kind=TEXT), (400,)),
    Case("text: half a character", post(b"abcde", kind=TEXT + b"; charset=utf-32"), (400,)),
    Case("urlencoded: not UTF-8", post(b"a=%ff", kind=URLENCODED), (400,)),
    Case("urlencoded: 50,000 fields", post(b"a&" * 50_000, kind=URLENCODED), (400,)),
    Case("gzip: none", post(b"nope", GZIP), (400,)),
    Case("gzip: cut off", post(gzip.compress(b"[1]", mtime=0)[:-4], GZIP), (400,)),
    Case("gzip: wrong sum", post(gzip.compress(b"[1]", mtime=0)[:-8] + bytes(8), GZIP), (400,)),
    Case("gzip: bomb", post(gzip.compress(bytes(50_000_000), mtime=0), GZIP), (413,)),
    Case("gzip: bomb in a form", post(gzip.compress(part(FILE, bytes(50_000_000)), mtime=0), GZIP, kind=MULTIPART), (413,)),
    Case("gzip: bomb for a reader", post(gzip.compress(bytes(50_000_000), mtime=0), GZIP, kind=b"x/y", path=b"/reader"), (413,)),
    Case("gzip: 5,000 empty members", post(gzip.compress(b"", mtime=0) * 5_000, GZIP), (200,)),
    Case("gzip: twice", post(gzip.compress(b"1", mtime=0), b"content-encoding: gzip, gzip"), (415,)),
    Case("brotli", post(b"x", b"content-encoding: br"), (415,)),
    Case("deflate: none", post(b"\xff\xff\xff", b"content-encoding: deflate"), (400,)),
    Case("deflate: more", post(zlib.compress(b"1") + b"1", b"content-encoding: deflate"), (400,)),
    Case("form: no boundary", post(b"--b--", kind=b"multipart/form-data"), (400,)),
    Case("form: no end", post(part(NAMED), kind=MULTIPART), (400,)),
    Case("form: other boundary", post(part(NAMED) + END, kind=MULTIPART + b"c"), (400,)),
    Case("form: boundary of 9 kB", post(b"--", kind=MULTIPART + b"b" * 9_000), (400,)),
    Case("form: 2,500 parts", post(part(NAMED, b"") * 2_500 + END, kind=MULTIPART), (400,)),
    Case("form: a header of 100 kB", post(part(NAMED + b"\r\nx: " + b"y" * 100_000) + END, kind=MULTIPART), (400,)),
    Case("form: 10,000 headers", post(part(NAMED + b"\r\nx: y" * 10_000) + END, kind=MULTIPART), (400,)),
    Case("form: a part without a name", post(part(b"x: y") + END, kind=MULTIPART), (400,)),
    Case("form: line break in a name", post(part(b'content-disposition: form-data; name="a\r\n"') + END, kind=MULTIPART), (400,)),
    Case("form: quotes in a name", post(part(b'content-disposition: form-data; name="a\\"b\\\\"') + END, kind=MULTIPART), (200,)),
    Case("form: name not UTF-8", post(part(b'content-disposition: form-data; name="\xff"') + END, kind=MULTIPART), (400,)),
    Case("form: a path for a file name", post(part(NAMED + b'; filename="../../etc/passwd"') + END, kind=MULTIPART), (200,)),
    Case("form: nested", post(part(NAMED + b"\r\ncontent-type: multipart/mixed; boundary=c", b"--c\r\n\r\nx\r\n--c--") + END, kind=MULTIPART), (200,)),
    Case("form: bad charset", post(part(NAMED + b"\r\ncontent-type: text/plain; charset=zip") + END, kind=MULTIPART), (400,)),
    Case("form: not UTF-8", post(part(NAMED, b"\xff") + END, kind=MULTIPART), (400,)),
    Case("form: almost boundaries", post(part(FILE, b"\r\n--" * 40_000) + END, kind=MULTIPART), (200,)),
    Case("too large", post(bytes(LIMIT + 1)), (413,)),
    Case("much too large", post(bytes(20 * LIMIT)), (413,)),
    Case("too large in chunks", chunked((b"10000\r\n" + bytes(0x10000) + b"\r\n") * 5 + ENDED), (413,)),
    Case("too large for a reader", chunked((b"10000\r\n" + bytes(0x10000) + b"\r\n") * 5 + ENDED, b"/reader"), (413,)),
    Case("a reader that is cut off", framed(b"content-length: 30", b"abc", b"/reader"), (400,)),
    Case("a reader of bad chunks", chunked(b"3\r\nabc\r\nzz\r\n", b"/reader"), (400,)),
    Case("10,000 chunks of a byte", chunked(b"1\r\na\r\n" * 10_000 + ENDED), (200,)),
    Case("too large for a path that is none", chunked((b"10000\r\n" + bytes(0x10000) + b"\r\n") * 5 + ENDED, b"/nope"), (404,)),
]  # fmt: skip

GROUPS = {"lengths": SMUGGLING, "odd": KEPT, "heads": CLOSED, "bodies": BODIES}

# valid requests of every kind: what the random ones are made of
VALID = [
    get(b"/x/7?a=b&c=d", b"accept: */*", b"cookie: a=b"),
    post(b'{"n": 1}', path=b"/orders"),
    post(b'{"n": 1}', b"expect: 100-continue", path=b"/orders"),
    post(b"a=b&c=d", kind=b"application/x-www-form-urlencoded", path=b"/form"),
    post(part(NAMED) + END, kind=MULTIPART, path=b"/form"),
    post("ä".encode(), kind=b"text/plain; charset=utf-8"),
    chunked(b'5;a="b"\r\n{"n":\r\n2\r\n1}\r\n0\r\nx: y\r\n\r\n', b"/reader"),
    chunked(ABC, b"/reader"),
    get(b"/events"),
    get(b"/echo", b"x-echo: hello"),
    b"OPTIONS / HTTP/1.1\r\nhost: x\r\norigin: http://a\r\naccess-control-request-method: GET\r\n\r\n",
    upgrade(*KEY),
    b"HEAD / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
]


def mutated(chance: random.Random) -> bytes:
    """One or two valid requests, changed in a few places."""
    raw = bytearray(b"".join(chance.sample(VALID, chance.choice([1, 1, 2]))))
    odd = [b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"\xff", b",", b";", b"0", b"-1", b"9" * 30]
    odd += [b"transfer-encoding: chunked\r\n", b"content-length: 5\r\n", b"HTTP/1.0", b'"', b"%"]
    for _ in range(chance.randint(1, 5)):
        place = chance.randrange(len(raw))
        match chance.randrange(6):
            case 0:
                raw[place] = chance.randrange(256)
            case 1:
                raw[place:place] = chance.choice(odd)
            case 2:
                del raw[place : place + chance.randint(1, 20)]
            case 3:
                raw[place:place] = raw[place : place + chance.randint(1, 40)]
            case 4:
                raw[place : place + 2] = chance.choice(odd)
            case 5:
                line = chance.choice(bytes(raw).split(b"\r\n"))
                raw[place:place] = b"\r\n" + line + b"\r\n"
    return bytes(raw)
