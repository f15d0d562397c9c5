"""``multipart/form-data``, read as it arrives: fields into memory, large files onto the disk."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import trio
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from motia_trio.data import Data
from motia_trio.http_server.refusals import Malformed
from motia_trio.http_server.texts import charset_of
from motia_trio.http_server.uploads import UploadedFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Form", "read_form"]

# a form of a person has a handful of parts, and of a script some hundred
_PARTS = 1000
# bytes of the headers of one part; they hold a name, a file's name and a type
_PART_HEADERS = 8 * 1024

# what is malformed is told with the request's answer, once
_SILENT = logging.getLogger("motia_trio.http_server.multipart.parser")
_SILENT.disabled = True


class Form:
    """What came so far of a form. ``files`` have to be closed when the request is over."""

    def __init__(self, content_type: str) -> None:
        """Raises Malformed for a content type without a boundary."""
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise Malformed("multipart/form-data without a boundary")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._header_name,
                    "on_header_value": self._header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._part_data,
                    "on_part_end": self._end_part,
                    "on_end": self._end_form,
                },
            )
        except FormParserError as error:
            raise Malformed(str(error)) from None
        self._parser.logger = _SILENT
        self._whole = False
        self._parts = self._header_bytes = 0
        self._name = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._field: str | None = None
        self._text = bytearray()
        self._charset = "utf-8"
        self._file: UploadedFile | None = None
        self._fields: dict[str, Any] = {}
        #: every file, in the order in which they came
        self.files: list[UploadedFile] = []
        #: what is to be written to files that lie on the disk
        self._unwritten: list[tuple[UploadedFile, bytes]] = []

    async def feed(self, data: bytes) -> None:
        """Take the next piece of the body. A checkpoint if something goes onto the disk.

        Raises:
            Malformed: it is no form, or one with too many or too odd parts.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise Malformed(f"multipart: {error}") from None
        if self._unwritten:
            unwritten, self._unwritten = self._unwritten, []
            await trio.to_thread.run_sync(_write, unwritten)

    async def finish(self) -> Data:
        """Give the fields: str, or :class:`UploadedFile`; a list where a name is repeated.

        Raises:
            Malformed: the end is missing.
        """
        if not self._whole:
            raise Malformed("multipart: the end is missing")
        for file in self.files:
            file.file.seek(0)
        return Data(self._fields)

    def close(self) -> None:
        """Give up the files."""
        for file in self.files:
            file.close()

    # what the parser calls

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > _PARTS:
            raise Malformed(f"multipart: more than {_PARTS} parts")
        self._headers, self._header_bytes = {}, 0
        self._field = None
        self._file = None
        self._text = bytearray()

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _PART_HEADERS:
            raise Malformed(f"multipart: the headers of a part are over {_PART_HEADERS} bytes")

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._count(4)
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(
            self._headers.get(b"content-disposition", b"").decode("latin-1")
        )
        if (name := options.get(b"name")) is None:
            raise Malformed("multipart: a part without a name")
        self._field = _text_of(name, "utf-8")
        kind = self._headers.get(b"content-type", b"").decode("latin-1")
        if (filename := options.get(b"filename")) is not None:
            self._file = UploadedFile(
                _text_of(filename, "utf-8"),
                kind.partition(";")[0].strip().lower() or "application/octet-stream",
            )
            self.files.append(self._file)
        try:
            self._charset = charset_of(kind)
        except (LookupError, ValueError) as error:
            raise Malformed(f"multipart: {error}") from None

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        part = data[start:end]
        if self._file is None:
            self._text += part
        elif self._file.on_disk or self._file.is_large_with(
            len(part) + sum(len(waits) for file, waits in self._unwritten if file is self._file)
        ):
            self._unwritten.append((self._file, part))
        else:
            self._file.write(part)

    def _end_part(self) -> None:
        if self._field is None:
            raise Malformed("multipart: a part without a name")
        value: Any = self._file
        if value is None:
            value = _text_of(bytes(self._text), self._charset)
        have = self._fields.get(self._field)
        if self._field not in self._fields:
            self._fields[self._field] = value
        elif isinstance(have, list):
            have.append(value)
        else:
            self._fields[self._field] = [have, value]

    def _end_form(self) -> None:
        self._whole = True


async def read_form(content_type: str, chunks: AsyncIterator[bytes]) -> tuple[Data, Form]:
    """Read a whole form. The caller closes the form when its request is over. A checkpoint.

    Raises:
        Malformed: it is no form.
        What ``chunks`` raises.
    """
    form = Form(content_type)
    try:
        async for chunk in chunks:
            await form.feed(chunk)
        return await form.finish(), form
    except BaseException:
        form.close()
        raise


def _write(unwritten: list[tuple[UploadedFile, bytes]]) -> None:
    for file, data in unwritten:
        file.write(data)


def _text_of(raw: bytes, charset: str) -> str:
    try:
        return raw.decode(charset)
    except ValueError as error:
        raise Malformed(f"multipart: {error}") from None
