"""What a fuzzer gives bytes to: the code that reads foreign ones. Anything but a refusal is a finding."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Final

from app.api.multipart import read_file
from app.errors import UploadError
from app.imaging.decode import decode
from app.imaging.grey import DecodeLimits
from tests.fuzz.attack import MODALITIES
from tests.fuzz.requests import FORM

_LIMITS: Final = DecodeLimits(max_pixels=4_000_000, max_bytes=2**24, modalities=tuple(MODALITIES.split(",")))
_CHUNK_BYTES: Final = 1000


def decode_bytes(data: bytes) -> None:
    """Decode, as the service would."""
    with suppress(UploadError):
        decode(data, _LIMITS)


def read_form(data: bytes) -> None:
    """Read an upload from a body that is declared a form, as it comes."""

    async def chunks() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(data), _CHUNK_BYTES):
            yield data[start : start + _CHUNK_BYTES]

    with suppress(UploadError):
        asyncio.run(read_file(FORM, chunks(), "file"))
