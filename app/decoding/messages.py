"""What passes between the service, the nursery and a decoder: numbers, JSON and grey levels, nothing that is run."""

import json
import socket
import struct
from dataclasses import asdict, dataclass
from typing import Final

from app.imaging.grey import DecodeLimits
from app.imaging.preprocess import IMAGE_SIZE

START: Final = b"S"
"""A decoder; the socket that it shall serve comes along. The reply is its process id, or an error number, negative."""
END: Final = b"E"
"""A decoder, by its process id. The reply is its exit code, negative for a signal."""
READY: Final = b"R"
"""The nursery's first byte."""

ORDER: Final = struct.Struct("<ci")
"""To the nursery: what to do, and with which process id."""
REPLY: Final = struct.Struct("<i")
REQUEST: Final = struct.Struct("<Q?")
"""To a decoder, before the upload: its bytes, and whether a preview is wanted."""
ANSWER: Final = struct.Struct("<cIII")
"""From a decoder: the kind of answer, bytes of JSON, height and width of the preview. JSON, square and preview follow,
the last two as uint8."""

DECODED: Final = b"D"
"""Kind of an answer: the JSON is ``ImageFacts``, the square follows."""
REFUSED: Final = b"R"
"""Kind of an answer: the JSON holds code and message of an ``UploadError``."""
OUT_OF_MEMORY: Final = b"M"
"""Kind of an answer: more memory was needed than the decoder may take."""
FAILED: Final = b"F"
"""Kind of an answer: our own code raised; the JSON lists types and places."""

SQUARE_BYTES: Final = IMAGE_SIZE**2
MAX_JSON_BYTES: Final = 2**16


@dataclass(frozen=True, slots=True)
class Terms:
    """What every decoder of a nursery is given.

    Attributes:
        limits: What to accept.
        cpu_seconds: Processor time for one image; the kernel ends a decoder that takes more.
        preprocessing_version: Of the model that the squares are for.
    """

    limits: DecodeLimits
    cpu_seconds: float
    preprocessing_version: int

    def to_json(self) -> str:
        """Write them down for ``from_json``."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Terms":
        """Read what ``to_json`` wrote."""
        terms = json.loads(text)
        limits = terms["limits"]
        return cls(**{**terms, "limits": DecodeLimits(**{**limits, "modalities": tuple(limits["modalities"])})})


def receive(connection: socket.socket, size: int) -> bytes:
    """Read so many bytes from a socket without a timeout; fewer where it ends before."""
    return connection.recv(size, socket.MSG_WAITALL)
