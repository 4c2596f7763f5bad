"""What a stream holds, a seat for one, is free again when its client has gone, whenever that is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from taskjob_api.problems import Problem
from taskjob_api.seats import Seated, Seats


async def lines() -> AsyncIterator[bytes]:
    yield b"one"
    yield b"two"


@pytest.mark.parametrize("sent_before_it_leaves", [0, 1, 2])
async def test_a_client_that_leaves_frees_its_seat_also_before_the_first_byte(sent_before_it_leaves: int) -> None:
    seats = Seats(1, "are taken")
    sent: list[Any] = []

    async def send(message: Any) -> None:
        if len(sent) == sent_before_it_leaves:
            raise OSError("the client has gone")
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    response = Seated(lines())
    async with AsyncExitStack() as held:
        held.enter_context(seats.one())
        response.held = held.pop_all()
    with pytest.raises(Problem, match="1 are taken"), seats.one():
        pass
    with pytest.raises(ClientDisconnect):
        await response({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send)
    with seats.one():
        pass


async def test_a_request_that_fails_before_it_is_answered_frees_its_seat() -> None:
    seats = Seats(1, "are taken")

    async def answer() -> None:
        async with AsyncExitStack() as held:
            held.enter_context(seats.one())
            raise LookupError

    with pytest.raises(LookupError):
        await answer()
    with seats.one():
        pass
