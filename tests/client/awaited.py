"""The async client, called as the blocking one is, so that one test holds for both."""

import asyncio
from collections.abc import Callable
from typing import Any, Self, TypeAlias

import pytest

from app.client import AsyncCxrClient, CxrClient

ClientClass: TypeAlias = type[CxrClient] | type["Awaited"]


class Awaited:
    """Runs each call of an ``AsyncCxrClient`` to its end, on one event loop."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._client = AsyncCxrClient(*arguments, **options)
        self._runner = asyncio.Runner()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        return lambda *arguments, **options: self._runner.run(method(*arguments, **options))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()


@pytest.fixture(params=[CxrClient, Awaited], ids=["blocking", "async"])
def client_class(request: pytest.FixtureRequest) -> ClientClass:
    """Either client."""
    return request.param
