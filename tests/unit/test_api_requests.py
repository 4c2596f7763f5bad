"""The API's pure parts on the way in: bodies, queries, hosts; and how problems are written."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from taskjob.resources import TaskJob
from taskjob_api.app import StartError, listen, url_of
from taskjob_api.bodies import ShortJob, parse, short_name, submission
from taskjob_api.cluster import refusal
from taskjob_api.filters import ListQuery, StreamQuery, read_query
from taskjob_api.logs import LogQuery, last_lines
from taskjob_api.middleware import is_loopback
from taskjob_api.problems import ERRORS_MAX, FieldError, Kind, Problem, from_fields, path
from taskjob_api.views import rfc3339

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


# ---------------------------------------------------------------- bodies
def problem_of(call: Callable[[], object]) -> Problem | None:
    try:
        call()
    except Problem as problem:
        return problem
    return None


def fields_of(problem: Problem) -> list[str]:
    return [error.field for error in problem.errors]


def test_a_short_job_says_nothing_that_was_not_said() -> None:
    made = submission({"image": "busybox"}).manifest
    assert made == {
        "apiVersion": "taskjobs.dev/v1beta1",
        "kind": "TaskJob",
        "metadata": {"generateName": "job-", "namespace": "default"},
        "spec": {"image": "busybox"},
    }


SHORT = st.fixed_dictionaries(
    {"image": st.just("busybox")},
    optional={
        "name": st.sampled_from(["a", "a-b", "a.b"]),
        "args": st.lists(st.text(max_size=5), max_size=3),
        "env": st.dictionaries(st.sampled_from(["A", "B"]), st.text(max_size=5)),
        "cpu": st.sampled_from([1, "500m", "1.5"]),
        "memory": st.sampled_from([0, "64Mi"]),
        "priority": st.sampled_from(["Critical", "High", "Normal", "Low"]) | st.integers(-1_000_000, 1_000_000),
        "dependsOn": st.lists(st.sampled_from(["x", "y", "z"]), unique=True),
        "retries": st.integers(0, 1000),
        "timeoutSeconds": st.integers(1, 1000),
        "labels": st.dictionaries(st.sampled_from(["l", "m"]), st.sampled_from(["v", ""])),
    },
)


@given(SHORT)
def test_what_the_short_form_accepts_is_a_taskjob(given_job: dict[str, Any]) -> None:
    assert TaskJob.model_validate(ShortJob.model_validate(given_job).manifest())


@pytest.mark.parametrize(
    ("field", "short"),
    {
        "spec.image": "image",
        "spec.args[2]": "args[2]",
        "spec.env[0].name": "env",
        "spec.dependsOn": "dependsOn",
        "spec.dependsOn[3].name": "dependsOn[3]",
        "spec.dependsOn[3]": "dependsOn[3]",
        "spec.resources.requests.cpu": "cpu",
        "spec.resources.requests[memory]": "memory",
        "spec.retry.limit": "retries",
        "spec.timeoutSeconds": "timeoutSeconds",
        "metadata.name": "name",
        "metadata.generateName": "name",
        "metadata.labels": "labels",
        "metadata.namespace": "namespace",
        "spec": "spec",
        "": "",
    }.items(),
)
def test_errors_about_the_manifest_name_the_field_of_the_short_form(field: str, short: str) -> None:
    assert short_name(field) == short


@pytest.mark.parametrize(
    ("body", "said"),
    {
        b"{": "line 1, column 2",
        b'{"a": 1,\n "b": }': "line 2",
        b'{"a": 1, "a": 2}': "'a' stands twice",
        b'{"a": {"b": 1, "b": 2}}': "'b' stands twice",
        b'{"a": Infinity}': "Infinity",
        b"7": "must be a JSON object",
        b"\xff": "utf-8",
    }.items(),
)
def test_a_body_that_cannot_be_read_says_where(body: bytes, said: str) -> None:
    with pytest.raises(Problem) as raised:
        parse(body)
    assert raised.value.kind is Kind.MALFORMED
    assert said in raised.value.detail


@given(st.binary(max_size=64))
def test_no_body_breaks_the_reader(body: bytes) -> None:
    problem = problem_of(lambda: submission(parse(body)))
    assert problem is None or problem.kind in (Kind.MALFORMED, Kind.INVALID)


@given(
    st.dictionaries(st.sampled_from([*ShortJob.model_fields, "kind", "spec", "metadata"]), st.none() | st.integers())
)
def test_no_object_breaks_the_models(body: dict[str, Any]) -> None:
    problem = problem_of(lambda: submission(body))
    assert problem is None or (problem.kind is Kind.INVALID and problem.errors)


# ---------------------------------------------------------------- problems
@given(st.lists(st.from_regex(r"[a-z]{1,4}", fullmatch=True) | st.integers(0, 9), min_size=1, max_size=5))
def test_a_path_is_written_as_kubectl_writes_it(parts: list[str | int]) -> None:
    written = path(parts)
    assert "[" not in written or written.count("[") == sum(isinstance(part, int) for part in parts)
    assert not written.startswith(".")


def test_a_problem_is_bounded_however_much_is_wrong() -> None:
    problem = from_fields([FieldError(field=f"f{n}", message="x" * 200) for n in range(1000)])
    shown = json.loads(problem.body("/jobs/"))
    assert len(shown["errors"]) == ERRORS_MAX
    assert "999 more" in shown["detail"]
    assert len(Problem(Kind.INVALID, "x" * 100_000).detail) <= 4096


def a_reply(code: int, message: str, reason: str = "", **details: Any) -> Any:
    from taskjob.kube.http import Reply

    return Reply(code, json.dumps({"message": message, "reason": reason, "details": details}).encode())


@pytest.mark.parametrize(
    ("code", "message", "kind", "fields"),
    [
        (400, 'strict decoding error: unknown field "spec.foo"', Kind.INVALID, ["spec.foo"]),
        (400, 'strict decoding error: unknown field "a.b", duplicate field "c"', Kind.INVALID, ["a.b", "c"]),
        (400, "the body is odd", Kind.MALFORMED, []),
        (401, "Unauthorized", Kind.UNAVAILABLE, []),
        (403, "no", Kind.FORBIDDEN, []),
        (404, "the server could not find the requested resource", Kind.UNAVAILABLE, []),
        (409, "changed", Kind.CONFLICT, []),
        (413, "too large", Kind.TOO_LARGE, []),
        (429, "slow down", Kind.UNAVAILABLE, []),
        (500, "etcd is away", Kind.UNAVAILABLE, []),
        (504, "timeout", Kind.UNAVAILABLE, []),
    ],
)
def test_what_the_api_server_refuses_keeps_its_meaning(code: int, message: str, kind: Kind, fields: list[str]) -> None:
    problem = refusal(a_reply(code, message))
    assert (problem.kind, fields_of(problem)) == (kind, fields)
    assert (kind is Kind.UNAVAILABLE) == ("Retry-After" in problem.headers)


def test_the_causes_of_a_422_name_the_fields_and_what_was_left_unchecked_is_no_cause() -> None:
    causes = [
        {"field": "spec.retry.limit", "message": "too large"},
        {"field": "<nil>", "message": "some validation rules were not checked"},
    ]
    assert fields_of(refusal(a_reply(422, "invalid", causes=causes))) == ["spec.retry.limit"]
    assert fields_of(refusal(a_reply(422, "invalid", causes=causes[1:]))) == [""]


# ---------------------------------------------------------------- queries
def query(text: str) -> QueryParams:
    return QueryParams(text)


def test_every_parameter_of_the_design_is_read() -> None:
    found = read_query(
        ListQuery,
        query(
            "namespace=n&phase=Running&phase=Failed&queue=q&priority=Low&group=g&label=a=1&label=b=x=y&name=tr"
            "&createdAfter=2026-01-01T12:00:00Z&createdBefore=2026-01-01T14:00:00+02:00&limit=5&cursor=c"
        ),
    )
    wanted = found.filter()
    assert (wanted.namespaces, wanted.phases, wanted.queue, wanted.priority) == (
        ["n"],
        ["Running", "Failed"],
        "q",
        -100,
    )
    assert (wanted.group, wanted.labels, wanted.name_prefix) == ("g", {"a": "1", "b": "x=y"}, "tr")
    assert wanted.created_after == wanted.created_before == NOON
    assert (found.limit, found.cursor) == (5, "c")


@pytest.mark.parametrize(("said", "level"), [("High", 100), ("100", 100), ("250", 250), ("-7", -7), ("0", 0)])
def test_a_priority_is_asked_for_by_name_or_by_number(said: str, level: int) -> None:
    assert read_query(ListQuery, query(f"priority={said}")).filter().priority == level


@pytest.mark.parametrize("said", ["urgent", "1000001", "-1000001", "1.5", "99999999999999999999", "--1", ""])
def test_what_is_no_priority_is_refused_with_what_is(said: str) -> None:
    with pytest.raises(Problem) as refused:
        read_query(ListQuery, query(f"priority={said}"))
    (error,) = refused.value.errors
    assert (error.field, "a whole number between" in error.message) == ("priority", True)


def test_defaults_let_everything_pass() -> None:
    found = read_query(StreamQuery, query(""))
    assert (found.snapshot, found.cursor) == (False, None)
    assert read_query(ListQuery, query("")).limit == 100


@given(st.text(max_size=40), st.text(max_size=40))
@example("label", "")
@example("phase", "")
def test_no_query_breaks_the_reader(name: str, value: str) -> None:
    problem = problem_of(lambda: read_query(ListQuery, QueryParams([(name, value)])).filter())
    at = f"{name}[0]" if name in ("label", "phase") else name  # of those that may stand more than once, which one
    assert problem is None or (problem.kind is Kind.INVALID and problem.errors[0].field[:20] == at[:20])


@pytest.mark.parametrize(
    ("since", "at"),
    {
        "90s": "2026-01-01T11:58:30Z",
        "10m": "2026-01-01T11:50:00Z",
        "2h": "2026-01-01T10:00:00Z",
        "1d": "2025-12-31T12:00:00Z",
        "2026-01-01T10:00:00Z": "2026-01-01T10:00:00Z",
        "2026-01-01T10:00:00 02:00": "2026-01-01T08:00:00Z",  # a + that was not encoded
        "0001-01-01T00:00:00Z": "1970-01-01T00:00:00Z",
        "999999999d": "1994-04-25T10:13:20Z",
    }.items(),
)
def test_since_is_an_instant_or_a_duration(since: str, at: str) -> None:
    found = LogQuery(since=since).since_at(NOON)
    assert found is not None
    assert rfc3339(found) == at


@given(
    st.lists(st.binary(max_size=3).map(lambda b: b.replace(b"\n", b"x")), max_size=6), st.booleans(), st.integers(0, 8)
)
def test_the_last_lines_are_the_last_lines(lines: list[bytes], ended: bool, count: int) -> None:
    body = b"".join(line + b"\n" for line in lines)
    if lines and not ended and lines[-1]:
        body = body[:-1]
    expected = body.splitlines(keepends=True) if b"\r" not in body else None
    if expected is not None and not any(c in body for c in (b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e", b"\x85")):
        assert last_lines(body, count) == b"".join(expected[len(expected) - min(count, len(expected)) :])


# ---------------------------------------------------------------- loopback
@pytest.mark.parametrize(
    ("host", "is_ours"),
    {
        "127.0.0.1": True,
        "127.8.8.8": True,
        "localhost": True,
        "::1": True,
        "[::1]": True,
        "0.0.0.0": False,  # noqa: S104 - it is what must be refused
        "::": False,
        "10.0.0.1": False,
        "example.org": False,
        "localhost.example.org": False,
        "": False,
    }.items(),
)
def test_only_loopback_is_this_machine(host: str, is_ours: bool) -> None:
    assert is_loopback(host) is is_ours


def test_without_authentication_the_api_listens_on_loopback_only_and_says_why() -> None:
    with pytest.raises(StartError, match=r"TASKJOBS_API_HOST=0\.0\.0\.0 is refused.*loopback"):
        listen("0.0.0.0", 0, insecure_local=True)  # noqa: S104 - as above
    with listen("127.0.0.1", 0) as first:
        assert url_of(first).startswith("http://127.0.0.1:")


def test_a_port_that_is_taken_is_named() -> None:
    with listen("127.0.0.1", 0) as first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(StartError, match=f"127.0.0.1:{port}"):
            listen("127.0.0.1", port)
