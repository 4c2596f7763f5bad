"""Answers of any kind against what reads answers: the API server's and the kubelet's to the operator and the API, the
leading operator's to the API, the API's to the command. Each is understood, or is no answer; none ends the program.

What people and objects say has tests of its own: `test_hostile_texts`, `test_hostile_manifests`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar, cast
from unittest.mock import patch

import pytest
from aiohttp import web
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from api_world import an_explanation
from builders import a_job, starting
from cli_api import Api, forget_settings, taskjob
from cli_api import a_job as a_shown_job
from odd_json import JSON
from pod_objects import a_launch, as_created, failed, made
from task_objects import with_spec
from taskjob.control.stamped import Cursor, Stamped
from taskjob.core.model import Job, Pod
from taskjob.kube import fence
from taskjob.kube.callers import AUDIENCE, Callers
from taskjob.kube.client import KubeClient
from taskjob.kube.clock import ClusterClock
from taskjob.kube.http import KubeHttp, ListFloor, NoAnswerError, Reply
from taskjob.kube.informer import OUR_PODS, BrokenError, ExpiredError, Told, _Watch
from taskjob.kube.lease import LeaseRecord
from taskjob.kube.lists import ListError, list_jobs, list_queues
from taskjob.kube.pods import EPOCH
from taskjob.ports import DeposedError, Gone, Launched, Refused, Unreachable, Written
from taskjob_api.auth import Rights
from taskjob_api.explain import ExplanationView, explain
from taskjob_api.jobs import Found
from taskjob_api.leader import Leader
from taskjob_api.problems import Problem
from taskjob_api.reviews import Caller, Reviews, Right, User

T = TypeVar("T")
often = settings(max_examples=200, suppress_health_check=list(HealthCheck))
ANYTHING = JSON | st.sampled_from(["", "5", "-1", "9" * 30, "\ud800", "2026-01-01T00:00:00", "9999-99-99T99:99:99Z"])
DEEP = b"[" * 100_000
DEEP_INSIDE = b'{"metadata": {"resourceVersion": "5"}, "items": [' + DEEP


@st.composite
def spoiled(draw: st.DrawFn, answer: object) -> bytes:
    """This answer with anything in the place of some of it, broken off, or with a byte in it that is no text."""
    said = answer
    for _ in range(draw(st.integers(0, 2))):
        said = _replaced(draw, said)
    whole = json.dumps(said).encode()
    at = draw(st.integers(0, len(whole)))
    return draw(st.sampled_from([whole, whole, whole, whole[:at], whole[:at] + b"\xff" + whole[at:]]))


def _replaced(draw: st.DrawFn, value: object) -> object:
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value)))
        if draw(st.booleans()):
            return {**value, key: _replaced(draw, value[key])}
        return {name: part for name, part in value.items() if name != key}
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], _replaced(draw, value[at]), *value[at + 1 :]]
    return draw(ANYTHING)


class Server:
    """An API server that gives these answers, the last one for ever; before them the first."""

    timeout_seconds = 15.0

    def __init__(self, *bodies: bytes, first: Reply | None = None) -> None:
        self.clock = ClusterClock()
        self.list_floor = ListFloor(self.clock)
        replies = [Reply(200, body) for body in bodies]
        self._replies = [first, *replies] if first is not None else replies
        self._asked = 0

    async def request(self, *_: object, **__: object) -> Reply:
        self._asked += 1
        return self._replies[min(self._asked, len(self._replies)) - 1]


def asked(*bodies: bytes) -> KubeHttp:
    """The way to such a server."""
    return cast(KubeHttp, Server(*bodies))


def outcome(read: Callable[[], T], *kinds: type[Exception]) -> tuple[T, None] | tuple[None, Exception]:
    """What was read, or how it was refused; whatever else is raised fails the test."""
    try:
        return read(), None
    except kinds as error:
        return None, error


def says(review: bytes, field: str) -> bool:
    """Whether that stands in the status of a review as true; a byte elsewhere that is no text does not matter."""
    return json.loads(review.decode(errors="replace"))["status"][field] is True


A_JOB = with_spec(dependsOn=[{"name": "a"}]) | {"status": {"phase": "Running", "attempt": 1, "conditions": []}}
A_LIST = {"kind": "List", "metadata": {"resourceVersion": "5", "continue": "more"}, "items": [A_JOB, A_JOB]}
A_POD = json.loads(as_created(made(a_launch()), failed()))
DETAILS = {"causes": [{"field": "a"}]}
A_STATUS = {"kind": "Status", "message": "no", "reason": "Invalid", "code": 410, "details": DETAILS}
LAST_PAGE = b'{"metadata": {"resourceVersion": "5"}, "items": []}'


# ---------------------------------------------------------------- the API server to the operator
@often
@example(DEEP)
@example(DEEP_INSIDE)
@given(spoiled(A_LIST))
def test_any_list_is_read_or_cannot_be_listed(body: bytes) -> None:
    jobs, refused = outcome(lambda: asyncio.run(list_jobs(asked(body, LAST_PAGE))), ListError)
    assert "cannot be listed" in str(refused) if jobs is None else all(job.name for job in jobs[1])
    queues, refused = outcome(lambda: asyncio.run(list_queues(asked(body, LAST_PAGE))), ListError)
    assert "cannot be listed" in str(refused) if queues is None else all(queue.name for queue in queues[1])


@often
@example(DEEP)
@example(b'{"type": "ADDED", "object": ' + DEEP)
@given(
    st.sampled_from(["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR", "a"]).flatmap(
        lambda kind: spoiled({"type": kind, "object": A_POD | A_STATUS})
    )
    | spoiled({"type": "ERROR", "object": A_STATUS})
)
def test_any_event_of_a_watch_is_told_or_ends_it(line: bytes) -> None:
    told: list[Pod] = []

    def replaced(_: int, __: Sequence[Pod]) -> None:
        raise AssertionError("an event is no list")

    watch = _Watch(OUR_PODS, Told(replaced, told.append, told.append), 5)
    _, ended = outcome(lambda: watch.take(line), ExpiredError, BrokenError)
    assert not told if ended is not None else all(pod.uid for pod in told)
    assert watch.version >= 0


@often
@example(DEEP, 500)
@given(spoiled(A_STATUS), st.sampled_from([200, 400, 401, 403, 404, 409, 410, 422, 429, 500, 503]))
def test_any_refusal_has_a_sentence(body: bytes, code: int) -> None:
    reply = Reply(code, body)
    assert reply.message
    assert reply.unsettled in (True, False)
    assert all(isinstance(cause.field, str) for cause in reply.status().causes)


A_LEASE = {
    "metadata": {"resourceVersion": "5"},
    "spec": {"holderIdentity": "a", "leaseTransitions": 3, "leaseDurationSeconds": 15},
}


@often
@example(DEEP)
@given(spoiled(A_LEASE))
def test_any_lease_is_a_record_or_no_answer(body: bytes) -> None:
    found, refused = outcome(lambda: asyncio.run(LeaseRecord(asked(body), "home", "operator").read()), NoAnswerError)
    assert "cannot be read" in str(refused) if found is None else found.epoch is not None


@often
@example(DEEP)
@given(spoiled({"metadata": {"resourceVersion": "5", "annotations": {EPOCH: "3"}}}))
def test_whatever_account_the_api_server_shows_our_epoch_is_announced_or_a_greater_one_stands_there(
    body: bytes,
) -> None:
    ours = json.dumps({"metadata": {"resourceVersion": "6", "annotations": {EPOCH: "7"}}}).encode()
    with patch.object(fence, "_RETRY_SECONDS", 0):
        _, deposed = outcome(
            lambda: asyncio.run(fence.announce(asked(body, ours), "home", "operator", 7)), DeposedError
        )
    assert deposed is None or "ours is 7" in str(deposed)


@often
@example(DEEP)
@given(spoiled({"status": {"authenticated": True, "user": {"username": "system:a"}, "audiences": [AUDIENCE]}}))
def test_whatever_the_api_server_says_of_a_token_it_is_accepted_refused_or_no_answer(body: bytes) -> None:
    judge = Callers(asked(body), ["system:a"])
    accepted, refused = outcome(lambda: asyncio.run(judge.accepts("Bearer a.token")), NoAnswerError)
    assert "a.token" not in str(refused)
    assert not accepted or says(body, "authenticated")


@often
@example(DEEP, DEEP)
@given(spoiled(A_POD), spoiled(A_JOB))
def test_whatever_the_api_server_answers_to_a_write_its_outcome_is_known_or_open(pod: bytes, job: bytes) -> None:
    async def written() -> None:
        assert isinstance(await KubeClient(asked(pod)).launch(a_launch(), 7), Launched | Unreachable)
        there = Server(pod, first=Reply(409, b'{"reason": "AlreadyExists"}'))
        found = await KubeClient(cast(KubeHttp, there)).launch(a_launch(), 7)
        assert isinstance(found, Launched | Refused | Unreachable)
        one = a_job("train").with_uid("u-1").build()
        assert isinstance(await KubeClient(asked(job)).set_status(starting(one), 7), Written | Unreachable)
        assert isinstance(await KubeClient(asked(job)).get_job(one), Job | Gone | Unreachable)

    asyncio.run(written())


# ---------------------------------------------------------------- to the API
@often
@example(DEEP, DEEP)
@given(
    spoiled({"status": {"authenticated": True, "user": {"username": "u", "uid": "1", "groups": ["g"], "extra": {}}}}),
    spoiled({"status": {"allowed": True, "denied": False}}),
)
def test_whatever_the_api_server_says_of_a_caller_it_is_known_refused_or_cannot_be_asked(
    user: bytes, right: bytes
) -> None:
    known, refused = outcome(lambda: asyncio.run(Reviews(asked(user)).user(Caller.bearing("a.token"))), Problem)
    assert known.username if known is not None else status_of(refused) in (401, 503)
    caller = Caller.known_as(User("u"), float("inf"))
    may, refused = outcome(lambda: asyncio.run(Reviews(asked(right)).may(caller, Right("get", "a"))), Problem)
    assert status_of(refused) == 503 if may is None else not may or says(right, "allowed")


def status_of(problem: Exception | None) -> int:
    assert isinstance(problem, Problem)
    return problem.kind.status


class TheLeader(Leader):
    """One that answers so."""

    def __init__(self, body: bytes) -> None:
        super().__init__("http://operator")
        self._body = body

    async def _addresses(self) -> list[str]:
        return ["operator"]

    async def _ask(self, *_: object) -> tuple[int, bytes]:
        return 200, self._body


HELD = [{"namespace": "a", "name": "b", "queue": "q", "amount": "2"}]
EXPLAINED = an_explanation("u", behind={"namespace": "a", "name": "b"}, holders=HELD, holdersTotal=1)


@often
@example(DEEP)
@given(spoiled(EXPLAINED))
def test_whatever_the_leader_answers_an_explanation_comes_of_it_or_the_api_is_unavailable(body: bytes) -> None:
    async def among(_: str, namespaces: Sequence[str]) -> Sequence[str]:
        return namespaces

    found, rights = Found(a_job("train").build(), None), cast(Rights, SimpleNamespace(among=among))
    told, refused = outcome(lambda: asyncio.run(explain(found, TheLeader(body), rights)), Problem)
    assert status_of(refused) == 503 if told is None else ExplanationView.model_validate(told)


# ---------------------------------------------------------------- the API to the command
WHEN = {"startedAt": "2026-01-01T12:00:01Z", "finishedAt": "2026-01-01T12:00:02Z"}
JOBS = {"items": [a_shown_job("train", **WHEN)], "next": None}
A_GROUP = {"items": [{"namespace": "a", "name": "b", "problem": None}], "unchanged": 1, "next": None}
COMMANDS = ("explain train", "explain train --json", "cancel train", "cancel --group g", "trace export")
ANSWERS = st.tuples(*(spoiled(of).map(lambda body: body.decode("latin-1")) for of in (JOBS, EXPLAINED, A_GROUP)))


class OfTwoPages(Api):
    """Whatever it says of another page: there is one, and it is the last."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if "cursor" in request.query:
            return web.json_response({"items": [], "unchanged": 0, "next": None})
        return await super().handle(request)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@example(("", "[" * 100_000, ""))
@example(("[]", "{}", "null"))
@given(answers=ANSWERS)
def test_whatever_answers_the_command_it_is_shown_or_said_not_to_be_the_api(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    answers: tuple[str, str, str],
) -> None:
    forget_settings(monkeypatch, tmp_path)
    jobs, told, group = answers
    api = OfTwoPages(
        {
            "/jobs/": (200, jobs),
            "/jobs/uid-train/explain": (200, told),
            "/jobs/uid-train/cancel": (409, told),
            "/jobs/group/g/cancel": (200, group),
        }
    )
    for command in COMMANDS:
        code = asyncio.run(taskjob(api, *command.split()))
        said = capsys.readouterr()
        assert said.out if code == 0 else code == 1 and said.err.startswith("taskjob: "), (command, said)


# ---------------------------------------------------------------- the kubelet
STAMPS = st.sampled_from(
    [b"2026-01-01T12:00:00Z ", b"2026-01-01T12:00:01.5Z ", b"2026-01-01T12:00:01+01:00 ", b"9999-"]
)
CURSORS = st.text(max_size=30) | st.sampled_from(["2026-01-01T12:00:00Z 1 2", "a 1 1", "2026-01-01T12:00:01.5Z 2 -1"])


@often
@given(st.lists(STAMPS | st.binary(max_size=6) | st.just(b"\n"), max_size=20), st.integers(1, 50), CURSORS)
def test_whatever_a_kubelet_sends_nothing_comes_out_that_did_not_come_in(
    parts: list[bytes], step: int, cursor: str
) -> None:
    sent, reading, out = b"".join(parts), Stamped(Cursor.parse(cursor)), 0
    for at in range(0, len(sent), step):
        for piece in reading.feed(sent[at : at + step]):
            assert all(part in sent for part in piece.body.split(b"\n"))
            out += len(piece.body)
    out += sum(len(piece.body) for piece in reading.finish())
    assert out <= len(sent)
    assert str(Cursor.parse(str(reading.cursor))) == str(reading.cursor)
