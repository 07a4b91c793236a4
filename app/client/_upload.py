"""One image as the body of a request, read piece by piece while it is sent.

The bare bytes and not a form: a form's file has a name, and names can name patients.
"""

import asyncio
import io
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Final, Self, TypeAlias

Image: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO
"""A file's path; its content; or a stream, read from where it stands to its end and left open."""

_CHUNK_BYTES: Final = 2**18


class Upload:
    """An opened image; entered as a context manager, its file is closed at the end.

    Attributes:
        headers: Of the request that it becomes the body of.
    """

    def __init__(self, image: Image) -> None:
        """Open it.

        Raises:
            OSError: The file cannot be read.
            TypeError: It is a stream of text.
        """
        self._close = ExitStack()
        self._stream = self._open(image)
        self._left = _bytes_left(self._stream)
        self.headers = {"Content-Type": "application/octet-stream"}
        if self._left is not None:  # otherwise httpx sends in chunks
            self.headers["Content-Length"] = str(self._left)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close.close()

    def chunks(self) -> Iterator[bytes]:
        """Read it piece by piece.

        Raises:
            OSError: The file cannot be read further, or is not as long as it was when it was opened.
        """
        while chunk := self._read():
            yield chunk

    async def chunks_async(self) -> AsyncIterator[bytes]:
        """Read it piece by piece, on a thread, as it may lie on a slow share.

        Raises:
            OSError: The file cannot be read further, or is not as long as it was when it was opened.
        """
        while chunk := await asyncio.to_thread(self._read):
            yield chunk

    def _open(self, image: Image) -> BinaryIO:
        if isinstance(image, bytes | bytearray | memoryview):
            return io.BytesIO(image)
        if isinstance(image, str | os.PathLike):
            # Buffered: closing it, where a request is cancelled, then waits for a read on another thread.
            return self._close.enter_context(Path(image).open("rb"))
        if isinstance(image, io.TextIOBase):
            raise TypeError("Received a stream of text. Open the file in binary mode: open(path, 'rb').")
        return image

    def _read(self) -> bytes:
        if self._left is None:
            return self._stream.read(_CHUNK_BYTES)
        chunk = self._stream.read(min(_CHUNK_BYTES, self._left))
        self._left -= len(chunk)
        # Found before the last piece is sent, so that half a file is never answered as if it were the image.
        if self._left and not chunk:
            raise OSError("The file became shorter while it was being sent. Send it once it is complete.")
        if chunk and not self._left and self._stream.read(1):
            raise OSError("The file became longer while it was being sent. Send it once it is complete.")
        return chunk


def _bytes_left(stream: BinaryIO) -> int | None:
    if not stream.seekable():
        return None
    start = stream.tell()
    end = stream.seek(0, os.SEEK_END)
    stream.seek(start)
    return end - start
