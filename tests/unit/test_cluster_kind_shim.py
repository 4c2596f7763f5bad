"""The stand-in for kind understands what pytest-kind says, and refuses the rest with a word on what it is."""

import os
import subprocess
from pathlib import Path

import pytest

from taskjob_cluster import ClusterError, Provider, images
from taskjob_cluster.kind_shim import main, parser
from taskjob_cluster.paths import CHECKOUT
from taskjob_cluster.records import Options, Record


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TASKJOBS_STATE_DIR", str(tmp_path))
    return tmp_path


def test_create_is_read_as_pytest_kind_writes_it() -> None:
    asked = parser().parse_args(
        [
            "create",
            "cluster",
            "--name=e2e",
            "--kubeconfig=/x/kubeconfig",
            "--image=kindest/node:v1",
            "--config",
            "c.yaml",
        ]
    )
    assert (asked.verb, asked.noun, asked.name) == ("create", "cluster", "e2e")
    assert asked.kubeconfig == Path("/x/kubeconfig")


def test_load_is_read_as_pytest_kind_writes_it() -> None:
    asked = parser().parse_args(["load", "docker-image", "--name", "e2e", images.PYTHON])
    assert (asked.verb, asked.noun, asked.name, asked.images) == ("load", "docker-image", "e2e", [images.PYTHON])


def test_delete_is_read_as_pytest_kind_writes_it() -> None:
    asked = parser().parse_args(["delete", "cluster", "--name=e2e", "--kubeconfig=/x/kubeconfig"])
    assert (asked.verb, asked.noun, asked.name) == ("delete", "cluster", "e2e")


def test_the_clusters_are_listed_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("b", "a"):
        Record(name, Options(Provider.KWOK)).save()
    assert main(["get", "clusters"]) == 0
    assert capsys.readouterr().out == "a\nb\n"


def test_another_command_of_kind_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "node-image"]) == 1
    said = capsys.readouterr().err
    assert "build" in said
    assert "stand-in" in said


def test_loading_into_a_cluster_that_is_not_there_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["load", "image-archive", "--name", "nobody", "x.tar"]) == 1
    assert "no nodes found for cluster 'nobody'" in capsys.readouterr().err


def test_an_image_that_is_not_made_here_is_refused_with_those_that_are() -> None:
    with pytest.raises(ClusterError, match=images.PYTHON):
        images.archive("docker.io/library/nginx:1")


def test_the_executable_answers_from_any_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [CHECKOUT / "cluster" / "bin" / "kind", "get", "clusters"],
        cwd=tmp_path,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
