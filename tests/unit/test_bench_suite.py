"""The benchmark's own arithmetic: what its figures mean, and when they are met."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bench.suite import __main__ as command
from bench.suite.compare import compared
from bench.suite.figures import Figure, figures
from bench.suite.meters import writes
from bench.suite.page import CHARTS, page, shown
from bench.suite.peers import PEERS, Peer, queue_manifests
from bench.suite.run import Result, tell
from bench.suite.shapes import chain, free, kueue_baseline, logs, nodes, quota, steady
from bench.suite.work import Seen, Shape, Work, percentile

DOCS = Path(__file__).parents[2] / "docs"
METRICS = """
apiserver_request_total{code="201",resource="pods",subresource="",verb="POST"} 10
apiserver_request_total{code="200",resource="taskjobs",subresource="status",verb="PUT"} 20
apiserver_request_total{code="409",resource="taskjobs",subresource="status",verb="PUT"} 1
apiserver_request_total{code="200",resource="pods",subresource="",verb="LIST"} 99
apiserver_request_total{code="500",resource="pods",subresource="",verb="POST"} 7
"""


def a_result(shape: str, peer: str, rate: float) -> Result:
    return {
        "shape": shape,
        "peer": peer,
        "title": shape,
        "rate": rate,
        "wall_s": 1000 / rate,
        "cpu_ms": {"operator": 1.5, "machine": 20.0},
        "writes": {"POST pods": 1.0, "PUT taskjobs/status": 1.25, "POST events": 1.0},
    }


def with_everything(result: Result) -> Result:
    latencies = ("create_to_pod", "create_to_finished", "edge", "history_lag")
    times = {f"{name}_p{share}_ms": 10.0 * share for name in latencies for share in (50, 99)}
    return {**times, "jobs": 2000, "writes_all": 7.0, "mb_per_1000": {"operator": 12.5, "postgres": 3.0}, **result}


def value(found: list[Figure], name: str) -> float:
    return next(each.value for each in found if each.name == name)


def test_rates_are_compared_by_the_median_of_repetitions() -> None:
    results = [a_result("free", "taskjobs", rate) for rate in (90, 100, 300)] + [a_result("free", "pods", 150)]
    found = figures(results)
    assert value(found, "rate_vs_pods") == pytest.approx(100 / 150)
    assert value(found, "writes_busy") == 2.25


def test_what_was_not_run_has_no_figure() -> None:
    names = {figure.name for figure in figures([a_result("free", "taskjobs", 100)])}
    assert "rate_vs_kueue" not in names
    assert "restart_s" not in names
    assert "operator_cpu_ms" in names


def test_a_figure_says_as_json_whether_its_target_is_met() -> None:
    assert json.loads(Figure("rate", 0.7, "ratio", 0.65, at_least=True).line())["met"] is True
    assert json.loads(Figure("rate", 0.6, "ratio", 0.65, at_least=True).line())["met"] is False
    assert json.loads(Figure("cpu", 2.5, "ms", 2).line()) == {
        "figure": "cpu",
        "value": 2.5,
        "unit": "ms",
        "target": 2,
        "met": False,
    }


def test_writes_are_counted_also_when_they_were_refused_and_reads_are_not() -> None:
    assert dict(writes(METRICS)) == {"POST pods": 10, "PUT taskjobs/status": 21}


def test_an_edge_is_the_time_from_the_last_parents_end_to_the_pod() -> None:
    shape = Shape("s", "", [Work("a"), Work("b"), Work("c", depends_on=("a", "b"))])
    seen = Seen(
        created={"a": 0.0, "b": 0.0, "c": 0.0},
        launched={"a": 0.1, "b": 0.1, "c": 2.5},
        ended={"a": 1.0, "b": 2.0, "c": 3.0},
        finished={"a": 1.1, "b": 2.1, "c": 4.0},
        recorded={"a": 1.2, "b": 2.2, "c": 4.1},
    )
    told = tell(shape, seen, end=4.0)
    assert told["edge_p50_ms"] == pytest.approx(500)
    assert told["wall_s"] == 4.0
    assert told["create_to_finished_p99_ms"] == pytest.approx(4000)
    assert told["history_lag_p50_ms"] == pytest.approx(100), "from the sight of a job's end to that of its row"


def test_a_percentile_is_a_value_that_was_seen() -> None:
    assert percentile(range(100), 0.99) == 99
    assert percentile([5.0], 0.5) == 5.0
    assert percentile([], 0.5) is None


def test_the_shapes_are_what_their_titles_say() -> None:
    baseline = kueue_baseline()
    assert len(baseline.works) == 15_000
    assert len(baseline.queues) == 30
    assert len({queue.cohort for queue in baseline.queues}) == 5
    assert [work.depends_on for work in chain(3).works] == [("chain-1",), ("chain-0",), ()]


def test_the_jobs_of_each_run_have_names_of_their_own_and_depend_on_each_other_as_before() -> None:
    works = chain(3).of_run(7).works
    assert [(work.name, work.depends_on) for work in works] == [
        ("r7-chain-2", ("r7-chain-1",)),
        ("r7-chain-1", ("r7-chain-0",)),
        ("r7-chain-0", ()),
    ]


def test_a_peer_runs_only_what_it_knows() -> None:
    shapes = [free(), quota(), nodes(), logs(), steady(), chain(3), kueue_baseline(1)]
    runs = {name: [shape.name for shape in shapes if shape.needs <= peer.knows] for name, peer in PEERS.items()}
    assert runs["pods"] == runs["jobs"] == ["free", "steady", "kueue-baseline"]
    assert runs["kueue"] == ["free", "quota", "steady", "kueue-baseline"]
    assert runs["taskjobs"] == runs["taskjobs-default"] == [shape.name for shape in shapes]


def test_a_quota_from_the_nodes_is_a_queue_that_follows_them() -> None:
    (queue,) = json.loads(queue_manifests(nodes()))["items"]
    assert queue["spec"] == {"quotaFromNodes": {"percent": 100}}


def test_the_page_shows_each_figure_and_each_shape_with_its_chart() -> None:
    results = [with_everything(a_result("free", peer, rate)) for peer, rate in (("taskjobs", 100), ("pods", 150))]
    machine = dict.fromkeys(("architecture", "cpus", "memory_gib", "kernel", "python", "at", "load_before"), "x")
    versions = dict.fromkeys(("kubernetes", "etcd", "kueue"), "1")
    text = page({"machine": machine, "versions": versions, "settings": {"jobs": 2000}, "results": results})
    assert "| `rate_vs_pods` | 0.667 ratio | ≥ 0.65 | yes |" in text
    assert (
        "| free | taskjobs | 1 | 100.0 | 500 / 990 ms | 500 / 990 ms | 500 / 990 ms | 7.0 | 20.0 ms | 12.5 MB |" in text
    )
    assert all(f"({name}.svg)" in text for name in CHARTS)


def test_the_docs_show_a_run_between_its_marks_and_another_in_its_place() -> None:
    machine = dict.fromkeys(("architecture", "cpus", "memory_gib", "kernel", "python", "at", "load_before"), "x")
    versions = dict.fromkeys(("kubernetes", "etcd", "kueue"), "1")
    text = "before\n<!-- a run -->\n<!-- end of the run -->\nafter\n"
    for rate in (50, 100):
        results = [a_result("free", "taskjobs", rate), a_result("free", "pods", 100)]
        run = {"machine": machine, "versions": versions, "settings": {}, "results": results}
        text = shown(text, run, "benchmarks")
    assert text.startswith("before\n<!-- a run -->\n")
    assert text.endswith("<!-- end of the run -->\nafter\n")
    assert text.count("| `rate_vs_pods` | 1 ratio |") == 1, "the earlier run is gone"
    assert all(f"(benchmarks/{name}.svg)" in text for name in CHARTS)


def test_the_docs_show_the_run_that_is_kept_beside_them() -> None:
    text = (DOCS / "benchmarks.md").read_text()
    kept = DOCS / "benchmarks" / "run.json"
    if kept.exists():
        run = json.loads(kept.read_text())
        assert shown(text, run, "benchmarks") == text
        assert (DOCS / "benchmarks" / "report.md").read_text() == page(run)
    else:
        assert "<!-- a run -->\n<!-- end of the run -->\n" in text


def test_shapes_are_repeated_in_turned_order_as_long_as_they_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    runs: list[tuple[str, str]] = []

    async def ten_seconds(_cluster: object, _server: object, peer: Peer, shape: Shape, _patience: float) -> Result:
        now[0] += 10
        runs.append((shape.name, peer.name))
        if peer.name == "jobs":
            raise RuntimeError("it did not end")
        return with_everything(a_result(shape.name, peer.name, 100))

    monkeypatch.setattr(command, "measure", ten_seconds)
    monkeypatch.setattr(command, "ApiServer", lambda _cluster: contextlib.nullcontext())
    monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=lambda: now[0]))
    asked = [
        "run",
        "--repeat",
        "3",
        "--minutes",
        "1.5",
        "--shapes",
        "free",
        "quota",
        "--peers",
        "pods",
        "jobs",
        "taskjobs",
    ]
    unused: Any = None
    results, failed = asyncio.run(command._run(command._parser().parse_args(asked), unused))
    first = [("free", "pods"), ("free", "jobs"), ("free", "taskjobs"), ("quota", "taskjobs")]
    second = [("free", "taskjobs"), ("free", "jobs"), ("free", "pods"), ("quota", "taskjobs")]
    assert runs == [*first, *second, ("quota", "taskjobs")], "a third time only what still ends within 90 s"
    assert len(results) == len(runs) - 2
    assert failed == ["free jobs", "free jobs"], "one that fails leaves the others their figures"


def test_two_runs_are_compared_figure_by_figure() -> None:
    table = compared([a_result("free", "taskjobs", 50)], [a_result("free", "taskjobs", 100)])
    assert "operator_cpu_ms" in table
    assert "+0 %" in table
