"""The hook that runs before an uninstall, on a real API server, with the rights that the chart gives it."""

from __future__ import annotations

import json
import urllib.error
import uuid
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from api_server import Server, a_taskjob, a_taskqueue
from charts import RELEASE, apply, of_the_uninstall, the_hooks
from taskjob_cluster import Cluster
from waiting import until

pytestmark = pytest.mark.cluster

Install = Callable[..., Any]


class Clock:
    """In the place of the script's `time`: waiting takes none."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def install(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Applies what the hook of a release has; the script, run as in its pod."""

    def done(controller: str, *namespaces: str) -> Any:
        home = f"home-{uuid.uuid4().hex[:6]}"
        cluster.kubectl("create", "namespace", home)
        given = f"--set=controllerName={controller},defaultQueue.create=false"
        chosen = [f"--set=namespaces[{at}]={name}" for at, name in enumerate(namespaces)]
        apply(cluster, of_the_uninstall(home, given, *chosen))
        config = yaml.safe_load(cluster.kubectl("config", "view", "--raw", "--flatten"))["clusters"][0]["cluster"]
        (tmp_path / "ca.crt").write_bytes(b64decode(config["certificate-authority-data"]))
        (tmp_path / "token").write_text(cluster.kubectl("-n", home, "create", "token", f"{RELEASE}-end"))
        server = urlsplit(config["server"])
        for name, value in {
            "KUBERNETES_SERVICE_HOST": server.hostname,
            "KUBERNETES_SERVICE_PORT": server.port,
            "CONTROLLER_NAME": controller,
            "NAMESPACES": json.dumps(namespaces),
        }.items():
            monkeypatch.setenv(name, str(value))
        hooks = the_hooks()
        monkeypatch.setattr(hooks, "ACCOUNT", tmp_path)
        # With a clock that takes no time, all its tries would be over before the authorizer has seen the bindings.
        until(lambda: may_list(hooks), "the account's rights are known to the API server")
        monkeypatch.setattr(hooks, "time", Clock())
        return hooks

    return done


def may_list(hooks: Any) -> bool:
    """Whether the script is let at all that it asks about."""
    try:
        hooks.jobs_of_ours()
    except urllib.error.HTTPError as error:
        if error.code != 403:
            raise
        return False
    return True


def submit(server: Server, **queues: str) -> None:
    for name, queue in queues.items():
        server.create(a_taskjob(name, queue=queue))


def cancelled(cluster: Cluster, namespace: str) -> set[str]:
    jobs = yaml.safe_load(cluster.kubectl("-n", namespace, "get", "taskjobs", "-o", "yaml"))["items"]
    return {job["metadata"]["name"] for job in jobs if job["spec"].get("cancel")}


@pytest.fixture
def theirs(server: Server) -> str:
    """A queue of another installation, whose name is the queue's."""
    name = f"gpu-{uuid.uuid4().hex[:6]}"
    server.create_queue(a_taskqueue(name, controllerName=name))
    return name


def test_the_jobs_of_other_installations_are_not_cancelled(
    cluster: Cluster, server: Server, namespace: str, theirs: str, install: Install
) -> None:
    submit(server, ours="default", unknown="nowhere", theirs=theirs)
    assert install("default", namespace).end(5) == 0
    assert cancelled(cluster, namespace) == {"ours", "unknown"}


def test_an_installation_of_all_namespaces_cancels_the_jobs_of_its_own_queues_only(
    cluster: Cluster, server: Server, theirs: str, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(server, ours="default", unknown="nowhere", theirs=theirs)
    assert install(theirs).end(5) == 0
    assert cancelled(cluster, server.namespace) == {"theirs"}
    assert "1 jobs still run after 5 s: the uninstall goes on" in capsys.readouterr().out


def test_where_nothing_of_ours_runs_the_uninstall_does_not_wait(
    server: Server, namespace: str, theirs: str, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(server, theirs=theirs, ended="default")
    server.patch_status("ended", {"phase": "Succeeded"})
    assert install("default", namespace).end(600) == 0
    assert capsys.readouterr().out == "nothing runs any more\n"


def test_an_api_server_that_fails_for_a_moment_is_asked_again(
    cluster: Cluster,
    server: Server,
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    submit(server, ours="default")
    hooks = install("default", server.namespace)
    ask, failures = hooks.ask, [urllib.error.URLError("connection refused"), TimeoutError("timed out")]

    def at_last(method: str, *rest: Any) -> Any:
        if failures:
            raise failures.pop()
        answer = ask(method, *rest)
        if method == "PATCH":
            server.patch_status("ours", {"phase": "Cancelled"})  # as the operator would
        return answer

    monkeypatch.setattr(hooks, "ask", at_last)
    assert hooks.end(600) == 0
    assert cancelled(cluster, server.namespace) == {"ours"}
    assert capsys.readouterr().out.splitlines() == [
        "timed out: trying again",
        "<urlopen error connection refused>: trying again",
        f"cancelling {server.namespace}/ours",
        "nothing runs any more",
    ]


def test_an_api_server_that_cannot_be_reached_does_not_keep_the_release_from_being_uninstalled(
    namespace: str, install: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hooks = install("default", namespace)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    assert hooks.end(5) == 0
    assert "nobody can tell what still runs" in capsys.readouterr().out


def test_all_are_cancelled_also_where_that_takes_longer_than_the_hook_waits(
    cluster: Cluster, server: Server, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {f"job-{number}" for number in range(5)}
    submit(server, **dict.fromkeys(names, "default"))
    hooks = install("default", server.namespace)
    ask = hooks.ask

    def slowly(method: str, *rest: Any) -> Any:
        hooks.time.sleep(2 if method == "PATCH" else 0)
        return ask(method, *rest)

    monkeypatch.setattr(hooks, "ask", slowly)
    assert hooks.end(1) == 0
    assert cancelled(cluster, server.namespace) == names
