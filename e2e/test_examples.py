"""Every example, applied as the README says, ends as its own comment says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from taskjob_cluster.paths import CHECKOUT
from world_of_pods import Bench

FILES = sorted((CHECKOUT / "examples").glob("*.yaml"))
JOBS = [path for path in FILES if "kind: TaskJob" in path.read_text()]
_ENDS = re.compile(r"^# Ends: (.*)$", re.MULTILINE)


def ends(path: Path) -> dict[str, str]:
    """What the comment at the top of an example promises: the phase of each job."""
    promises = [pair.split() for line in _ENDS.findall(path.read_text()) for pair in line.split(",")]
    return {promise[0]: promise[1] for promise in promises}


@pytest.mark.cluster
@pytest.mark.real_pods
def test_all_examples_applied_at_once_end_as_they_say(bench: Bench, examples: Path) -> None:
    bench.kubectl("apply", "-f", f"{examples}/")
    promised = {name: phase for path in JOBS for name, phase in ends(path).items()}
    assert len(promised) >= len(JOBS), f"an example does not say how it ends: {promised}"
    for name, phase in promised.items():
        bench.wait(name, phase, seconds=120)

    listed = bench.kubectl("get", "tj")
    assert listed.splitlines()[0].split() == ["NAME", "PHASE", "REASON", "QUEUE", "PRIORITY", "ATTEMPT", "AGE"]
    for name, phase in promised.items():
        assert re.search(rf"^{name} +{phase} ", listed, re.MULTILINE), listed


@pytest.mark.cluster
@pytest.mark.real_pods
def test_the_order_of_applying_does_not_matter(bench: Bench, examples: Path) -> None:
    documents = (examples / "graph.yaml").read_text().split("\n---\n")
    for document in reversed(documents):
        bench.kubectl("apply", "-f", "-", input=document)
    for name, phase in ends(examples / "graph.yaml").items():
        bench.wait(name, phase, seconds=120)


@pytest.mark.cluster
@pytest.mark.real_pods
def test_kubectl_wait_and_describe_work_on_a_taskjob(bench: Bench, examples: Path) -> None:
    bench.kubectl("apply", "-f", str(examples / "hello.yaml"))
    bench.kubectl("wait", "tj/hello", "--for=condition=Complete", "--timeout=60s")
    described = bench.kubectl("describe", "tj", "hello")
    for line in (r"Phase: +Succeeded", r"Reason: +Completed", r"Type: +Complete", r"Exit Code: +0"):
        assert re.search(line, described), described


def test_every_example_of_jobs_says_how_it_ends() -> None:
    assert JOBS
    assert [path.name for path in JOBS if not ends(path)] == []
