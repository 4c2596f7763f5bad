"""Who may ask the operator's port: how little those may cost who may not."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from taskjob.kube.callers import ASKING_MAX, AUDIENCE, Callers
from taskjob.kube.http import KubeHttp, NoAnswerError, Reply, encode
from virtual_time import VirtualClock

THE_API = "system:serviceaccount:taskjobs:taskjobs-api"


class ApiServer:
    """Answers TokenReviews, once it may."""

    def __init__(self, **status: Any) -> None:
        self.clock = VirtualClock()
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.reply = Reply(201, encode({"status": {"authenticated": True, "audiences": [AUDIENCE], **status}}))

    async def request(self, *_: object, **__: object) -> Reply:
        self.asked += 1
        await self.may_answer.wait()
        return self.reply


def callers(server: ApiServer) -> Callers:
    return Callers(cast(KubeHttp, server), [THE_API])


@pytest.mark.parametrize(
    ("status", "accepted"),
    [
        ({"user": {"username": THE_API}}, True),
        ({"user": {"username": "system:serviceaccount:team-a:default"}}, False),
        ({"user": {"username": THE_API}, "audiences": ["https://kubernetes.default.svc"]}, False),
        ({"user": {"username": THE_API}, "audiences": None}, False),
        ({"user": {"username": THE_API}, "authenticated": False}, False),
    ],
)
async def test_only_a_named_account_is_let_in_and_only_with_a_token_meant_for_the_operator(
    status: dict[str, Any], accepted: bool
) -> None:
    server = ApiServer(**status)
    server.may_answer.set()
    assert await callers(server).accepts("Bearer a.token") is accepted


async def test_a_judgement_is_remembered() -> None:
    server = ApiServer(user={"username": THE_API})
    server.may_answer.set()
    judge = callers(server)
    assert [await judge.accepts("Bearer a.token") for _ in range(3)] == [True] * 3
    assert server.asked == 1


async def test_a_flood_of_made_up_tokens_has_few_questions_under_way_and_the_rest_answered_at_once() -> None:
    server = ApiServer(authenticated=False)
    judge = callers(server)
    asking = [asyncio.create_task(judge.accepts(f"Bearer made.up.{n}")) for n in range(ASKING_MAX)]
    await asyncio.sleep(0)  # each asks at its first step
    assert server.asked == ASKING_MAX
    for n in range(100):
        with pytest.raises(NoAnswerError, match="too many"):
            await judge.accepts(f"Bearer another.{n}")
    assert server.asked == ASKING_MAX
    server.may_answer.set()
    assert await asyncio.gather(*asking) == [False] * ASKING_MAX
    assert await judge.accepts("Bearer afterwards") is False


async def test_a_refusal_is_told_without_the_api_servers_words_which_might_quote_the_token() -> None:
    server = ApiServer()
    server.reply = Reply(400, encode({"message": "cannot decode a.secret.token"}))
    server.may_answer.set()
    with pytest.raises(NoAnswerError) as told:
        await callers(server).accepts("Bearer a.secret.token")
    assert "secret" not in str(told.value)
