"""Which provider `auto` takes, and what it says of those that it passes over."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskjob_cluster import Provider, providers
from taskjob_cluster.providers import Verdict, choose
from taskjob_cluster.sizing import GIB, Machine, sizes


def test_the_first_provider_that_can_run_is_taken() -> None:
    said: list[str] = []
    probes = {
        Provider.KIND: lambda: Verdict("no Docker engine answers"),
        Provider.LOCAL: Verdict,
        Provider.KWOK: lambda: pytest.fail("it need not be tried"),
    }
    assert choose(probes, said.append) is Provider.LOCAL
    assert said == ["provider kind cannot run here: no Docker engine answers", "provider: local"]


def test_kind_is_tried_first_and_simulated_nodes_last() -> None:
    assert list(providers.PROBES) == [Provider.KIND, Provider.LOCAL, Provider.KWOK]


def test_without_root_there_is_no_real_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "root" in providers.local().reason


def test_without_docker_kind_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert providers.kind().reason == "there is no docker on the PATH"


def docker_that(folder: Path, script: str) -> None:
    """Put a `docker` first on the PATH: an engine with faults that cannot be had on demand."""
    place = folder / "docker"
    place.write_text(f"#!/bin/sh\n{script}\n")
    place.chmod(0o755)


def test_a_docker_without_an_engine_is_reported_by_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker_that(tmp_path, "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert providers.kind().reason == "no Docker engine answers: Cannot connect to the Docker daemon"


def test_an_engine_that_refuses_privileges_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if subprocess.run(["sh", "-c", "command -v busybox"], capture_output=True, check=False).returncode:
        pytest.skip("the probe's image is made from busybox-static, which is not installed")
    docker_that(
        tmp_path,
        'case "$1" in info) echo 20.10.24;; load) exit 0;; run) echo "unable to apply caps" >&2; exit 125;; esac',
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("TASKJOBS_CACHE_DIR", str(tmp_path / "cache"))
    assert providers.kind().reason == "a privileged container does not start: unable to apply caps"


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    memory = draw(st.integers(GIB, 1024 * GIB))
    return Machine(draw(st.integers(1, 256)), memory, draw(st.integers(0, memory)))


@given(machines())
def test_pods_and_the_control_plane_share_the_machine(machine: Machine) -> None:
    room = sizes(machine)
    assert 0 < room.reserved_milli_cpu <= machine.cores * 500
    assert 0 < room.reserved_memory <= machine.memory * 3 // 4
    assert 20 <= room.max_pods <= 250
    assert room.kwok_nodes >= 2
    assert room.parallelism >= 16


@given(machines(), st.integers(1, 64))
def test_a_machine_with_more_memory_never_runs_fewer_pods(machine: Machine, more: int) -> None:
    larger = Machine(machine.cores, machine.memory + more * GIB, machine.memory_available + more * GIB)
    assert sizes(larger).max_pods >= sizes(machine).max_pods
