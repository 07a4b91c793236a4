"""Read one image from a request, in memory and within a limit.

``multipart/form-data`` with one file in the field ``file``, or the bare bytes as the body. Anything
that is not declared multipart is taken for bare bytes: the content decides what they are.
"""

from collections.abc import AsyncGenerator
from typing import Final, Never

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from app.errors import BodyTooLarge, EmptyBody, MalformedMultipart, MissingFile, TooManyFiles
from app.imaging import ACCEPTED_FORMATS

FIELD: Final = "file"
_MAX_PARTS: Final = 16


async def read_upload(request: Request, max_bytes: int) -> bytes:
    """Read the image of a request.

    Args:
        request: Its body is consumed.
        max_bytes: Most bytes of the whole body; counted as they come, whatever is declared.

    Raises:
        RequestError: Empty, without the field, with several files, or not parseable.
        BodyTooLarge: More bytes than the limit; the rest is not read.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        data = await _read_multipart(request, max_bytes)
    else:
        data = b"".join([chunk async for chunk in _limited(request, max_bytes)])
    if not data:
        raise EmptyBody(f"Received an empty image. Send {ACCEPTED_FORMATS} in the field '{FIELD}', or as the body.")
    return data


async def gone(request: Request) -> Never:
    """Wait until the caller of a request that was read has gone.

    Raises:
        ClientDisconnect: It has.
    """
    while (await request.receive())["type"] != "http.disconnect":
        pass
    raise ClientDisconnect


class _InMemoryParser(MultiPartParser):
    def __init__(self, request: Request, max_bytes: int) -> None:
        super().__init__(request.headers, _limited(request, max_bytes), max_files=_MAX_PARTS, max_fields=_MAX_PARTS)
        # Starlette moves what is larger to a temporary file; uploads must never touch a disk.
        self.spool_max_size = max_bytes + 1
        self.ended = False

    def on_end(self) -> None:
        """Note the closing boundary."""
        self.ended = True


async def _read_multipart(request: Request, max_bytes: int) -> bytes:
    parser = _InMemoryParser(request, max_bytes)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise MalformedMultipart(
            f"The body is declared multipart/form-data but cannot be parsed: {error.message}"
        ) from error
    try:
        if not parser.ended:
            raise MalformedMultipart("The multipart form ends before its closing boundary. Send it whole.")
        return await _only_file(form).read()
    finally:
        await form.close()


def _only_file(form: FormData) -> UploadFile:
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if len(files) > 1:
        raise TooManyFiles(f"Received {len(files)} files. Send one image a request, in the field '{FIELD}'.")
    file = form.get(FIELD)
    if not isinstance(file, UploadFile):
        raise MissingFile(f"Received {_describe(form)}. Send one image as a file in the field '{FIELD}'.")
    return file


def _describe(form: FormData) -> str:
    if FIELD in form:
        return f"text in the field '{FIELD}', where a file with a file name belongs"
    count = len(form.multi_items())
    return f"{count} other field{'s' * (count != 1)}" if count else "an empty form"


async def _limited(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise _too_large(max_bytes)
        yield chunk


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The body is larger than {max_bytes} bytes ({max_bytes / 2**20:.3g} MiB), the most that is accepted."
    )
