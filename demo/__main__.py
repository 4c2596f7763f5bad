"""The demo from its start to its exit code."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from demo import check, installed
from demo.follow import Api, Board
from demo.graph import CLAIM, EXPECTED, GROUP, NAMESPACE, QUEUE, as_yaml, graph, ground
from demo.results import Result, judge, summary
from demo.screen import Screen
from demo.stack import API, OPERATOR, DemoError, Stack, folder_of, take_down
from demo.text import copy_text, standard_library
from taskjob_cluster import Cluster, ClusterError, Provider, images, providers
from taskjob_cluster.build import find
from taskjob_cluster.components import COMPONENTS
from taskjob_cluster.volumes import make_volume

SMALLEST_TEXT = 10_000_000
MANIFESTS = "graph.yaml"
ROWS = 15
JOBS_SECONDS = 300
COUNT_SECONDS = 120
POD_GONE_SECONDS = 60


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; the exit code, which is 0 only if everything was as it must be."""
    asked = _parser().parse_args(arguments)
    screen = Screen()
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, _end)
    with _alone(asked.name):
        if asked.down:
            screen.text(f"the demo {asked.name} is down" if take_down(asked.name) else "there is nothing to take down")
            return 0
        return _run(asked, screen)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--name", default="taskjobs-demo", help="of the cluster and of the demo's folder")
    parser.add_argument("--install", choices=["helm"], help="install the chart with Helm: everything runs in pods")
    parser.add_argument("--keep", action="store_true", help="leave everything running at the end")
    parser.add_argument("--down", action="store_true", help="take down what --keep left running, and nothing else")
    return parser


def _end(number: int, _frame: object) -> None:
    sys.exit(128 + number)


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Two demos of one name would take each other down. Raises SystemExit when one is running."""
    place = folder_of(name).with_name(f".{name}.lock")
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"another demo named {name} is running: wait for it, or choose another --name")
        yield


def _run(asked: argparse.Namespace, screen: Screen) -> int:
    stack = Stack(asked.name, keep=asked.keep)
    kept = False
    try:
        if take_down(asked.name):
            screen.step("an earlier demo was left running: taken down")
        with ProcessPoolExecutor(1, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)) as other_core:
            _show(stack, screen, other_core, by_helm=asked.install == "helm")
        kept = asked.keep
        screen.step("everything is as it must be")
        return 0
    except (DemoError, ClusterError) as error:
        part = error.part if isinstance(error, DemoError) else "cluster"
        screen.text(f"\nThe demo failed in: {part}\n{error}")
        return 1
    except KeyboardInterrupt:
        screen.text("\ninterrupted")
        return 130
    finally:
        if not kept:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            screen.step("taking everything down")
            take_down(asked.name)
            screen.step("done")


def _show(stack: Stack, screen: Screen, other_core: ProcessPoolExecutor, *, by_helm: bool) -> None:
    """The demo in six steps. Raises DemoError or ClusterError for whatever is not as it must be."""
    # 1. the input, and the count outside of the cluster, which runs beside everything else
    shared = stack.folder / "shared"
    text = copy_text(shared / "text")
    screen.step(f"the text: {text.files} files, {text.size / 1e6:.1f} MB, from {standard_library()}")
    if text.size < SMALLEST_TEXT:
        raise DemoError("the text", f"{text.size} bytes are too few: is Python's standard library complete?")
    counting = other_core.submit(check.count, shared / "text", ROWS)

    # 2. what the jobs need
    _real_pods_can_run()
    built = []
    if by_helm:
        screen.step("the images of Taskjobs and of PostgreSQL (minutes the first time)")
        built = list(installed.build_images(stack.folder / "images").values())
    screen.step("the cluster")
    cluster = stack.bring_up_cluster("auto", screen.line, for_helm=by_helm)
    for archive in (*built, images.archive(images.PYTHON, screen.line)):
        cluster.load_image(archive)
    if by_helm:
        installed.install(stack, cluster, screen.step)
    else:
        screen.step("PostgreSQL, the operator, the API")
        _start_services(stack, cluster)
    for service in stack.services.values():
        screen.line(f"{service.name}: {service.url}")

    # 3. the graph
    storage_class = make_volume(cluster, CLAIM, folder=_on_the_node(cluster, shared))
    manifests = stack.folder / MANIFESTS
    manifests.write_text(as_yaml(graph()))
    ground_of_all = [*ground(storage_class), *(installed.caller() if by_helm else ())]
    cluster.kubectl("apply", "-f", "-", input=as_yaml(ground_of_all))
    cluster.wait_for("serviceaccount/default", "-n", NAMESPACE, "--for=create")
    command = ["apply", "-f", str(manifests), *([installed.AS_CALLER] if by_helm else ())]
    screen.step(" ".join(["kubectl", *command]))
    token = installed.token(cluster) if by_helm else None
    results = asyncio.run(_follow(stack, cluster, command, token, screen))

    # 4. what came of it
    screen.table("What each job said at last", *summary(results))
    screen.step("kubectl get taskjobs -n demo")
    screen.text(cluster.kubectl("get", "taskjobs", "-n", NAMESPACE))
    screen.step("the log of `report`, from history: its pod is gone")
    screen.text(results["report"].log)

    # 5. is it right?
    screen.step("compared with the count outside of the cluster")
    judge(results, counting.result(timeout=COUNT_SECONDS))
    screen.line("every figure is the same, to the last word")

    # 6. what to try next
    if stack.keep:
        screen.text(_what_to_try(stack, cluster, results["report"].job["id"], by_helm=by_helm))
    else:
        screen.text(f"To look around in it, say: make demo {'INSTALL=helm ' if by_helm else ''}KEEP=1")


def _real_pods_can_run() -> None:
    kind, local = providers.kind(), providers.local()
    if not (kind.possible or local.possible):
        raise DemoError(
            "cluster",
            "the demo needs real pods, and they cannot run here as things are. It takes one of two:\n"
            f"  Linux and root (sudo make demo). Here: {local.reason}\n"
            f"  A Docker engine that starts privileged containers, for kind. Here: {kind.reason}",
        )


def _start_services(stack: Stack, cluster: Cluster) -> None:
    settings = {
        "TASKJOBS_DATABASE_URL": stack.start_postgres(),
        "TASKJOBS_KUBECONFIG": str(cluster.kubeconfig),
        "TASKJOBS_INSECURE_LOCAL": "true",
    }
    operator = stack.start_service(OPERATOR, settings, "TASKJOBS_ADMIN_PORT", 8081)
    stack.start_service(API, settings | {"TASKJOBS_OPERATOR_URL": operator.url}, "TASKJOBS_API_PORT", 8080)


def _on_the_node(cluster: Cluster, shared: Path) -> Path:
    """The shared folder as the node knows it: kind's node is a container with files of its own."""
    if cluster.provider is not Provider.KIND:
        return shared
    node = cluster.kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    place = Path("/var/lib/taskjobs-demo")
    for command in (["exec", node, "mkdir", "-p", str(place)], ["cp", f"{shared}/.", f"{node}:{place}"]):
        done = subprocess.run(["docker", *command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise DemoError("cluster", f"the text could not be copied to the node {node}: {done.stderr}")
    return place


async def _follow(
    stack: Stack, cluster: Cluster, apply: Sequence[str], token: str | None, screen: Screen
) -> dict[str, Result]:
    """Apply the graph (`apply` is for kubectl) and follow it to its end."""
    board = Board(EXPECTED, lambda name: screen.changed(board, name))
    async with Api(stack.services[API].url, NAMESPACE, GROUP, token) as api:
        try:
            with screen.following(board):
                async with asyncio.timeout(JOBS_SECONDS), asyncio.TaskGroup() as tasks:
                    started = asyncio.Event()
                    beside = [
                        tasks.create_task(_watch(stack)),
                        tasks.create_task(api.refresh(board, every_seconds=1)),
                    ]
                    following = tasks.create_task(api.follow(board, started))
                    await started.wait()
                    await asyncio.to_thread(cluster.kubectl, *apply)
                    await following
                    for task in beside:
                        task.cancel()
            await _must_end_as_expected(api, board)
        except TimeoutError:
            waiting = "\n".join(board.open())
            end = stack.services[OPERATOR].end_of_log()
            raise DemoError("the jobs", f"not all have ended after {JOBS_SECONDS} s:\n{waiting}\n{end}") from None
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        await asyncio.to_thread(_wait_for_end_of_pods, cluster)
        found = {job["name"]: job["id"] for job in await api.jobs()}
        if missing := EXPECTED.keys() - found.keys():
            raise DemoError("history", f"the API's list of jobs lacks {', '.join(sorted(missing))}")
        return {name: Result(await api.job(found[name]), await api.log(found[name])) for name in EXPECTED}


async def _must_end_as_expected(api: Api, board: Board) -> None:
    if (name := board.wrong) is None:
        return
    seen = board.jobs[name]
    ids = {job["name"]: job["id"] for job in await api.jobs()}
    raise DemoError(
        f"the job {name}",
        f"it ended {seen.phase} ({seen.reason}), not {EXPECTED[name]}: {seen.message}\n"
        f"Its log:\n{await api.log(ids[name]) if name in ids else '(it is not in the API list)'}",
    )


async def _watch(stack: Stack) -> None:
    while True:
        stack.check()
        await asyncio.sleep(0.5)


def _wait_for_end_of_pods(cluster: Cluster) -> None:
    """The operator removes a pod once history has its outcome and its log."""
    try:
        cluster.wait_gone("pods", "-n", NAMESPACE, timeout_seconds=POD_GONE_SECONDS)
    except ClusterError as error:
        raise DemoError("operator", f"it has to remove the pods of jobs that ended: {error}") from None


def _what_to_try(stack: Stack, cluster: Cluster, report_id: str, *, by_helm: bool) -> str:
    kubectl = find(COMPONENTS["kubectl"]) or "kubectl"
    operator, api = stack.services[OPERATOR].url, stack.services[API].url
    manifests = stack.folder / MANIFESTS
    logs = "\n  ".join(service.log for service in stack.services.values())
    get_token, bearer, place = "", "", ""
    if by_helm:
        get_token = (
            f"TOKEN=$(kubectl create token {installed.CALLER} -n {NAMESPACE})  # of an account with few rights\n  "
        )
        bearer = ' -H "Authorization: Bearer $TOKEN"'
        place = f'"namespace": "{NAMESPACE}", "queue": "{QUEUE}", '
    return f"""
What to try next:

  export KUBECONFIG={cluster.kubeconfig}
  alias kubectl={kubectl}
  kubectl get tj -A                                   # phase, reason, queue, priority, attempt, age
  kubectl get tjq                                     # the queues
  kubectl describe tj flaky -n {NAMESPACE}
  kubectl apply -f examples/                          # smaller graphs, one feature each
  kubectl delete -f {manifests}
  kubectl apply -f {manifests}

  {get_token}curl '{api}/jobs/?group={GROUP}&phase=Failed'{bearer}
  curl {api}/jobs/{report_id}/logs{bearer}
  curl {api}/jobs/{bearer} -H 'Content-Type: application/json' \\
       -d '{{{place}"image": "docker.io/taskjobs/busybox:dev", "command": ["echo", "hello"]}}'

  {api}/docs            the API's documentation, to try in a browser
  {api.replace("http", "ws", 1)}/jobs/stream      transitions as they happen
  {operator}/metrics         the figures of {"one of the operators" if by_helm else "the operator"}
  {logs}

Take it all down with: make demo-down
"""


if __name__ == "__main__":
    sys.exit(main())
