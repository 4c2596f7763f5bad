"""`make demo`, as in a pipe: what it prints, its exit code, and that it leaves nothing behind, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from demo.graph import JOBS
from demo.stack import OPERATOR, folder_of, take_down

from taskjob_cluster import get, providers
from taskjob_cluster.paths import CHECKOUT

NAME = f"test-demo-{os.getpid()}"
pytestmark = [pytest.mark.cluster, pytest.mark.real_pods]


@pytest.fixture
def options() -> list[str]:
    """More of the demo's options: a test may have a parameter of this name."""
    return []


@pytest.fixture
def demo(options: list[str]) -> Iterator[subprocess.Popen[str]]:
    """The demo under a name of its own, its output in a pipe."""
    kind, local = providers.kind(), providers.local()
    if not (kind.possible or local.possible):
        pytest.skip(f"no real pods here. kind: {kind.reason}. local: {local.reason}")
    # Whoever is started in the background of a shell ignores it, and so would the demo.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "demo", "--name", NAME, *options],
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process
    if process.poll() is None:
        process.terminate()
        process.communicate(timeout=150)
    take_down(NAME)


def _until(process: subprocess.Popen[str], wanted: str) -> str:
    """What it prints up to the line that has `wanted` in it."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if wanted in line:
            return said
    raise AssertionError(f"it never said {wanted!r}:\n{said}")


def _nothing_is_left() -> bool:
    return get(NAME) is None and not folder_of(NAME).exists()


def test_the_demo_counts_in_pods_what_is_counted_outside(demo: subprocess.Popen[str]) -> None:
    said, _ = demo.communicate(timeout=240)

    assert demo.returncode == 0, said
    assert "every figure is the same, to the last word" in said
    for name in JOBS:
        assert f" {name} " in said or f"\n{name} " in said
    assert _nothing_is_left()


@pytest.mark.skipif(not os.environ.get("TASKJOBS_TEST_HELM"), reason="builds images: `make test-helm` runs it")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("options", [["--install=helm"]], ids=["by Helm"])
def test_the_demo_does_the_same_in_pods_that_helm_installed(demo: subprocess.Popen[str]) -> None:
    said, _ = demo.communicate(timeout=840)

    assert demo.returncode == 0, said
    assert "helm install taskjobs charts/taskjobs" in said
    assert "--as=system:serviceaccount:demo:wordcount" in said
    assert "every figure is the same, to the last word" in said
    assert _nothing_is_left()


def test_ctrl_c_ends_the_demo_and_leaves_nothing(demo: subprocess.Popen[str]) -> None:
    said = _until(demo, "split     Running")
    demo.send_signal(signal.SIGINT)
    rest, _ = demo.communicate(timeout=150)

    assert demo.returncode == 130, said + rest
    assert "interrupted" in rest
    assert _nothing_is_left()


def test_an_operator_that_dies_fails_the_demo_with_the_end_of_its_log(demo: subprocess.Popen[str]) -> None:
    said = _until(demo, "split     Running")
    parts = json.loads((folder_of(NAME) / "parts.json").read_text())
    os.kill(parts[OPERATOR]["pid"], signal.SIGKILL)
    rest, _ = demo.communicate(timeout=150)

    assert demo.returncode == 1, said + rest
    assert "The demo failed in: taskjob-operator" in rest
    assert "probes and metrics on http://127.0.0.1:" in rest, "the end of the operator's log"
    assert _nothing_is_left()
