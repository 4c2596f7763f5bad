"""What is remembered of callers and for how long, on a clock that the tests turn."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest
from pydantic import SecretStr
from starlette.datastructures import Headers

from taskjob.config import ApiSettings
from taskjob.kube.http import KubeHttp
from taskjob_api.auth import NAMESPACES_MAX, Guard, Rights, Sight
from taskjob_api.problems import Kind, Problem, unavailable
from taskjob_api.remembered import Kept, Remembered
from taskjob_api.reviews import STRANGERS, Caller, Reviews, Right, User, unauthenticated

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl_-"


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


class Source:
    """Whom to ask: counts, answers how often it was asked, takes as long as the test wants."""

    def __init__(self, clock: Clock, keep_seconds: float = 10) -> None:
        self.clock = clock
        self.keep_seconds = keep_seconds
        self.asked = 0
        self.takes_seconds = 0.0
        self.fails = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> Kept[int]:
        self.asked += 1
        answer = self.asked
        self.clock.seconds += self.takes_seconds
        await self.gate.wait()
        if self.fails:
            raise unavailable("away")
        return Kept(answer, self.keep_seconds)


# ---------------------------------------------------------------- answers
async def test_an_answer_is_used_until_its_seconds_are_over() -> None:
    clock = Clock()
    remembered, source = Remembered[str, int](10, clock), Source(clock)
    assert await remembered.get("a", source) == 1
    clock.seconds += 9.99
    assert await remembered.get("a", source) == 1
    clock.seconds += 0.01
    assert await remembered.get("a", source) == 2


async def test_the_seconds_of_an_answer_count_from_when_it_was_asked_for() -> None:
    clock = Clock()
    remembered, source = Remembered[str, int](10, clock), Source(clock)
    source.takes_seconds = 9
    assert await remembered.get("a", source) == 1
    clock.seconds += 1
    assert await remembered.get("a", source) == 2


async def test_only_so_many_answers_are_kept_and_the_one_used_longest_ago_goes() -> None:
    clock = Clock()
    remembered, source = Remembered[int, int](100, clock), Source(clock)
    for key in range(10_000):
        await remembered.get(key, source)
        await remembered.get(0, source)
        assert len(remembered) <= 100
    assert source.asked == 10_000, "0 was used all the time and never asked for again"


async def test_who_ask_the_same_at_once_share_one_question() -> None:
    clock = Clock()
    remembered, source = Remembered[str, int](10, clock), Source(clock)
    source.gate.clear()
    asking = [asyncio.create_task(remembered.get("a", source)) for _ in range(50)]
    await asyncio.sleep(0)
    asking[0].cancel()  # the one who asked leaves
    await asyncio.sleep(0)
    source.gate.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [1] * 49
    assert source.asked == 1


async def test_no_answer_is_no_answer_for_all_who_wait_and_is_not_remembered() -> None:
    clock = Clock()
    remembered, source = Remembered[str, int](10, clock), Source(clock)
    source.fails = True
    answers = await asyncio.gather(*(remembered.get("a", source) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(answer, Problem) for answer in answers)
    assert (source.asked, len(remembered)) == (1, 0)
    source.fails = False
    assert await remembered.get("a", source) == 2


async def test_an_old_answer_is_not_used_when_no_new_one_comes() -> None:
    clock = Clock()
    remembered, source = Remembered[str, int](10, clock), Source(clock)
    await remembered.get("a", source)
    clock.seconds += 10
    source.fails = True
    with pytest.raises(Problem, match="away"):
        await remembered.get("a", source)
    assert len(remembered) == 0


def test_by_default_a_right_that_is_withdrawn_shows_nothing_after_a_minute() -> None:
    settings = ApiSettings(database_url=SecretStr("postgresql://nobody"))
    api_servers_own_seconds = 10  # for which it takes a token that it has accepted once
    assert settings.access_recheck_seconds + settings.access_cache_seconds + api_servers_own_seconds <= 60
    assert not settings.insecure_local
    assert settings.allowed_origins == ()


# ---------------------------------------------------------------- who calls
async def nothing_known(limit: int) -> Sequence[str]:
    return []


@pytest.fixture
def guard() -> Guard:
    return Guard(Reviews.__new__(Reviews), nothing_known)


@pytest.mark.parametrize("header", [f"Bearer {JWT}", f"bearer {JWT}", f"BEARER  {JWT} "])
def test_a_bearer_token_is_taken_as_it_is(guard: Guard, header: str) -> None:
    caller = guard.caller(Headers({"Authorization": header}))
    assert caller.token == JWT
    assert JWT not in repr(caller), "it must not get into a log by way of an object"
    assert caller == Caller.bearing(JWT)
    assert caller.key != Caller.bearing(JWT + "x").key


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        JWT,
        f"Basic {JWT}",
        f"Bearer {JWT} {JWT}",
        "Bearer a\tb",
        "Bearer ä",
        "Bearer " + "a" * 16_385,
    ],
    ids=lambda header: header[:20],
)
def test_what_is_no_bearer_token_is_refused_without_a_question(guard: Guard, header: str) -> None:
    with pytest.raises(Problem) as refused:
        guard.caller(Headers(raw=[(b"authorization", header.encode("latin-1"))]))
    assert refused.value.kind is Kind.UNAUTHENTICATED
    assert refused.value.headers == {"WWW-Authenticate": "Bearer"}
    assert JWT not in str(refused.value)


def test_two_tokens_are_none(guard: Guard) -> None:
    raw = [(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")]
    for headers in (Headers(raw=raw), Headers(raw=[])):
        with pytest.raises(Problem) as refused:
            guard.caller(headers)
        assert refused.value.kind is Kind.UNAUTHENTICATED


async def test_where_nobody_has_to_log_in_a_token_is_not_used_and_everything_is_allowed() -> None:
    guard = Guard(None, nothing_known)
    rights = Rights(guard, guard.caller(Headers({"Authorization": f"Bearer {JWT}"})))
    assert rights.caller.token is None
    assert await rights.user() is None
    assert await rights.may(Right("list"))
    assert await rights.scope("list", None) is None
    assert await rights.scope("list", "a") == frozenset({"a"})


class MuteServer:
    """An API server that answers nothing; how many questions it had at once, at most."""

    timeout_seconds = 0.1

    def __init__(self) -> None:
        self.open = self.most = 0

    async def request(self, *_: object, **__: object) -> None:
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await asyncio.Event().wait()
        finally:
            self.open -= 1


async def test_who_waits_too_long_for_a_turn_to_be_asked_about_may_come_again() -> None:
    server = MuteServer()
    reviews = Reviews(cast(KubeHttp, server))
    tokens = [reviews.user(Caller.bearing(f"made-up-{n}")) for n in range(100)]
    async with asyncio.timeout(20):
        answers = await asyncio.gather(*tokens, return_exceptions=True)
    assert {answer.kind for answer in answers if isinstance(answer, Problem)} == {Kind.UNAVAILABLE}
    assert (len(answers), server.most) == (100, STRANGERS)


# ---------------------------------------------------------------- what a stream sees
class SaidRights(Rights):
    """Rights as the test says; counts what is asked. `""` in `allowed`: everywhere."""

    def __init__(self, *allowed: str, known: Sequence[str] = ()) -> None:
        async def of_history(limit: int) -> Sequence[str]:
            return list(known)[:limit]

        super().__init__(Guard(Reviews.__new__(Reviews), of_history, recheck_seconds=50), Caller.bearing("a"))
        self.allowed = set(allowed)
        self.asked: list[str] = []
        self.problem: Problem | None = None

    async def user(self) -> User:
        if self.problem is not None:
            raise self.problem
        return User("a")

    async def may(self, right: Right) -> bool:
        await self.user()
        self.asked.append(right.namespace)
        return "" in self.allowed or right.namespace in self.allowed


async def seen(sight: Sight, *namespaces: str) -> list[str]:
    sees = await sight.of(namespaces)
    return [namespace for namespace in namespaces if sees(namespace)]


async def test_a_stream_asks_for_each_namespace_when_it_comes_along_and_once() -> None:
    rights = SaidRights("a")
    sight = Sight(rights, "watch", None, Clock())
    assert await seen(sight, "a", "b", "a") == ["a", "a"]
    assert await seen(sight, "b", "a", "c") == ["a"]
    assert sorted(rights.asked) == ["", "a", "b", "c"]


async def test_a_stream_that_may_see_everything_asks_once() -> None:
    rights = SaidRights("")
    sight = Sight(rights, "watch", None, Clock())
    assert await seen(sight, "a", "b") == ["a", "b"]
    assert rights.asked == [""]


async def test_what_is_withdrawn_or_given_is_noticed_at_the_next_look_and_not_later() -> None:
    clock, rights = Clock(), SaidRights("a", "b")
    sight = Sight(rights, "watch", None, clock)
    assert await seen(sight, "a", "b", "c") == ["a", "b"]
    rights.allowed = {"b", "c"}
    clock.seconds += 49.9
    assert await seen(sight, "a", "b", "c") == ["a", "b"]
    assert 0 < sight.seconds_left < 0.2
    clock.seconds += 0.1
    assert await seen(sight, "a", "b", "c") == ["b", "c"]


async def test_a_stream_that_saw_everything_sees_less_when_that_is_withdrawn() -> None:
    clock, rights = Clock(), SaidRights("")
    sight = Sight(rights, "watch", None, clock)
    assert await seen(sight, "a", "b") == ["a", "b"]
    rights.allowed = {"b"}
    clock.seconds += 50
    assert await seen(sight, "a", "b") == ["b"]


async def test_a_stream_of_one_namespace_ends_when_its_right_is_withdrawn() -> None:
    clock, rights = Clock(), SaidRights("a")
    sight = Sight(rights, "watch", "a", clock)
    assert await seen(sight, "a", "b") == ["a"]
    rights.allowed = set()
    clock.seconds += 50
    with pytest.raises(Problem, match="may not watch taskjobs in the namespace 'a'") as refused:
        await sight.of(())
    assert refused.value.kind is Kind.FORBIDDEN


@pytest.mark.parametrize("problem", [unauthenticated("expired"), unavailable("away")], ids=["expired", "away"])
async def test_a_stream_sees_nothing_more_when_nobody_says_that_it_may(problem: Problem) -> None:
    clock, rights = Clock(), SaidRights("a")
    sight = Sight(rights, "watch", None, clock)
    assert await seen(sight, "a") == ["a"]
    rights.problem = problem
    clock.seconds += 50
    for _ in range(2):
        with pytest.raises(Problem):
            await sight.of(["a"])


# ---------------------------------------------------------------- what a list is of
async def test_a_list_is_of_the_known_namespaces_that_may_be_listed() -> None:
    rights = SaidRights("a", "c", known=["a", "b", "d"])
    assert await rights.scope("list", None) == frozenset({"a"})
    assert await SaidRights("").scope("list", None) is None
    assert await SaidRights(known=["a"]).scope("list", None) == frozenset(), "nothing, not everything"


async def test_a_list_of_a_namespace_that_may_not_be_listed_is_refused() -> None:
    with pytest.raises(Problem, match="may not list") as refused:
        await SaidRights("a").scope("list", "b")
    assert (refused.value.kind, refused.value.errors[0].field) == (Kind.FORBIDDEN, "namespace")


async def test_where_too_many_namespaces_are_known_one_has_to_be_named() -> None:
    many = [f"n{n}" for n in range(NAMESPACES_MAX + 1)]
    rights = SaidRights("n1", known=many)
    with pytest.raises(Problem, match="name one"):
        await rights.scope("list", None)
    assert rights.asked == [""], "nobody is asked about so many"
    assert await rights.scope("list", "n1") == frozenset({"n1"})
    assert await SaidRights("n1", known=many[:-1]).scope("list", None) == frozenset({"n1"})
