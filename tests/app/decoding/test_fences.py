"""What a decoder's process cannot do, and that its answers are those that decoding without a fence gives."""

import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from app.decoding.decoders import Decoders
from app.decoding.messages import Terms
from app.errors import CorruptImage, TooManyPixels, UnsupportedModality
from app.imaging import DecodeLimits, to_square
from app.imaging.decode import decode
from app.metrics import Metrics
from app.overlay import preview_of
from tests.app.server import ROOT, Server
from tests.images import dicom, encode, radiograph

GREY: Final = radiograph(300, 260)
DEEP: Final = GREY.astype(np.uint16) * 16
COLOUR: Final = np.stack([GREY, GREY // 2, 255 - GREY], axis=-1)
LIMITS: Final = DecodeLimits(max_pixels=100_000, max_bytes=400_000, modalities=("DX", "OT"))

SYNTAXES: Final = (
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
    HTJ2KLossless,
)
TIFFS: Final = ("tiff_lzw", "tiff_deflate", "packbits", "jpeg", "lzma", "zstd")


def palette(image_format: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(COLOUR).quantize().save(stream, image_format)
    return stream.getvalue()


IMAGES: Final = {
    **{name: encode(COLOUR, name) for name in ("PNG", "JPEG", "WEBP", "TIFF", "BMP")},
    **{f"TIFF, {name}": encode(COLOUR, "TIFF", compression=name) for name in TIFFS},
    **{f"{name}, palette": palette(name) for name in ("PNG", "TIFF")},
    **{f"{name}, 16 bits": encode(DEEP, name) for name in ("PNG", "TIFF")},
    "WEBP, lossless": encode(COLOUR, "WEBP", lossless=True),
    **{syntax.name: dicom(DEEP, transfer_syntax=syntax, bits_stored=12) for syntax in SYNTAXES},
    JPEGBaseline8Bit.name: dicom(GREY, transfer_syntax=JPEGBaseline8Bit),
    "small": dicom(GREY[:100, :90], modality="OT"),
}

FORBIDDEN: Final = {
    "a file to read": "open('/etc/hostname')",
    "a file to write": "open('/tmp/file', 'w')",
    "a socket": "__import__('socket').socket()",
    "a pipe": "__import__('os').pipe()",
    "memory": "bytearray(2 * memory_bytes(limits))",
}


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    with started(1) as decoders:
        yield decoders


@contextmanager
def started(preprocessing_version: int) -> Iterator[Decoders]:
    decoders = Decoders(Terms(LIMITS, 60, preprocessing_version), 60, Metrics())
    decoders.start()
    yield decoders
    decoders.close()


@pytest.mark.parametrize("name", IMAGES)
def test_answer_is_that_of_decoding_without_a_fence(decoders: Decoders, name: str) -> None:
    image = decode(IMAGES[name], LIMITS)
    for with_preview in (False, True):
        decoded = decoders.decode(IMAGES[name], with_preview=with_preview)
        assert decoded.facts == image.facts
        np.testing.assert_array_equal(decoded.square, to_square(image.pixels, version=1))
        if with_preview:
            assert decoded.preview is not None
            np.testing.assert_array_equal(decoded.preview, preview_of(image.pixels))
        else:
            assert decoded.preview is None


def test_square_is_of_the_model_s_preprocessing() -> None:
    with started(2) as decoders:
        square = decoders.decode(IMAGES["PNG, 16 bits"], with_preview=False).square
    pixels = decode(IMAGES["PNG, 16 bits"], LIMITS).pixels
    np.testing.assert_array_equal(square, to_square(pixels, version=2))
    assert (square != to_square(pixels, version=1)).any()


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (IMAGES["PNG"][:-500], CorruptImage),
        (encode(np.zeros((1000, 101), np.uint8), "PNG"), TooManyPixels),
        (dicom(GREY, modality="MR"), UnsupportedModality),
    ],
)
def test_error_is_that_of_decoding_without_a_fence(decoders: Decoders, data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error) as expected:
        decode(data, LIMITS)
    with pytest.raises(error) as caught:
        decoders.decode(data, with_preview=False)
    assert (type(caught.value), str(caught.value)) == (type(expected.value), str(expected.value))


@pytest.mark.skipif(sys.platform != "linux", reason="Other systems fence less.")
@pytest.mark.parametrize("name", FORBIDDEN)
def test_fenced_process_gets_no(name: str) -> None:
    code = (
        "import os, sys\nfrom app.decoding.fences import memory_bytes, raise_fences\n"
        "from app.imaging import DecodeLimits\nlimits = DecodeLimits(1000, 1000)\n"
        "raise_fences(limits, os.getppid())\n"
        f"try:\n    {FORBIDDEN[name]}\nexcept (OSError, MemoryError) as error:\n    print(type(error).__name__)\n"
    )
    attempt = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert attempt.stdout == ("MemoryError\n" if name == "memory" else "OSError\n")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's.")
def test_service_does_without_the_libraries_that_read_uploads(server: Server) -> None:
    assert server.client.post("/predict", content=IMAGES[JPEG2000Lossless.name]).status_code == 200
    assert "/imagecodecs/" not in Path(f"/proc/{server.pid}/maps").read_text()
