"""Run the service: ``python -m app``. Everything is set by ``CXR_`` variables; README lists them.

Exit codes: 0 stopped, 1 the model or the port cannot be served, 2 a setting is wrong.
"""

import logging
import sys

import uvicorn
from pydantic import ValidationError

from app import logs
from app.artifact import open_artifact
from app.errors import CxrError
from app.main import create_app
from app.settings import Settings

logger = logging.getLogger(__name__)


def main() -> int:
    """Serve until stopped.

    Returns:
        The exit code.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        return _stop(2, "\n".join(f"CXR_{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()))
    logs.configure(settings.log_level)
    try:
        artifact = open_artifact(settings.model)
    except CxrError as error:
        return _stop(1, str(error))
    failures: list[CxrError] = []

    def give_up(error: CxrError) -> None:
        failures.append(error)
        server.should_exit = True

    def announce() -> None:
        port = server.servers[0].sockets[0].getsockname()[1]
        address = f"http://{settings.host}:{port}"
        note = artifact.metadata.note
        print(f"{artifact.metadata.name}/{artifact.metadata.version} is ready at {address} - {note}")  # noqa: T201
        print(f"Try: curl -F file=@chest-xray.png {address}/predict", flush=True)  # noqa: T201

    app = create_app(settings, artifact, on_ready=announce, on_failure=give_up)
    config = uvicorn.Config(app, host=settings.host, port=settings.port, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    server.run()
    return _stop(1, str(failures[0])) if failures else 0 if server.started else 1


def _stop(code: int, message: str) -> int:
    print(f"error: {message}", file=sys.stderr)  # noqa: T201
    return code


if __name__ == "__main__":
    sys.exit(main())
