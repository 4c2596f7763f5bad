"""The simulator: traces as they are written, what they come to, and how that is shown."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskjob.cli.command import run
from taskjob.core.model import QueueName
from taskjob.core.phases import Phase, Reason
from taskjob.simulate.chart import PANELS_MAX, draw
from taskjob.simulate.report import Waits, report, table
from taskjob.simulate.trace import Trace, TraceError, parse
from taskjob.simulate.virtual import Outcome, VirtualCluster

ROOT = Path(__file__).parents[2]
TRACES = sorted((ROOT / "examples" / "traces").glob("*.yaml"))


def simulated(text: str) -> Outcome:
    return VirtualCluster(parse(text)).run()


def names(trace: Trace) -> list[str]:
    return [arrival.job.name for arrival in trace.arrivals]


def test_one_item_stands_for_many() -> None:
    trace = parse("""
        queues: [{name: "q-{team}", for: {team: 2}, spec: {quota: {cpu: 1}}}]
        jobs: [{name: "j-{team}", for: {team: 2}, count: 10, every: 2, spec: {queue: "q-{team}"}}]
    """)
    assert [queue.name for queue in trace.queues] == ["q-1", "q-2"]
    assert len(trace.arrivals) == 20
    assert [(a.at, a.job.name, a.job.queue) for a in trace.arrivals[:3]] == [
        (0, "j-1-01", "q-1"),
        (0, "j-2-01", "q-2"),
        (2, "j-1-02", "q-1"),
    ]


def test_a_manifest_may_stand_where_a_short_item_may() -> None:
    (arrival,) = parse("""
        jobs:
        - apiVersion: taskjobs.dev/v1beta1
          kind: TaskJob
          metadata: {name: train, namespace: team-a, labels: {a: b}}
          spec: {template: {spec: {containers: [{name: main, image: i, resources: {requests: {cpu: "2"}}}]}}}
          runs: 3
    """).arrivals
    assert arrival.job.uid == "team-a/train"
    assert arrival.job.request == (("cpu", 2000), ("pods", 1))


def test_a_trace_is_always_the_same_story_and_another_seed_tells_another() -> None:
    text = "{seed: %d, jobs: [{name: a, count: 50, every: {exponential: 3}, runs: {lognormal: [1, 9]}}]}"
    assert parse(text % 1) == parse(text % 1)
    assert parse(text % 1) != parse(text % 2)


def test_what_comes_before_another_item_does_not_change_its_numbers() -> None:
    one = "{name: a, count: 5, every: {uniform: [1, 2]}}"
    alone, beside = parse(f"jobs: [{one}]"), parse(f"jobs: [{{name: b, runs: {{exponential: 1}}}}, {one}]")
    assert [arrival for arrival in beside.arrivals if arrival.job.name != "b"] == list(alone.arrivals)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jobs: [", "it is not YAML"),
        ("job: []", "job: unknown field"),
        ("jobs: [{spec: {}}]", "jobs[0]: give it one name"),
        ("jobs: [{name: a, spec: {que: b}}]", "jobs[0].spec.que: unknown field"),
        ("jobs: [{name: a, runs: -1}]", "jobs[0].runs.exactly: Input should be greater than or equal to 0"),
        ("jobs: [{name: a, runs: soon}]", "jobs[0].runs.exactly: Input should be a valid number"),
        ("jobs: [{name: a, runs: {uniform: [1, 2], exponential: 3}}]", "jobs[0].runs: give a number, uniform"),
        ("jobs: [{name: a, runs: {lognormal: [2, 1]}}]", "the 95th percentile is less than the median"),
        ("jobs: [{name: a}, {name: a}]", "jobs: default/a is there twice"),
        ("jobs: [{name: a, asks: {cpu: lots}}]", "jobs[0].asks"),
        ("jobs: [{name: a, asks: {cpu: 1}, spec: {resources: {}}}]", "jobs[0]: asks: is short for"),
        ("queues: [{name: q, spec: {quota: {cpu: x}}}]", "queues[0].spec.quota"),
        ("queues: [{name: q}, {name: q, at: -1}]", "queues[1].at: Input should be greater than or equal to 0"),
    ],
)
def test_what_is_wrong_with_a_trace_is_said_with_its_place(text: str, said: str) -> None:
    with pytest.raises(TraceError) as raised:
        parse(text)
    assert said in str(raised.value)


def test_a_queue_is_what_its_last_item_says_and_a_change_that_is_still_to_come_is_waited_for() -> None:
    outcome = simulated("""
        queues:
        - {name: q, at: 100000000, spec: {quota: {pods: 3}}}
        - {name: q, spec: {quota: {pods: 1}, stopPolicy: Hold}}
        jobs: [{name: a, runs: 10, spec: {queue: q}}]
    """)
    assert [record.starts for record in outcome.records] == [[100_000_000]]
    assert dict(outcome.quotas[QueueName("q")]) == {"pods": 3}


def test_waits_are_counted_from_when_the_dependencies_were_met() -> None:
    outcome = simulated("""
        queues: [{name: q, spec: {quota: {pods: 1}}}]
        jobs:
        - {name: a, runs: 10, spec: {queue: q}}
        - {name: b, runs: 1, spec: {queue: q, dependsOn: [{name: a}]}}
        - {name: c, runs: 5, at: 1, spec: {queue: q, priority: High}}
    """)
    assert {r.arrival.job.name: r.wait for r in outcome.records} == {"a": 0, "b": 5, "c": 9}


def test_figures_of_a_queue() -> None:
    outcome = simulated("""
        queues: [{name: q, spec: {quota: {cpu: 2, pods: 4}}}]
        jobs:
        - {name: a, asks: {cpu: 1}, runs: 10, spec: {queue: q}}
        - {name: b, asks: {cpu: 2}, runs: 10, spec: {queue: q}}
        - {name: c, asks: {cpu: 3}, runs: 10, spec: {queue: q}}
        - {name: d, asks: {cpu: 1}, runs: 10, ends: Failed, spec: {queue: q}}
    """)
    told = report(outcome)
    (queue,) = told.queues
    assert (queue.jobs, queue.succeeded, dict(queue.unfinished)) == (4, 2, {"ExceedsQuota": 1})
    assert queue.waits == Waits(mean=10 / 3, p50=0, p95=10, longest=10)
    assert queue.utilisation == {"cpu": 1.0, "pods": 3 / 8}
    assert "Left waiting: 1 (ExceedsQuota)" in told.text()


def test_a_quota_may_follow_the_nodes_of_the_trace() -> None:
    outcome = simulated("""
        nodes: [{name: "n-{n}", for: {n: 2}, allocatable: {cpu: "4", pods: 10}, labels: {pool: batch}}]
        queues: [{name: q, spec: {quotaFromNodes: {percent: 50, nodeSelector: {pool: batch}}}}]
        jobs: [{name: a, count: 5, asks: {cpu: "1"}, runs: 10, spec: {queue: q}}]
    """)
    assert [record.starts for record in outcome.records] == [[0], [0], [0], [0], [10]]
    assert report(outcome).queues[0].utilisation["cpu"] == 5 / 8


def test_an_attempt_ends_at_its_timeout() -> None:
    (record,) = simulated("jobs: [{name: a, runs: 100, spec: {timeoutSeconds: 7}}]\nqueues: [{name: default}]").records
    assert (record.ended_at, record.status.phase, record.status.reason) == (7, Phase.FAILED, Reason.ATTEMPT_FAILED)


def test_a_job_that_nothing_wakes_is_left_waiting_and_the_simulation_ends() -> None:
    outcome = simulated("queues: [{name: default}]\njobs: [{name: a, spec: {suspend: true}}]")
    assert outcome.records[0].status.reason is Reason.SUSPENDED
    assert outcome.seconds == 0


@given(st.integers(1, 4), st.lists(st.tuples(st.floats(0, 20), st.floats(0, 20), st.integers(1, 4)), max_size=12))
def test_usage_never_exceeds_the_quota_and_every_job_that_fits_ends(
    quota: int, jobs: list[tuple[float, float, int]]
) -> None:
    items = [
        {"name": f"j{n}", "at": at, "runs": runs, "asks": {"cpu": str(cpu)}, "spec": {"queue": "q"}}
        for n, (at, runs, cpu) in enumerate(jobs)
    ]
    queue = {"name": "q", "spec": {"quota": {"cpu": str(quota)}}}
    outcome = simulated(json.dumps({"queues": [queue], "jobs": items}))
    for record in outcome.records:
        fits = dict(record.arrival.job.request)["cpu"] <= quota * 1000
        assert (record.ended_at is not None) == fits
    for queue_course in outcome.courses.values():
        for _, amounts, _ in queue_course.steps:
            assert dict(zip(queue_course.now, amounts, strict=False)).get("cpu", 0) <= quota * 1000


def test_columns_stand_under_their_heads() -> None:
    assert table([["a", "n"], ["long", "5"], ["b", "10"]]) == "a      n\nlong   5\nb     10"


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.name)
def test_an_example_runs_to_its_end(path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Of five cohorts, which do not concern each other, one; and of its jobs the first."""
    drawn, trace = tmp_path / "course.svg", tmp_path / path.name
    text = path.read_text().replace("{cohort: 5,", "{cohort: 1,")
    trace.write_text(text.replace("count: 350", "count: 70").replace("count: 100", "count: 20"))
    assert run(["simulate", str(trace), "--json", "--svg", str(drawn)]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["total"]["jobs"] == figures["total"]["succeeded"] > 0
    assert ElementTree.fromstring(drawn.read_text()).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - ours


def test_under_kueues_load_the_higher_class_waits_less_and_no_quota_is_idle() -> None:
    text = (ROOT / "examples" / "traces" / "kueue-shape.yaml").read_text()
    trace = parse(text)
    assert (len(trace.queues), len(trace.arrivals)) == (30, 15_000)
    outcome = simulated(text.replace("{cohort: 5,", "{cohort: 1,"))
    told = report(outcome)
    means = [share.waits.mean for share in told.priorities if share.waits is not None]
    assert [share.name for share in told.priorities] == ["High", "Normal", "Low"]
    assert means == sorted(means)
    assert means[0] < 1, "they end others, and wait for nobody"
    assert told.total.succeeded == 3000
    assert min(share.utilisation["cpu"] for share in told.queues) > 0.97
    for course in outcome.courses.values():
        assert all(amounts[list(course.now).index("cpu")] <= 120_000 for _, amounts, _ in course.steps if amounts)
        assert min(waiting for _, _, waiting in course.steps) >= 0
        assert course.waiting == 0


def test_the_chart_of_many_queues_is_no_longer_than_one_can_read() -> None:
    outcome = simulated(
        """
        queues: [{name: "q-{n}", for: {n: 40}, spec: {quota: {cpu: 1}}}]
        jobs: [{name: "<&-{n}", for: {n: 40}, runs: 1, asks: {cpu: 1}, spec: {queue: "q-{n}"}}]
    """.replace("<&-", "j-")
    )
    assert draw(outcome, "<many> & more").count('class="name"') == PANELS_MAX


def test_the_command_shows_jobs_or_figures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    trace = tmp_path / "trace.yaml"
    trace.write_text("queues: [{name: default, spec: {quota: {cpu: 1}}}]\njobs: [{name: a, runs: 2, asks: {cpu: 1}}]")
    assert run(["simulate", str(trace)]) == 0
    assert "default     1     1        0.0  0.0  0.0  0.0  cpu 100%" in capsys.readouterr().out
    assert run(["simulate", str(trace), "--jobs"]) == 0
    assert "a    default     0        0      2  Succeeded" in capsys.readouterr().out


def test_the_command_says_what_it_cannot_read_or_write(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    trace = tmp_path / "trace.yaml"
    assert run(["simulate", str(trace)]) == 1
    assert f"{trace} cannot be read" in capsys.readouterr().err
    trace.write_text("jobs: [{name: a, spec: {que: b}}]")
    assert run(["simulate", str(trace)]) == 1
    assert f"{trace}: jobs[0].spec.que: unknown field" in capsys.readouterr().err
    trace.write_text("{}")
    assert run(["simulate", str(trace), "--svg", str(tmp_path / "no" / "such.svg")]) == 1
    assert "cannot be written" in capsys.readouterr().err
