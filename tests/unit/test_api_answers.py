"""The API's pure parts on the way out: views, the OpenAPI document, the lines of a followed log, the documentation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from builders import a_job, at
from history_stories import a_row
from taskjob.core.model import PodTemplate
from taskjob.core.phases import Phase
from taskjob.history.reader import TransitionView
from taskjob.history.views import JobSummary
from taskjob_api import place
from taskjob_api.filters import JobQuery, ListQuery
from taskjob_api.follow import event
from taskjob_api.jobs import Found
from taskjob_api.kept import LINE_MAX, Line
from taskjob_api.logs import LogQuery, meant_container, taken_up
from taskjob_api.openapi import parameters
from taskjob_api.place import Place, lines_of
from taskjob_api.problems import TYPES, Kind, Problem
from taskjob_api.routes import build
from taskjob_api.service import Service
from taskjob_api.views import JobBrief, JobDetail, JobView, encode, live, past, past_detail, rfc3339, transition_frame

DOCS = Path(__file__).parents[2] / "docs" / "api.md"


# ---------------------------------------------------------------- views
def test_a_live_and_a_past_job_are_the_same_model() -> None:
    job = a_job("train").after("x").being(Phase.RUNNING, attempt=1, started_at=at(2)).build()
    shown, kept = live(job, a_row().attempts), past_detail(a_row())
    assert shown.keys() == kept.keys()
    for answer in (shown, kept):
        JobDetail.model_validate_json(encode(answer))
    JobView.model_validate_json(encode(past(a_row())))
    assert live(job, None)["attempts"] is None
    assert (kept["priority"], kept["dependsOn"]) == ("High", [{"name": "x", "condition": "Failed"}])


def test_a_word_of_a_newer_release_is_shown_as_it_is() -> None:
    JobView.model_validate_json(encode(past(a_row(phase="Paused", reason="NewReason", priority=50))))
    assert past(a_row(priority=50))["priority"] == "50"


def test_a_frame_has_the_job_as_the_model_of_frames_says() -> None:
    row = a_row()
    summary = JobSummary(**{name: getattr(row, name) for name in JobSummary.__struct_fields__})
    told = TransitionView(cursor="c", at=at(1), from_phase=None, to_phase="Pending", job=summary)

    frame = json.loads(transition_frame(told))
    assert list(frame) == ["type", "cursor", "at", "from", "to", "job"]
    JobBrief.model_validate_json(json.dumps(frame["job"]))


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1)), st.integers(-14, 14))  # noqa: DTZ001 - hypothesis wants naive bounds
def test_an_instant_is_utc_with_a_z_and_keeps_its_milliseconds(naive: datetime, hours: int) -> None:

    instant = naive.replace(tzinfo=timezone(timedelta(hours=hours)))
    text = rfc3339(instant)
    assert text.endswith("Z")
    assert timedelta() <= instant - datetime.fromisoformat(text) < timedelta(milliseconds=1)


# ---------------------------------------------------------------- a followed log
async def chunked(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def read(pieces: list[bytes]) -> list[Line]:
    async def collect() -> list[Line]:
        return [line async for line in lines_of(chunked(pieces))]

    return asyncio.run(collect())


TIME = b"2026-01-01T12:00:00.000000001Z"


@given(st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"")), max_size=6), st.lists(st.integers(1, 40)))
def test_lines_do_not_depend_on_how_they_were_cut_into_chunks(texts: list[bytes], cuts: list[int]) -> None:
    body = b"".join(TIME + b" " + text + b"\n" for text in texts)
    pieces, place = [], 0
    for size in cuts:
        pieces.append(body[place : place + size])
        place += size
    pieces.append(body[place:])
    assert read(pieces) == [Line(TIME, text) for text in texts]


@pytest.mark.parametrize("step", [1000, LINE_MAX, LINE_MAX + 1, 10**9])
def test_a_line_that_is_too_long_is_cut_at_the_same_places_always(step: int) -> None:
    body = TIME + b" " + b"x" * (2 * LINE_MAX + 5) + b"\n" + TIME + b" y\n"
    lines = read([body[n : n + step] for n in range(0, len(body), step)])
    assert [(len(line.text), line.whole) for line in lines] == [
        (LINE_MAX, False),
        (LINE_MAX, False),
        (5, True),
        (1, True),
    ]
    assert {line.time for line in lines} == {TIME}


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=20).map(sorted),
    st.lists(st.integers(0, 20), max_size=4),
    st.booleans(),
)
def test_a_log_that_is_taken_up_again_loses_and_doubles_nothing(
    seconds: list[int], breaks: list[int], by_identity: bool
) -> None:
    """Each break reads again from the second of the last line, as `sinceTime` does."""
    log = [Line(b"2026-01-01T12:00:%02d.5Z" % (second // 2), b"%d" % n) for n, second in enumerate(seconds)]
    where, sent = Place(), []
    for stop in [*breaks, len(log)]:
        where.restart()
        since = where.since
        begin = next((n for n, line in enumerate(log) if since is None or line.time[:19].decode() + "Z" >= since), 0)
        for line in log[begin : max(begin, stop)]:
            if (text := where.new(line)) is not None:
                sent.append(text)
        if by_identity:
            again = Place.parse(where.identity(1, 3), 1, 3)
            assert again is not None
            where = again
    assert sent == [line.text for line in log]


@patch.object(place, "LINE_MAX", 100)
@given(st.integers(0, 400), st.lists(st.integers(0, 400), max_size=4), st.booleans())
def test_a_very_long_line_that_is_broken_off_anywhere_is_sent_once(length: int, breaks: list[int], ends: bool) -> None:
    whole = b"%s %s%s%s last" % (TIME, b"x" * length, b"\n" if ends else b"", TIME if ends else b"")
    where, sent = Place(), b""

    async def read(stop: int | None) -> bytes:
        new = b""
        async for line in lines_of(chunked([whole[:stop]])):
            if (text := where.new(line)) is not None:
                new += text + (b"\n" if line.whole else b"")
        return new

    for stop in (*breaks, None):
        where.restart()
        if stop is None or stop > len(TIME):
            sent += asyncio.run(read(stop))
    assert sent == b"x" * length + (b"\nlast" if ends else b" last")


def test_the_rest_of_a_long_line_which_the_kubelet_serves_without_a_time_is_not_sent_again() -> None:
    where = Place()
    assert [where.new(line) for line in (Line(TIME, b"a long line"), Line(TIME, b"last", False))] == [
        b"a long line",
        b"last",
    ]
    where.restart()
    assert [where.new(line) for line in (Line(b"", b"line"), Line(TIME, b"a long line"))] == [None, None]


def test_an_event_id_of_another_attempt_is_not_taken_up() -> None:
    identity = Place(5, 1, 7, TIME).identity(0, 2)
    assert Place.parse(identity, 0, 2) is not None
    assert Place.parse(identity, 0, 3) is None
    assert Place.parse(identity, 1, 2) is None, "nor one of another run"
    assert Place.parse("end", 0, 2) is None


def test_an_event_id_of_an_earlier_release_which_names_no_run_is_taken_up() -> None:
    _, _, old = Place(5, 1, 7, TIME).identity(1, 2).partition("-")
    found = Place.parse(old, 1, 2)
    assert found is not None
    assert found.identity(1, 2) == f"1-{old}"


def followed_by(identity: str, **query: int) -> tuple[int, int]:
    """Run and attempt that a client follows which comes back with that id, of a job that is in run 2, attempt 3."""
    job = a_job("train").being(Phase.RUNNING, run=2, attempt=3).build()
    one = a_row().attempts[0]
    row = a_row(attempts=tuple(replace(one, run=run, attempt=n) for run in (0, 2) for n in (1, 2)))
    of = taken_up(Found(job, row), LogQuery(follow=True, **query), identity)
    return of.run, of.attempt


def test_who_comes_back_to_a_log_follows_the_attempt_that_it_has_followed() -> None:
    last, retried, rerun = (Place(5, 1, 0, TIME).identity(*of) for of in ((2, 3), (2, 1), (0, 2)))
    assert [followed_by(identity) for identity in ("", last, retried, rerun)] == [(2, 3), (2, 3), (2, 1), (0, 2)]
    assert followed_by(rerun, attempt=2) == (0, 2), "it names the attempt, and not the run"
    assert followed_by(rerun, attempt=1) == (2, 1), "it asks for another"
    assert followed_by(rerun, run=2) == (2, 3)


@pytest.mark.parametrize("of", [(2, 4), (3, 1), (1, 1), (0, 3)])
def test_an_event_id_of_an_attempt_that_the_job_has_not_had_is_passed_over(of: tuple[int, int]) -> None:
    assert followed_by(Place(5, 1, 0, TIME).identity(*of)) == (2, 3)


def test_who_comes_back_to_an_earlier_run_while_history_is_away_is_not_shown_another() -> None:
    job = a_job("train").being(Phase.RUNNING, run=1, attempt=1).build()
    with pytest.raises(Problem) as refused:
        taken_up(Found(job, None, history_answers=False), LogQuery(), Place(5, 1, 0, TIME).identity(0, 1))
    assert refused.value.kind is Kind.UNAVAILABLE


def test_a_carriage_return_cannot_forge_an_event() -> None:
    assert event(b"a\rdata: b\r\n\revent: end", "1") == b"id: 1\ndata: a\ndata: data: b\ndata: \ndata: event: end\n\n"


def test_the_first_container_is_meant_unless_an_annotation_names_another() -> None:
    assert meant_container(PodTemplate(b'{"spec": {"containers": [{"name": "b"}, {"name": "a"}]}}')) == "b"
    chosen = (
        b'{"metadata": {"annotations": {"kubectl.kubernetes.io/default-container": "%s"}},'
        b' "spec": {"containers": [{"name": "b"}, {"name": "a"}]}}'
    )
    assert meant_container(PodTemplate(chosen % b"a")) == "a"
    assert meant_container(PodTemplate(chosen % b"no-such")) == "b"
    assert meant_container(PodTemplate(b"{}")) is None
    assert meant_container(PodTemplate(b'{"spec": {"containers": 7}}')) is None


# ---------------------------------------------------------------- what is said about it all
@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return build(Service.__new__(Service), version="test").openapi()


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        found = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return found.union(*(references(item) for item in value.values()))
    return set().union(*(references(item) for item in value)) if isinstance(value, list) else set()


def test_the_document_has_the_calls_of_the_design_and_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    calls = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert calls >= {
        ("post", "/jobs/"),
        ("get", "/jobs/"),
        ("get", "/jobs/{job_id}"),
        ("get", "/jobs/{job_id}/logs"),
        *(("patch", f"/jobs/{{job_id}}/{wish}") for wish in ("cancel", "suspend", "resume", "rerun")),
        ("patch", "/jobs/group/{group}/{wish}"),
        ("get", "/healthz"),
        ("get", "/readyz"),
        ("get", "/metrics"),
    }
    assert references(document) <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_what_the_api_needs_is_not_described_as_what_a_job_waits_for(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    part = schemas["Readiness"]["properties"]["postgresql"]["$ref"].rpartition("/")[2]
    assert set(schemas[part]["properties"]) == {"ready", "message"}
    assert set(schemas["Dependency"]["properties"]) == {"name", "condition"}


def test_every_call_about_jobs_asks_for_a_token_in_the_document(document: dict[str, Any]) -> None:
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for path, calls in document["paths"].items():
        for method, call in calls.items():
            asks = (call.get("security"), "401" in call["responses"])
            assert asks == (([{"token": []}], True) if path.startswith("/jobs") else (None, False)), (method, path)


def test_every_problem_in_the_document_is_a_problem(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            for code, answer in call["responses"].items():
                if int(code) >= 400 and path.startswith("/jobs"):
                    assert list(answer["content"]) == ["application/problem+json"], (method, path, code)
                    for example in answer["content"]["application/problem+json"]["examples"].values():
                        assert str(example["value"]["status"]) == code


@pytest.mark.parametrize(("path", "model"), [("/jobs/", ListQuery), ("/jobs/{job_id}/logs", LogQuery)])
def test_every_parameter_is_in_the_document(document: dict[str, Any], path: str, model: type[JobQuery]) -> None:
    shown = {p["name"] for p in document["paths"][path]["get"]["parameters"] if p["in"] == "query"}
    assert shown == {field.alias or name for name, field in model.model_fields.items()}
    assert all(parameter["description"] for parameter in parameters(model))


def test_the_documentation_names_every_kind_of_problem_with_its_status() -> None:
    text = DOCS.read_text()
    missing = [kind.slug for kind in Kind if f"| `{kind.slug}` | {kind.status} |" not in text]
    assert missing == []
    assert TYPES in text


def test_the_documentation_names_every_filter() -> None:
    text = DOCS.read_text()
    assert [f.alias for f in ListQuery.model_fields.values() if f"`{f.alias}`" not in text] == []
