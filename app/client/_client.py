"""The client, blocking and async: two shells around the same reading of uploads and answers."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

import httpx

from app.client import _results
from app.client._exceptions import Busy, ConnectionFailed, UnexpectedAnswer
from app.client._problems import error_of
from app.client._results import Model, Prediction
from app.client._upload import Image, Upload

DEFAULT_URL: Final = "http://127.0.0.1:8000"
"""Where ``make run`` serves."""

DEFAULT_TIMEOUT: Final = httpx.Timeout(65, connect=10)
"""Seconds. Longer than the service's own deadline (60 s unless set), so that its answer comes before ours."""

_KEEP_ALIVE_SECONDS: Final = 2
"""Shorter than that of the service (uvicorn's 5 s), so that no image is sent on a connection that it is closing."""

_READY: Final = "ready"


class CxrClient:
    """A client of the service. Entered as a context manager, its connections are closed at the end.

    Threads may share one.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout: float | httpx.Timeout = DEFAULT_TIMEOUT,
        transport: httpx.BaseTransport | None = None,
        trust_env: bool = False,
    ) -> None:
        """Set up, without connecting yet.

        Args:
            url: The service's address, with the path under which a proxy publishes it, if any.
            api_key: Sent as ``Authorization: Bearer``.
            timeout: Seconds for each step (connect, send, wait for an answer), or httpx's ``Timeout``.
            transport: What carries the requests, in place of a connection.
            trust_env: Go through the proxies that ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``ALL_PROXY`` name. Off
                by default: they lead out of a hospital's network, and the service is in it.

        Raises:
            ValueError: The address or the key cannot be one.
        """
        self._url = _checked_url(url)
        self._http = httpx.Client(transport=transport, **_options(self._url, api_key, timeout, trust_env))

    def predict(self, image: Image, *, explain: bool = False) -> Prediction:
        """Ask for the probabilities of one image.

        Args:
            image: A path, the file's bytes, or a binary stream. No name or path is sent.
            explain: Ask for the heatmap, too.

        Raises:
            CxrError: No result; its subclass says why.
            OSError: The file cannot be read, or changed while it was sent.
        """
        return _results.prediction(self._post("predict", image, {"explain": "true"} if explain else {}))

    def explain(self, image: Image) -> bytes:
        """Ask for one image with the heatmap over it.

        Args:
            image: A path, the file's bytes, or a binary stream. No name or path is sent.

        Returns:
            A PNG.

        Raises:
            CxrError: No result; its subclass says why.
            OSError: The file cannot be read, or changed while it was sent.
        """
        return _results.overlay(self._post("explain", image, {}))

    def model(self) -> Model:
        """Ask for the served model's metadata and card.

        Raises:
            CxrError: No result; its subclass says why.
        """
        return _results.model(self._get("model"))

    def ready(self) -> bool:
        """Ask whether the service has a model loaded, verified and warmed up.

        Raises:
            ConnectionFailed: Nobody answers.
            CxrError: What answers is not the service.
        """
        try:
            return _results.state(self._get("readyz")) == _READY
        except Busy:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _get(self, path: str) -> bytes:
        with _failures(self._url):
            return _content(self._http.get(path))

    def _post(self, path: str, image: Image, params: dict[str, str]) -> bytes:
        with Upload(image) as upload, _failures(self._url):
            return _content(self._http.post(path, params=params, content=upload.chunks(), headers=upload.headers))


class AsyncCxrClient:
    """The same for asyncio. Entered as a context manager, its connections are closed at the end.

    Tasks of one event loop may share one.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout: float | httpx.Timeout = DEFAULT_TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
        trust_env: bool = False,
    ) -> None:
        """Set up, without connecting yet; the arguments are those of ``CxrClient``.

        Raises:
            ValueError: The address or the key cannot be one.
        """
        self._url = _checked_url(url)
        self._http = httpx.AsyncClient(transport=transport, **_options(self._url, api_key, timeout, trust_env))

    async def predict(self, image: Image, *, explain: bool = False) -> Prediction:
        """Ask for the probabilities of one image, as ``CxrClient.predict`` does."""
        return _results.prediction(await self._post("predict", image, {"explain": "true"} if explain else {}))

    async def explain(self, image: Image) -> bytes:
        """Ask for one image with the heatmap over it, a PNG, as ``CxrClient.explain`` does."""
        return _results.overlay(await self._post("explain", image, {}))

    async def model(self) -> Model:
        """Ask for the served model's metadata and card, as ``CxrClient.model`` does."""
        return _results.model(await self._get("model"))

    async def ready(self) -> bool:
        """Ask whether the service can answer, as ``CxrClient.ready`` does."""
        try:
            return _results.state(await self._get("readyz")) == _READY
        except Busy:
            return False

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _get(self, path: str) -> bytes:
        with _failures(self._url):
            return _content(await self._http.get(path))

    async def _post(self, path: str, image: Image, params: dict[str, str]) -> bytes:
        with Upload(image) as upload, _failures(self._url):
            return _content(
                await self._http.post(path, params=params, content=upload.chunks_async(), headers=upload.headers)
            )


def _checked_url(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"Received {url!r} as the service's address. Give one like {DEFAULT_URL}.")
    return parsed


def _options(url: httpx.URL, api_key: str | None, timeout: float | httpx.Timeout, trust_env: bool) -> dict[str, Any]:
    """Return what httpx's clients of both kinds are set up with."""
    return {
        "base_url": url,
        "headers": _headers(api_key),
        "timeout": timeout,
        "limits": httpx.Limits(keepalive_expiry=_KEEP_ALIVE_SECONDS),
        "trust_env": trust_env,
        "verify": _tls(),
    }


def _headers(api_key: str | None) -> dict[str, str]:
    if api_key is None:
        return {}
    if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise ValueError(
            "Received an API key that is empty, or has a space, a line break or a letter beyond ASCII in it. "
            "Give the key alone, as it was issued."
        )
    return {"Authorization": f"Bearer {api_key}"}


def _tls() -> ssl.SSLContext:
    """Trust the authorities that the system trusts, or ``SSL_CERT_FILE`` names, and not a list of httpx's own.

    A hospital's service has a certificate of the hospital's authority, which its administrators put there.
    """
    return ssl.create_default_context()


def _content(response: httpx.Response) -> bytes:
    error = error_of(response)
    if error:
        raise error
    return response.content


@contextmanager
def _failures(url: httpx.URL) -> Iterator[None]:
    place = url.copy_with(userinfo=b"")
    try:
        yield
    except httpx.TimeoutException as error:
        raise ConnectionFailed(f"No answer from {place} in time ({type(error).__name__}).") from error
    except httpx.TransportError as error:
        reason = str(error) or type(error).__name__
        raise ConnectionFailed(f"No answer from {place}: {reason}. Is the service running there?") from error
    except httpx.RequestError as error:  # its encoding cannot be undone
        raise UnexpectedAnswer(f"The answer of {place} cannot be read: {error}.") from error
