"""Lingering on a request that was answered before it was read."""

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.api import unread
from app.api.unread import UnreadBody

ANSWER = b"too large"


async def answer_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 413, "headers": []})
    await send({"type": "http.response.body", "body": ANSWER})


async def answer_after_reading(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await answer_at_once(scope, receive, send)


async def never() -> Message:
    return await asyncio.get_running_loop().create_future()


async def endless() -> Message:
    await asyncio.sleep(0)
    return {"type": "http.request", "body": b"x", "more_body": True}


def chunks(count: int) -> tuple[Receive, list[Message]]:
    left: list[Message] = [{"type": "http.request", "body": b"x", "more_body": i < count - 1} for i in range(count)]

    async def receive() -> Message:
        return left.pop(0)

    return receive, left


def answer(app, receive: Receive, *headers: tuple[bytes, bytes]) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(UnreadBody(app)({"type": "http", "headers": headers}, receive, send))
    return sent


LENGTH = (b"content-length", b"100")
CLOSE = [(b"connection", b"close")]
WHOLE = {"type": "http.response.body", "body": ANSWER}


def test_answer_goes_out_before_the_rest_is_dropped() -> None:
    receive, left = chunks(3)
    start, body, end = answer(answer_at_once, receive, LENGTH)
    assert start["headers"] == CLOSE
    assert (body["body"], body["more_body"]) == (ANSWER, True)
    assert end == {"type": "http.response.body"}
    assert not left


def test_chunked_body_counts_as_one() -> None:
    receive, left = chunks(1)
    assert len(answer(answer_at_once, receive, (b"transfer-encoding", b"chunked"))) == 3
    assert not left


def test_read_body_leaves_the_connection_open() -> None:
    receive, _ = chunks(3)
    start, body = answer(answer_after_reading, receive, LENGTH)
    assert start["headers"] == []
    assert body == WHOLE


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"0")]], ids=["none", "empty"])
def test_request_without_a_body_is_left_alone(headers: list[tuple[bytes, bytes]]) -> None:
    start, body = answer(answer_at_once, never, *headers)
    assert start["headers"] == []
    assert body == WHOLE


@pytest.mark.parametrize("receive", [never, endless])
def test_patience_ends(monkeypatch: pytest.MonkeyPatch, receive: Receive) -> None:
    monkeypatch.setattr(unread, "_LINGER_SECONDS", 0.05)
    monkeypatch.setattr(unread, "_IDLE_SECONDS", 0.02)
    assert answer(answer_at_once, receive, LENGTH)[-1] == {"type": "http.response.body"}
