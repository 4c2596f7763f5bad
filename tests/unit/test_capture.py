"""Logs of running and ended pods on their way into history, in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from random import Random

from applier_world import story_of
from builders import a_job, a_queue
from log_world import World, story
from shell import FlakyKube, Shell
from taskjob.control.capture import HANDOVER_SECONDS
from taskjob.core.decisions import Launch
from taskjob.core.model import AttemptId
from taskjob.core.phases import Phase
from taskjob.ports import Unreachable


def test_a_short_job_costs_one_request_for_its_log() -> None:
    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        world.fake.write(pod, b"one\n", b"two\n")
        await world.pass_time(1)
        world.fake.succeed(pod)
        await world.until(lambda: not world.fake.pods)
        assert world.body() == b"one\ntwo\n"
        assert world.log().complete
        assert world.log().main
        assert world.opened() == 1

    story(tell)


class Uninterested(World):
    """Whose operator is told to keep nothing of a log."""

    LOG_BYTES = 0


def test_where_no_log_is_to_be_kept_none_is_read_or_followed_and_no_pod_waits_for_it() -> None:
    async def tell(world: Uninterested) -> None:
        pod = await world.a_running_pod()
        world.fake.write(pod, b"one\n")
        await world.pass_time(10)  # long enough to be followed
        world.fake.succeed(pod)
        await world.until(lambda: not world.fake.pods, 5)
        assert world.opened() == 0
        assert world.history.logs == {}

    story_of(Uninterested, tell)


def test_the_log_of_a_container_that_runs_on_is_in_history_while_it_runs() -> None:
    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        world.fake.write(pod, b"one\n")
        await world.until(lambda: world.body() == b"one\n", 15)
        assert not world.log().complete
        world.fake.write(pod, b"two\n")
        await world.until(lambda: world.body() == b"one\ntwo\n", 15)
        world.fake.write(pod, b"last")
        world.fake.succeed(pod)
        await world.until(lambda: not world.fake.pods)
        assert world.body() == b"one\ntwo\nlast"
        assert world.log().complete
        assert world.log().gaps == ()

    story(tell)


def test_the_logs_of_another_installations_pods_are_none_of_ours() -> None:
    async def tell(world: World) -> None:
        world.fake.create_queue(a_queue("theirs", controller="other"))
        job = world.fake.create_job(a_job("a").in_queue("theirs").build())
        await world.fake.launch(Launch(job, AttemptId(job.uid, 0, 0, 1), None), epoch=7)
        pod = world.fake.start(world.fake.pod_of("a"))
        world.fake.write(pod, b"theirs\n")
        await world.pass_time(10)  # long enough to be followed
        world.fake.succeed(pod)
        await world.pass_time(10)
        assert world.opened() == 0
        assert world.history.logs == {}

    story(tell)


def test_what_was_followed_stays_when_the_running_pod_is_deleted_with_its_taskjob() -> None:
    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        world.fake.write(pod, b"so far\n")
        await world.pass_time(4)
        world.fake.write(pod, b"and more\n")
        await asyncio.sleep(0)
        world.fake.delete_job(world.fake.jobs[pod.attempt.uid])
        world.fake.remove(pod)
        await world.until(lambda: world.body() == b"so far\nand more\n" and world.log().complete)

    story(tell)


def test_a_connection_that_breaks_loses_and_doubles_nothing() -> None:
    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        wanted = b""
        for n in range(40):
            lines = [b"%d.%d\n" % (n, m) for m in range(3)]
            world.fake.write(pod, *lines)
            wanted += b"".join(lines)
            await world.pass_time(0.7)
            world.fake.files.cut()
        world.fake.succeed(pod)
        await world.until(lambda: not world.fake.pods)
        assert world.body() == wanted
        assert world.log().gaps == ()

    story(tell)


def test_the_next_operator_goes_on_where_the_last_one_stood() -> None:
    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        wanted = b""
        for n in range(12):
            lines = [b"%d.%d\n" % (n, m) for m in range(3)]
            world.fake.write(pod, *lines)
            wanted += b"".join(lines)
            await world.pass_time(3)
            if n % 3 == 2:
                await world.shell.kill()
                world.fake.write(pod, b"unseen\n")
                wanted += b"unseen\n"
                world.start()
        await world.shell.kill()
        world.fake.succeed(pod)
        world.start()
        await world.until(lambda: not world.fake.pods)
        assert world.body() == wanted
        assert world.log().gaps == ()
        assert world.log().complete

    story(tell)


def test_a_file_begun_anew_while_nobody_read_is_a_gap() -> None:
    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        world.fake.write(pod, b"before\n")
        await world.until(lambda: world.body() == b"before\n", 15)
        await world.shell.kill()
        world.fake.rotate(pod)
        world.fake.write(pod, b"after\n", at=world.fake.now() + timedelta(seconds=30))
        world.start()
        world.fake.succeed(pod)
        await world.until(lambda: not world.fake.pods)
        assert world.body() == b"before\nafter\n"
        (gap,) = world.log().gaps
        assert (gap.before, gap.size) == (1, None)
        assert "new file" in gap.why

    story(tell)


def test_a_file_begun_anew_while_it_is_followed_is_no_gap() -> None:
    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        world.fake.write(pod, b"before\n")
        await world.until(lambda: world.body() == b"before\n", 15)
        world.fake.rotate(pod)
        world.fake.write(pod, b"after\n", at=world.fake.now() + timedelta(seconds=30))
        await world.pass_time(6)
        world.fake.succeed(pod)
        await world.until(lambda: not world.fake.pods)
        assert (world.body(), world.log().gaps) == (b"before\nafter\n", ())

    story(tell)


def test_of_a_lost_node_history_says_what_was_lost() -> None:
    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        world.fake.write(pod, b"so far\n")
        await world.until(lambda: world.body() == b"so far\n", 15)
        world.fake.answer_next("open_log", *[Unreachable("dial tcp: connection refused")] * 1000)
        world.fake.files.cut()
        await world.pass_time(30)
        world.fake.remove(pod)
        await world.until(lambda: world.log().complete)
        (gap,) = world.log().gaps
        assert "node node-1 did not answer any more" in gap.why
        assert "12:00:0" in gap.why, "since when"
        assert world.body() == b"so far\n"

    story(tell)


def test_streams_that_never_end_hold_up_no_other_log_and_each_other_no_longer_than_one() -> None:
    async def tell(world: World) -> None:
        stuck = [await world.a_running_pod(f"stuck-{n}") for n in range(20)]
        await world.pass_time(4)
        world.fake.files.mute = True
        for pod in stuck:
            world.fake.write(pod, b"said\n")
            world.fake.succeed(pod)
        await world.pass_time(1)
        brief = await world.a_running_pod("brief")
        world.fake.succeed(brief)
        await world.until(lambda: brief.uid not in world.fake.pods, 3)
        await world.until(lambda: not world.fake.pods, HANDOVER_SECONDS + 3)
        assert len(world.history.logs) == 21

    story(tell)


def test_pods_of_nodes_that_serve_no_logs_hold_up_those_of_no_other_node() -> None:
    async def tell(world: World) -> None:
        silent = [f"silent-{n}" for n in range(6)]
        world.fake.silent_nodes.update(silent)
        for name in silent:
            for n in range(5):
                pod = await world.a_running_pod(f"{name}-{n}")
                world.fake.succeed(world.fake.schedule(pod, name))
        well = await world.a_running_pod("well")
        world.fake.write(well, b"said\n")
        world.fake.succeed(well)
        await world.until(lambda: (well.attempt, "main") in world.history.logs, 2)
        assert world.history.logs[well.attempt, "main"].body == b"said\n"
        await world.until(lambda: not world.fake.pods, 60)
        lost = [log for log in world.history.logs.values() if "tls: internal error" in log.note]
        assert len(lost) == 30, "and each of theirs is given up in its turn"

    story(tell)


def test_a_pod_whose_beginning_the_kubelet_has_thrown_away_says_so() -> None:
    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        late = world.fake.now() + timedelta(seconds=9)
        world.fake.write(pod, *[b"x" * 1000 + b"\n"] * 3000, at=late)
        world.fake.write(pod, b"end\n", at=late + timedelta(seconds=1))
        await world.pass_time(1)
        world.fake.files.lines[pod.uid, "main"], kept = [], world.fake.files.lines[pod.uid, "main"]
        await world.shell.kill()
        await world.pass_time(20)
        world.fake.files.lines[pod.uid, "main"] = kept
        world.start()
        world.fake.succeed(pod)
        await world.until(lambda: not world.fake.pods)
        (gap,) = world.log().gaps
        assert gap.before == 0
        assert "reading began" in gap.why

    story(tell)


def test_an_empty_log_is_read_again_once() -> None:
    async def tell(world: World) -> None:
        job = world.fake.create_job(a_job("a").build())
        await world.until(lambda: bool(world.fake.pods))
        pod = world.fake.succeed(world.fake.pod_of("a"))
        await world.until(lambda: world.opened() == 1)
        world.fake.write(pod, b"late\n")
        await world.until(lambda: not world.fake.pods)
        assert (world.body(), world.opened()) == (b"late\n", 2)
        assert world.fake.jobs[job.uid].status.phase is Phase.SUCCEEDED

    story(tell)


def test_places_go_round_when_there_are_too_few() -> None:
    async def tell(world: World) -> None:
        await world.shell.kill()
        world.shell = Shell(
            world.fake, FlakyKube(world.fake, Random(0), latency=0.001), world.history, epoch=2, follows=1
        )
        world.shell.start()
        pods = []
        for name in ("a", "b", "c"):
            world.fake.create_job(a_job(name).build())
        await world.until(lambda: len(world.fake.pods) == 3)
        pods = [world.fake.start(world.fake.pod_of(name)) for name in ("a", "b", "c")]
        for pod in pods:
            world.fake.write(pod, pod.name.encode() + b"\n")
        await world.until(lambda: len(world.history.logs) == 3, 60)
        bodies = {log.body for log in world.history.logs.values()}
        assert bodies == {pod.name.encode() + b"\n" for pod in pods}

    story(tell)


def test_a_sidecar_and_an_init_container_have_logs_of_their_own() -> None:
    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        (main,) = pod.containers
        pod = world.fake.change_pod(
            pod,
            containers=(
                replace(main, name="init", main=False, ended=True),
                main,
                replace(main, name="side", main=False),
            ),
        )
        for name in ("init", "main", "side"):
            world.fake.write(pod, name.encode() + b"\n", container=name)
        await world.pass_time(8)
        assert {world.body(name) for name in ("init", "main", "side")} == {b"init\n", b"main\n", b"side\n"}
        world.fake.succeed(pod)
        await world.until(lambda: not world.fake.pods)
        assert all(log.complete for log in world.history.logs.values())
        assert {log.container for log in world.history.logs.values() if log.main} == {"main"}

    story(tell)
