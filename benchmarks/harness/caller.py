"""One caller with a connection that stays."""

import http.client
import json
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit

_BOUNDARY: Final = "cxr-benchmark-boundary"


class WrongAnswers(SystemExit):
    """A server answered an error or other probabilities than the engine: its speed means nothing.

    Where nothing catches it, it ends the benchmark with its message.
    """


class Caller:
    """Posts one image after the other over one connection."""

    def __init__(self, url: str) -> None:
        """Name the server; the first request connects."""
        self._url = url
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)

    def __enter__(self) -> "Caller":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def send(self, method: str, path: str, body: bytes | None = None, content_type: str = "") -> bytes:
        """Send a request and return the body of its answer.

        Raises:
            WrongAnswers: The status is not 200.
        """
        self._connection.request(method, path, body, {"Content-Type": content_type} if body else {})
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise WrongAnswers(f"{self._url}{path} answered {answer.status}: {content[:300].decode(errors='replace')}")
        return content

    def probability(self, body: bytes, content_type: str, label: str) -> float:
        """Post an image to ``/predict`` and return the probability of a label."""
        return probability_of(self.send("POST", "/predict", body, content_type), label)


def probability_of(answer: bytes, label: str) -> float:
    """Read the probability of a label from a server's answer; BentoML's is a list of one."""
    content: Any = json.loads(answer)
    prediction = content[0] if isinstance(content, list) else content
    return float(prediction["probabilities"][label])


def encode_body(file: bytes, body: str) -> tuple[bytes, str]:
    """Make a request's body and its content type.

    Args:
        file: An image's bytes.
        body: "multipart", for the form field ``file``, or "bytes", for the file as it is.
    """
    if body == "bytes":
        return file, "application/octet-stream"
    head = (
        f"--{_BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="file"; filename="image"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    content = head.encode() + file + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return content, f"multipart/form-data; boundary={_BOUNDARY}"
