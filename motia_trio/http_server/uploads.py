"""Files that come with a form."""

from __future__ import annotations

from tempfile import SpooledTemporaryFile
from typing import IO, Any, Self, TypeAlias, cast

import trio
from pydantic_core import core_schema

__all__ = ["SPOOL", "UploadedFile"]

_Bytes: TypeAlias = bytes  # the class has a property of that name

#: bytes of a file that are kept in memory; a larger one lies on the disk
SPOOL = 1024 * 1024


class UploadedFile:
    """A file of a ``multipart/form-data`` body. It is there until its request is answered.

    ``name`` (also ``filename``) and ``type`` (also ``content_type``) are what the client says they
    are; ``size`` is in bytes. Its content is :attr:`bytes`, :meth:`read`, or the file object
    :attr:`file`. Above 1 MiB it lies on the disk, and these read from there; :meth:`read_all` does
    so without holding up others.
    """

    __slots__ = ("_on_disk", "content_type", "file", "filename", "size")

    def __init__(self, filename: str, content_type: str, content: _Bytes = b"") -> None:
        self.filename = filename
        self.content_type = content_type
        self.size = 0
        #: the content as a binary file, at its beginning
        self.file: IO[_Bytes] = cast("IO[_Bytes]", SpooledTemporaryFile(max_size=SPOOL))  # noqa: SIM115
        self._on_disk = False
        if content:
            self.write(content)
            self.file.seek(0)

    @property
    def name(self) -> str:
        """The file's name, as the client says it is. Do not open a path made of it."""
        return self.filename

    @property
    def type(self) -> str:
        """The media type, as the client says it is."""
        return self.content_type

    @property
    def bytes(self) -> _Bytes:
        """The whole content, wherever the file object stands."""
        place = self.file.tell()
        self.file.seek(0)
        try:
            return self.file.read()
        finally:
            self.file.seek(place)

    def read(self, size: int = -1) -> _Bytes:
        """Read ``size`` bytes (all by default) from where the file object stands."""
        return self.file.read(size)

    async def read_all(self) -> _Bytes:
        """Give the whole content, from the disk in a thread. A checkpoint."""
        if self._on_disk:
            return await trio.to_thread.run_sync(lambda: self.bytes)
        await trio.lowlevel.checkpoint()
        return self.bytes

    def __len__(self) -> int:
        return self.size

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<UploadedFile {self.filename!r} {self.content_type} {self.size} bytes>"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.filename, self.content_type, self.bytes)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """It is the same file: a transaction that begins anew reads it from its beginning."""
        self.file.seek(0)
        return self

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """A field of a model may be one."""
        return core_schema.is_instance_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        """As OpenAPI tells of files."""
        return {"type": "string", "format": "binary"}

    # what the edge does with it

    def write(self, data: _Bytes) -> None:
        """Append bytes. May touch the disk: see :meth:`is_large_with`."""
        self._on_disk = self.is_large_with(len(data))
        self.file.write(data)
        self.size += len(data)

    def is_large_with(self, size: int) -> bool:
        """Whether it lies on the disk once ``size`` more bytes are written."""
        return self.size + size > SPOOL

    @property
    def on_disk(self) -> bool:
        """Whether it lies on the disk."""
        return self._on_disk

    def close(self) -> None:
        """Give up the content."""
        self.file.close()
