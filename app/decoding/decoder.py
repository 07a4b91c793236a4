"""A decoder: a process that does nothing but decode one upload after the other. It runs behind ``fences``."""

import gc
import json
import select
import signal
import socket
import time
from dataclasses import asdict
from typing import Final

from app.decoding.messages import ANSWER, DECODED, FAILED, OUT_OF_MEMORY, REFUSED, REQUEST, Terms, receive
from app.errors import UploadError
from app.imaging import to_square
from app.imaging.decode import decode
from app.logs import describe_exception
from app.memory import give_back_free_memory
from app.overlay import preview_of

_LARGE_SECONDS: Final = 0.5
"""An image that took so much of the processor was large, or a bomb: what it needed is given back. To take memory anew
for each would cost 7 to 13 % of the time of an image of 1024 x 1024, and a third of that of one of 3000 x 3000."""

_IDLE_SECONDS: Final = 1
"""After which a decoder without work gives back what it kept for the next image."""


def serve(connection: socket.socket, terms: Terms) -> None:
    """Decode what comes through a connection until it ends.

    An image that takes more processor time than the terms give ends the process (SIGPROF), whoever waits for it.
    """
    while len(request := _await_request(connection)) == REQUEST.size:
        size, with_preview = REQUEST.unpack(request)
        signal.setitimer(signal.ITIMER_PROF, terms.cpu_seconds)
        start = time.process_time()
        for part in _answer(receive(connection, size), terms, with_preview=with_preview):
            connection.sendall(part)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if time.process_time() - start > _LARGE_SECONDS:
            give_back_free_memory()


def _await_request(connection: socket.socket) -> bytes:
    ready, _, _ = select.select([connection], [], [], _IDLE_SECONDS)
    if not ready:
        give_back_free_memory()
    return receive(connection, REQUEST.size)


def _answer(data: bytes, terms: Terms, *, with_preview: bool) -> list[bytes]:
    try:
        return _decoded(data, terms, with_preview=with_preview)
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


def _decoded(data: bytes, terms: Terms, *, with_preview: bool) -> list[bytes]:
    image = decode(data, terms.limits)
    facts = json.dumps(asdict(image.facts)).encode()
    square = to_square(image.pixels, version=terms.preprocessing_version)
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
