"""A log that is followed through the API, whatever the container, the kubelet, the operator, history and the client do
meanwhile: every byte once, in its order, up to marked gaps."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from applier_world import story_of
from log_world import World
from taskjob.core.model import Pod
from taskjob_api.kept import Mark, contents
from viewers import Viewer, holes

LINE_BYTES = 60_000
FILE_BYTES = 10 << 20
"""From which on the kubelet begins a new one, when it looks."""

LOOK_SECONDS = 10


class Container:
    """What one writes, at a pace, and the kubelet that begins its files anew."""

    def __init__(self, world: World, pod: Pod) -> None:
        self.world, self.pod = world, pod
        self.written = bytearray()
        self.files = list[range]()  # where a new one was begun: within a line, or between two
        self._file = 0  # bytes in the newest file
        self._lines = 0
        self._wrote_at = world.fake.now()
        self._begun_at = world.fake.now()

    def put(self, text: bytes) -> None:
        """At a time of its own."""
        self._wrote_at = max(self.world.fake.now(), self._wrote_at + timedelta(microseconds=1))
        self.world.fake.write(self.pod, text, at=self._wrote_at)
        self.written += text
        self._file += len(text)

    def line(self) -> bytes:
        self._lines += 1
        return b"%06d " % self._lines * (LINE_BYTES // 7) + b"\n"

    async def write(self, lines: int, seconds: int) -> None:
        for n in range(10 * seconds):
            for _ in range(lines * n // (10 * seconds), lines * (n + 1) // (10 * seconds)):
                self.put(self.line())
            await self.world.pass_time(0.1)

    async def rotate(self, *, within: bool) -> None:
        """`within`: while a line is written."""
        while self._file < FILE_BYTES or self.world.fake.now() < self._begun_at + timedelta(seconds=LOOK_SECONDS):
            await self.write(20, 1)
        line = self.line()
        before = len(self.written)
        if within:
            self.put(line[:36])
        self.world.fake.rotate(self.pod)
        self._file, self._begun_at = 0, self.world.fake.now()
        self.put(line[36:] if within else line)
        self.files.append(range(before, before + (len(line) if within else 0) + 1))


Step = tuple[str, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 60)),
        st.tuples(st.just("rotate"), st.integers(0, 1)),
        st.tuples(st.just("rotate"), st.integers(0, 1)),
        st.tuples(st.just("slow"), st.just(0)),
        st.tuples(st.just("quick"), st.just(0)),
        st.tuples(st.just("leave"), st.just(0)),
        st.tuples(st.just("come back"), st.just(0)),
        st.tuples(st.just("cut"), st.just(0)),
        st.tuples(st.just("history"), st.integers(0, 1)),
        st.tuples(st.just("operator"), st.just(0)),
        st.tuples(st.just("wait"), st.integers(1, 8)),
    ),
    min_size=3,
    max_size=16,
)


async def play(world: World, steps: list[Step], cuts: int) -> None:
    viewer = Viewer(world, await world.a_running_pod())
    container = Container(world, viewer.pod)
    container.put(container.line())
    await world.until(lambda: viewer.body == container.written)
    away = False
    for what, much in steps:
        match what:
            case "write":
                await container.write(much, 1 + much % 4)
            case "rotate":
                await container.rotate(within=bool(much))
            case "slow" | "quick":
                viewer.slow = what == "slow"
            case "leave":
                await viewer.leave()
                away = True
            case "come back" if away:
                viewer.come_back()
                away = False
            case "cut":
                world.fake.files.cut()
            case "history":
                world.history.available = bool(much)
            case "operator":
                await world.shell.kill()
                world.start()
            case "wait":
                await world.pass_time(much)
        viewer.check()
    viewer.slow, world.history.available = False, True
    if away:
        viewer.come_back()
    world.fake.succeed(viewer.pod)
    for _ in range(cuts):
        await world.pass_time(0.1)
        world.fake.files.cut()
    await viewer.until_end()
    parts = [part for n, part in enumerate(viewer.parts) if n == 0 or part or n == len(viewer.marks)]
    *found, end = holes(parts, bytes(container.written))
    for hole in found:
        # Nobody can tell whether a file that the kubelet begins as a stream ends is the next, nor whether what history
        # still has begins just behind a line that it has not.
        begun_here = any(hole.at in file for file in container.files)
        begins_here = any(container.written.startswith(tail, hole.at) for tail in viewer.tails)
        assert hole.size > 0 or begun_here or begins_here, f"nothing is missing at {hole.at}: {viewer.marks}"
    assert end.size == 0 or (viewer.marks and not parts[-1])
    await world.until(lambda: bool(world.history.logs) and world.log().complete)
    row = await viewer.row()
    assert row is not None
    kept = [b"", b""]  # where it begins nobody sees who begins late, with a file that is still small
    for each in contents(row):
        if isinstance(each, Mark):
            kept.append(b"")
        else:
            kept[-1] += each.text + b"\n" * each.whole
    holes(kept, bytes(container.written))  # each byte of history's is in its place, too


@settings(max_examples=40, derandomize=True, suppress_health_check=list(HealthCheck))
@given(STEPS, st.integers(0, 2))
def test_every_byte_comes_once_in_its_order_up_to_marked_gaps(steps: list[Step], cuts: int) -> None:
    story_of(World, lambda world: play(world, steps, cuts))
