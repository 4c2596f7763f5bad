"""Texts of any kind against what reads texts: command lines, traces, kubeconfigs, queries, cursors, events' ids,
selectors, nodes. Each is understood, or refused in a sentence; none ends the program.

Amounts, bodies, logs and objects have tests of their own: `test_amounts`, `test_api_requests`, `test_logs`,
`test_hostile_manifests`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from odd_json import JSON
from taskjob.cli.command import parser
from taskjob.cli.connection import Place as Address
from taskjob.cli.errors import CommandError
from taskjob.cli.logs import Event, events
from taskjob.core.selectors import matches
from taskjob.history.cursors import CursorUnknownError, _write, read_place, read_position
from taskjob.kube.fields import Reader
from taskjob.kube.schema import UnusableObjectError
from taskjob.kube.selectors import read_selector
from taskjob.kube.surroundings import parse_node, parse_occupant
from taskjob.simulate.trace import JOBS_MAX, TraceError, parse
from taskjob_api.logs import LogQuery
from taskjob_api.place import Place, attempt_of
from taskjob_api.problems import Problem

often = settings(max_examples=200, suppress_health_check=list(HealthCheck))
TEXT = st.text(max_size=40)


def refusal(read: Callable[[], object], *kinds: type[BaseException]) -> str | None:
    """What it says when it refuses, None where it does not; whatever else is raised fails the test."""
    try:
        read()
    except kinds as error:
        return str(error)
    return None


# ---------------------------------------------------------------- traces
SECONDS = st.one_of(
    st.floats(0, 2e9), st.sampled_from([{"uniform": [0, 1e9]}, {"exponential": 1e9}, {"lognormal": [1, 1e9]}]), JSON
)
JOB_ITEM = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["a", "a-{i}", "Ä", ""]) | TEXT,
        "at": SECONDS,
        "every": SECONDS,
        "runs": SECONDS,
        "count": st.integers(-1, 40) | JSON,
        "for": st.fixed_dictionaries({}, optional={"i": st.integers(0, 3) | JSON, "j": st.just(100_000)}),
        "spec": JSON | st.fixed_dictionaries({"dependsOn": st.lists(JSON, max_size=2), "queue": TEXT}),
        "asks": st.dictionaries(st.sampled_from(["cpu", "memory"]), JSON, max_size=2),
    },
)
TRACE = st.fixed_dictionaries(
    {},
    optional={
        "seed": JSON,
        "queues": st.lists(st.fixed_dictionaries({"name": TEXT}, optional={"spec": JSON}) | JSON, max_size=2),
        "nodes": st.lists(st.fixed_dictionaries({"name": TEXT, "allocatable": JSON}) | JSON, max_size=2),
        "namespaces": JSON,
        "jobs": st.lists(JOB_ITEM | JSON, max_size=3),
    },
)


@often
@given(TRACE)
def test_any_trace_is_read_or_refused_in_a_sentence(trace: dict[str, Any]) -> None:
    assert refusal(lambda: parse(yaml.safe_dump(trace)), TraceError) != ""


@often
@given(TEXT | st.lists(st.sampled_from(list("{}[]&*a:-!?<>|%'\"\n #1.")), max_size=40).map("".join))
def test_any_text_in_the_place_of_a_trace_is_read_or_refused_in_a_sentence(text: str) -> None:
    assert refusal(lambda: parse(text), TraceError) != ""


LEVELS = "\n".join(f"      a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))
BAD_TRACES = {
    "a number of 5,000 digits": f"seed: {'9' * 5000}",
    "a date that is none": "seed: 2026-99-99",
    "half of a character": "a: \ud800",
    "nested without end": "[" * 100_000,
    "part of itself": "jobs:\n- name: a\n  for: {i: 2}\n  spec: &a\n    x: *a\n",
    "a hundred thousand million values of twelve lines": (
        f"jobs:\n- name: a\n  for: {{i: 2}}\n  spec:\n    template:\n      a0: &a0 [x]\n{LEVELS}\n"
    ),
    "later than any calendar": "jobs: [{name: a, every: 1e9, count: 2000}]",
    "more queues than any memory holds": "queues: [{name: 'q-{i}-{j}', for: {i: 100000, j: 100000}}]",
}


@pytest.mark.parametrize("what", BAD_TRACES)
def test_what_no_trace_can_mean_is_refused_at_once(what: str) -> None:
    with pytest.raises(TraceError):
        parse(BAD_TRACES[what])


def test_a_trace_with_aliases_is_read_as_if_they_were_written_out() -> None:
    text = "jobs:\n- {name: a, spec: &often {queue: q}}\n- {name: b, spec: *often}\n"
    assert [arrival.job.queue for arrival in parse(text).arrivals] == ["q", "q"]
    assert JOBS_MAX >= len(parse("jobs: [{name: a, count: 3}]").arrivals) == 3


# ---------------------------------------------------------------- the command line
COMMANDS = st.sampled_from(["explain", "logs", "simulate", "trace", "export", "--help", "--version"])
OPTIONS = st.sampled_from(
    ["-f", "--tail", "--since", "--asks", "-n", "--api", "--attempt", "--jobs", "--json", "--", "-", "7d", "cpu=1"]
)


@often
@given(st.lists(COMMANDS | OPTIONS | TEXT, max_size=6))
def test_any_command_line_is_understood_or_refused_with_2(arguments: list[str]) -> None:
    assert refusal(lambda: parser().parse_args(arguments), SystemExit) in (None, "0", "2")


@often
@given(
    TEXT
    | st.tuples(st.sampled_from(["http://", "https://", "//"]), st.text("[]:@/%.a1\u2100", max_size=8)).map("".join)
)
def test_any_address_of_an_api_is_taken_or_refused_in_a_sentence(address: str) -> None:
    options = argparse.Namespace(api=address, kubeconfig=Path("/nowhere/kubeconfig"), namespace="a")
    told = refusal(lambda: asyncio.run(Address.find(options)), CommandError)
    assert told is not None
    assert "is no address of an API" in told or "/nowhere/kubeconfig" in told


PARTS = st.sampled_from(["cluster", "user", "context", "name", "server", "token", "exec", "certificate-authority-data"])
KUBECONFIG = st.fixed_dictionaries(
    {"current-context": st.just("a")},
    optional={
        field: st.lists(
            st.fixed_dictionaries(
                {"name": st.just("a")}, optional={field[:-1]: st.dictionaries(PARTS, JSON, max_size=3)}
            ),
            max_size=2,
        )
        | JSON
        for field in ("contexts", "clusters", "users")
    },
)


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@example("[" * 100_000)
@given(KUBECONFIG.map(json.dumps) | JSON.map(json.dumps) | TEXT)
def test_any_kubeconfig_is_used_or_refused_in_a_sentence(tmp_path: Path, content: str) -> None:
    file = tmp_path / "kubeconfig"
    file.write_bytes(content.encode("utf-8", "surrogatepass"))
    options = argparse.Namespace(api="https://a", kubeconfig=file, namespace=None)
    told = refusal(lambda: asyncio.run(Address.find(options)), CommandError)
    assert told is None or str(file) in told


async def _events(pieces: list[bytes]) -> list[Event]:
    class Content:
        async def iter_any(self) -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

    return [event async for event in events(Content())]  # type: ignore[arg-type]  # the one method that it reads with


EVENT_LINES = st.lists(
    st.sampled_from([b"event: ", b"data: ", b"id: ", b"message", b"end", b"\n", b"\n\n", b"\xc3\xa4", b":", b" "]),
    max_size=20,
).map(b"".join)


@often
@given(EVENT_LINES, st.lists(st.integers(0, 60), max_size=5))
def test_events_do_not_depend_on_how_they_were_cut(body: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(cut for cut in cuts if cut < len(body)), len(body)]
    pieces = [body[begin:end] for begin, end in pairwise(places)]
    assert asyncio.run(_events(pieces)) == asyncio.run(_events([body]))


# ---------------------------------------------------------------- what clients of the API send back
@often
@given(
    TEXT
    | st.lists(TEXT | st.integers(0, 2**64 - 1), max_size=3).map(_write)
    | st.tuples(st.integers(-(2**63), 2**64 - 1), st.text(max_size=5)).map(_write)
)
def test_any_cursor_is_read_or_refused(cursor: str) -> None:
    for read in (read_place, read_position):
        assert refusal(lambda: read(cursor), CursorUnknownError) != ""  # noqa: B023 - called at once


@often
@given(
    TEXT
    | st.from_regex(
        r"([0-9]{1,9}-)?[0-9]{1,9}\.[0-9]{1,15}\.[0-9]{1,15}\.[0-9]{1,15}\.[0-9TZ:.+-]{0,35}", fullmatch=True
    )
)
def test_any_id_of_an_event_is_a_place_in_the_log_or_none(identity: str) -> None:
    found = re.match("(?:([0-9]{1,9})-)?([0-9]{1,9})", identity)
    run, attempt = (int(found[1] or 0), int(found[2])) if found else (0, 1)
    place = Place.parse(identity, run, attempt)
    assert attempt_of(identity) in (None, (run, attempt))
    if place is not None:
        again = place.identity(run, attempt)
        assert Place.parse(again, run, attempt) is not None
        assert attempt_of(again) == (run, attempt)


@often
@given(TEXT | st.from_regex(r"[0-9]{1,10}[smhd]|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:+ Z]{0,14}", fullmatch=True))
def test_since_any_text_is_an_instant_or_refused_by_its_name(since: str) -> None:
    try:
        query = LogQuery(since=since)
    except ValidationError:
        assert not 2 <= len(since) <= 40
        return
    told = refusal(lambda: query.since_at(datetime(2026, 1, 1, tzinfo=UTC)), Problem)
    assert told is None or told.startswith("since: ")


# ---------------------------------------------------------------- what the cluster holds
SELECTOR = st.fixed_dictionaries(
    {},
    optional={
        "matchLabels": st.dictionaries(TEXT, JSON, max_size=2) | JSON,
        "matchExpressions": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "key": TEXT | JSON,
                    "operator": st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist", "Gt"]) | JSON,
                    "values": st.lists(TEXT | JSON, max_size=2) | JSON,
                },
            )
            | JSON,
            max_size=2,
        )
        | JSON,
    },
)


@often
@given(SELECTOR | JSON, st.dictionaries(TEXT, TEXT, max_size=2))
def test_any_selector_matches_or_not_and_what_is_wrong_with_it_is_named(found: Any, labels: dict[str, str]) -> None:
    read = Reader()
    assert matches(read_selector({"selector": found}, "selector", "spec.", read), labels) in (True, False)
    if found is not None and not isinstance(found, dict):
        assert read.problem is not None
        assert "spec.selector" in read.problem


@often
@given(
    st.binary(max_size=40)
    | st.fixed_dictionaries(
        {"metadata": st.just({"name": "a", "uid": "u"})}, optional={"spec": JSON, "status": JSON}
    ).map(lambda found: json.dumps(found).encode())
)
def test_any_node_and_any_strangers_pod_is_read_or_unusable(raw: bytes) -> None:
    for read in (parse_node, parse_occupant):
        assert refusal(lambda: read(raw), UnusableObjectError) != ""  # noqa: B023 - called at once
