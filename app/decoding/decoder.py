"""A decoder: a process that does nothing but decode one upload after the other. It runs behind ``fences``."""

import ctypes
import gc
import json
import signal
import socket
from dataclasses import asdict

from app.decoding.messages import ANSWER, DECODED, FAILED, OUT_OF_MEMORY, REFUSED, REQUEST, Terms, receive
from app.errors import UploadError
from app.imaging import to_square
from app.imaging.decode import decode
from app.imaging.grey import DecodeLimits
from app.logs import describe_exception
from app.overlay import preview_of


def serve(connection: socket.socket, terms: Terms) -> None:
    """Decode what comes through a connection until it ends.

    An image that takes more processor time than the terms give ends the process (SIGPROF), whoever waits for it.
    """
    # Of glibc: it would keep 30 to 50 MB of earlier images, now more, now less. That is a third of a decoder's memory.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while len(request := receive(connection, REQUEST.size)) == REQUEST.size:
        size, with_preview = REQUEST.unpack(request)
        signal.setitimer(signal.ITIMER_PROF, terms.cpu_seconds)
        for part in _answer(receive(connection, size), terms.limits, with_preview=with_preview):
            connection.sendall(part)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if trim:
            trim(0)  # Once the answer is out.


def _answer(data: bytes, limits: DecodeLimits, *, with_preview: bool) -> list[bytes]:
    try:
        return _decoded(data, limits, with_preview=with_preview)
    except UploadError as error:
        if _is_out_of_memory(error):
            return [ANSWER.pack(OUT_OF_MEMORY, 0, 0, 0)]
        described = json.dumps({"code": error.code, "message": str(error)}).encode()
        return [ANSWER.pack(REFUSED, len(described), 0, 0), described]
    except MemoryError:
        return [ANSWER.pack(OUT_OF_MEMORY, 0, 0, 0)]
    except Exception as error:
        places = json.dumps(describe_exception(error)).encode()
        return [ANSWER.pack(FAILED, len(places), 0, 0), places]
    finally:
        gc.collect()  # Exceptions can hold images in cycles: the next one needs the memory.


def _decoded(data: bytes, limits: DecodeLimits, *, with_preview: bool) -> list[bytes]:
    image = decode(data, limits)
    facts = json.dumps(asdict(image.facts)).encode()
    square = to_square(image.pixels)
    if not with_preview:
        return [ANSWER.pack(DECODED, len(facts), 0, 0), facts, square.tobytes()]
    preview = preview_of(image.pixels)
    return [ANSWER.pack(DECODED, len(facts), *preview.shape), facts, square.tobytes(), preview.tobytes()]


def _is_out_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False
