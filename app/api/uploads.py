"""Read one image from a request, in memory and within a limit.

``multipart/form-data`` with one file in the field ``file``, or the bare bytes as the body. Anything
that is not declared multipart is taken for bare bytes: the content decides what they are.
"""

from collections.abc import AsyncGenerator
from typing import Final, Never

from fastapi import Request
from starlette.requests import ClientDisconnect

from app.api.multipart import read_file
from app.errors import BodyTooLarge, EmptyBody
from app.imaging import ACCEPTED_FORMATS
from app.upload_memory import Upload

FIELD: Final = "file"
UPLOAD_PATHS: Final = frozenset({"/predict", "/explain"})


async def read_upload(request: Request, max_bytes: int, upload: Upload) -> bytes:
    """Read the image of a request.

    Args:
        request: Its body is consumed.
        max_bytes: Most bytes of the whole body; counted as they come, whatever is declared.
        upload: Counts them too, and lets more be read when memory is free.

    Raises:
        RequestError: Empty, without the field, with several files, or not parseable.
        BodyTooLarge: More bytes than the limit; the rest is not read.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    body = _limited(request, max_bytes, upload)
    content_type = request.headers.get("content-type", "")
    if content_type.lower().startswith("multipart/form-data"):
        data = await read_file(content_type, body, FIELD)
    else:
        data = b"".join([chunk async for chunk in body])
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


async def _limited(request: Request, max_bytes: int, upload: Upload) -> AsyncGenerator[bytes, None]:
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise _too_large(max_bytes)
        await upload.add(len(chunk))
        yield chunk


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The body is larger than {max_bytes} bytes ({max_bytes / 2**20:.3g} MiB), the most that is accepted."
    )
