"""Run the service: ``python -m app``. Everything is set by ``CXR_`` variables; README lists them.

Exit codes: 0 stopped, 1 the model or the port cannot be served, or stopping hung, 2 a setting is wrong; 128 and more:
the second of two signals, at which it ends at once.
"""

import os
import signal
import socket
import sys
from contextlib import suppress
from types import FrameType
from typing import TextIO

from pydantic import ValidationError

from app import logs
from app.artifact import Artifact, open_artifact
from app.errors import CxrError, SettingError
from app.keys import KeyRing
from app.listen import check_exposure, find_address
from app.main import create_app
from app.server import Server, raise_file_limit
from app.settings import Settings


def main() -> int:
    """Serve until stopped.

    Returns:
        The exit code.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit)
    _open_standard_files()
    _forbid_core_dumps()
    try:
        settings = Settings()
    except ValidationError as error:
        return _stop(2, _describe(error))
    logs.configure(settings.log_level)
    try:
        address = find_address(settings)
        check_exposure(settings, address)
        raise_file_limit(settings.max_connections)
        keys = KeyRing(settings.api_keys_file) if settings.api_keys_file else None
        artifact = open_artifact(settings.model, settings.model_public_key)
        listener = address.listen()
    except SettingError as error:
        return _stop(2, str(error))
    except CxrError as error:
        return _stop(1, str(error))
    except OSError as error:
        return _stop(1, f"Cannot listen on CXR_HOST {settings.host}, CXR_PORT {settings.port}: {error.strerror}.")
    return _serve(settings, artifact, keys, listener)


def _serve(settings: Settings, artifact: Artifact, keys: KeyRing | None, listener: socket.socket) -> int:
    failures: list[Exception] = []

    def announce() -> None:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        address = f"http://{host}:{listener.getsockname()[1]}"
        note = artifact.metadata.note
        name = f"{artifact.metadata.name}/{artifact.metadata.version}"
        header = '-H "Authorization: Bearer $CXR_API_KEY" ' if keys else ""
        _say(
            sys.stdout,
            f"{name} is ready at {address} - {note}\nTry: curl {header}-F file=@chest-xray.png {address}/predict",
        )

    def give_up(error: Exception) -> None:
        failures.append(error)
        server.should_exit = True

    app = create_app(settings, artifact, keys, on_ready=announce, on_failure=give_up)
    server = Server(app)
    server.run([listener])
    return _stop(1, str(failures[0])) if failures else 0


def _describe(error: ValidationError) -> str:
    return "\n".join(
        f"CXR_{'_'.join(map(str, e['loc'])).upper()} is {e['input']!r}: {e['msg']}." for e in error.errors()
    )


def _exit(_number: int, _frame: FrameType | None) -> None:
    # uvicorn raises the signal again once it has stopped.
    sys.exit(0)


def _stop(code: int, message: str) -> int:
    _say(sys.stderr, f"error: {message}")
    return code


def _say(stream: TextIO | None, text: str) -> None:
    """Write to a standard output that may be closed, or on a full disk: what waited in a buffer would fail again."""
    if stream:
        with suppress(OSError):
            os.write(stream.fileno(), f"{text}\n".encode())


def _open_standard_files() -> None:
    """Take the descriptors 0 to 2 where they are closed: a connection must not get one, and libuv aborts on it."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def _forbid_core_dumps() -> None:
    """Keep a crash from writing the memory, which holds uploads, to a disk."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    sys.exit(main())
