"""A log that is followed through the API while the kubelet begins its files anew: nothing is missing without a mark."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from applier_world import story_of
from log_world import LARGE, text, write_for, write_over
from log_world import WholeWorld as World
from log_world import World as SmallWorld
from log_world import story as small_story
from taskjob_api.logs import LiveLog
from viewers import Viewer, holes


def story(tell: Callable[[World], Awaitable[None]]) -> None:
    story_of(World, tell)


async def outrun(
    world: SmallWorld, viewer: Viewer, *, first: list[bytes], second: list[bytes], third: list[bytes], rest: bytes = b""
) -> None:
    """The container begins three files, and the viewer reads nothing from within the first until within the third.
    `rest`: of a line that began in the second."""
    pod = viewer.pod
    world.fake.write(pod, b"begin\n")
    await world.until(lambda: viewer.body == b"begin\n", 15)
    viewer.slow = True
    await write_for(world, pod, first, 4)
    world.fake.rotate(pod)
    await write_for(world, pod, second, 10)
    world.fake.rotate(pod)
    if rest:
        world.fake.write(pod, rest)
        await world.pass_time(0.1)
    await write_for(world, pod, third, 4)
    await world.pass_time(6)
    viewer.slow = False
    await world.pass_time(3)


FIRST, SECOND, THIRD = text("first", LARGE), text("second", 50), text("third", 50)


def test_a_file_that_was_passed_over_comes_from_history_in_its_place() -> None:
    async def tell(world: World) -> None:
        viewer = Viewer(world, await world.a_running_pod())
        await outrun(world, viewer, first=FIRST, second=SECOND, third=THIRD)
        world.fake.succeed(viewer.pod)
        await viewer.until_end()
        assert viewer.body == b"begin\n" + b"".join(FIRST + SECOND + THIRD)
        assert viewer.marks == []

    story(tell)


def test_a_file_that_was_passed_over_is_marked_in_its_place_while_history_is_away() -> None:
    async def tell(world: World) -> None:
        viewer = Viewer(world, await world.a_running_pod())
        world.history.available = False
        await outrun(world, viewer, first=FIRST, second=SECOND, third=THIRD)
        world.fake.write(viewer.pod, b"on\n")
        await world.pass_time(3)
        # The kubelet may have made one line of the last of a file and the first of another: that line goes too.
        assert viewer.parts == [b"begin\n" + b"".join(FIRST[:-1]), b"".join(THIRD) + b"on\n"]
        (mark,) = viewer.marks
        assert (mark["kind"], mark["bytes"]) == ("gap", None)
        assert "the kubelet began a new file" in mark["message"]
        world.history.available = True
        world.fake.succeed(viewer.pod)
        await viewer.until_end()
        assert (viewer.parts[-1], len(viewer.marks)) == (b"".join(THIRD) + b"on\n", 1)

    story(tell)


def test_what_neither_a_viewer_nor_the_operator_read_is_marked_once() -> None:
    async def tell(world: World) -> None:
        viewer = Viewer(world, await world.a_running_pod())
        world.fake.write(viewer.pod, b"begin\n")
        await world.until(lambda: viewer.body == world.body() == b"begin\n", 15)
        world.fake.files.mute = True
        await write_for(world, viewer.pod, FIRST, 4)
        world.fake.rotate(viewer.pod)
        world.fake.write(viewer.pod, *SECOND)
        await world.pass_time(10)
        world.fake.rotate(viewer.pod)
        world.fake.write(viewer.pod, *THIRD)
        world.fake.files.mute = False
        world.fake.files.tell()
        await world.pass_time(4)
        world.fake.succeed(viewer.pod)
        await viewer.until_end()
        assert viewer.parts == [b"begin\n" + b"".join(FIRST[:-1]), b"".join(THIRD)]
        assert len(viewer.marks) == 1

    story(tell)


def test_of_what_history_left_out_the_live_view_says_no_size_that_counts_what_it_has_shown() -> None:
    """History keeps a megabyte: of the file that was passed over its last half."""

    async def tell(world: SmallWorld) -> None:
        viewer = Viewer(world, await world.a_running_pod())
        second = text("second", 2000)
        await outrun(world, viewer, first=FIRST, second=second, third=THIRD)
        world.fake.succeed(viewer.pod)
        await viewer.until_end()
        before, after = viewer.parts
        assert before == b"begin\n" + b"".join(FIRST[:-1])
        assert after.endswith(b"".join(THIRD))
        rest = after.removesuffix(b"".join(THIRD))
        assert b"".join(second).endswith(rest)
        assert 300_000 < len(rest) < 700_000
        (mark,) = viewer.marks
        assert (mark["kind"], mark["bytes"]) == ("gap", None)
        assert "longer than is kept" in mark["message"]

    small_story(tell)


def test_a_line_within_which_a_file_was_begun_comes_once_though_history_goes_on_while_it_is_asked() -> None:
    """The operator saw it whole; the newest file has its rest as a line of another time, which history has not."""

    async def tell(world: SmallWorld) -> None:
        viewer = Viewer(world, await world.a_running_pod())
        second, third = text("second", 2000), text("third", 3000)
        await outrun(world, viewer, first=FIRST, second=[*second, b"second, and "], rest=b"third\n", third=third[:300])
        await write_for(world, viewer.pod, third[300:], 8)
        world.fake.succeed(viewer.pod)
        await viewer.until_end()
        written = b"begin\n" + b"".join([*FIRST, *second, b"second, and ", b"third\n", *third])
        missing, end = holes(viewer.parts, written)
        assert (missing.size > 0, end.size) == (True, 0)
        assert [mark["kind"] for mark in viewer.marks] == ["gap"]

    small_story(tell)


def test_what_the_kubelet_still_serves_is_shown_though_history_left_it_out() -> None:
    """History's last half megabyte begins within the newest file."""

    async def tell(world: SmallWorld) -> None:
        viewer = Viewer(world, await world.a_running_pod())
        third = text("third", 2000)
        await outrun(world, viewer, first=FIRST, second=SECOND, third=third)
        assert viewer.parts == [b"begin\n" + b"".join(FIRST[:-1]), b"".join(third)]

    small_story(tell)


def test_a_stream_that_stays_in_an_old_file_is_left_for_the_newest() -> None:
    async def tell(world: World) -> None:
        viewer = Viewer(world, await world.a_running_pod())
        world.history.available = False
        viewer.slow = True
        await write_for(world, viewer.pod, FIRST, 4)
        world.fake.rotate(viewer.pod)
        world.fake.write(viewer.pod, *SECOND)
        viewer.slow = False
        await world.pass_time(5)
        assert viewer.parts == [b"".join(FIRST), b"".join(SECOND)]
        assert len(viewer.marks) == 1

    story(tell)


def test_a_silence_is_no_hole_though_the_viewer_was_behind() -> None:
    async def tell(world: World) -> None:
        viewer = Viewer(world, await world.a_running_pod())
        world.history.available = False
        world.fake.write(viewer.pod, b"begin\n")
        await world.until(lambda: viewer.body == b"begin\n", 15)
        viewer.slow = True
        await write_for(world, viewer.pod, FIRST, 4)
        await world.pass_time(5)
        world.fake.write(viewer.pod, *SECOND)
        viewer.slow = False
        await world.pass_time(6)
        assert viewer.parts == [b"begin\n" + b"".join(FIRST + SECOND)]
        assert viewer.opened <= 3
        opened = viewer.opened
        for _ in range(5):
            world.fake.write(viewer.pod, b"line\n")
            await world.pass_time(5)
            assert viewer.body.endswith(b"line\n")
        assert viewer.opened == opened, "who has kept up looks no more"

    story(tell)


def test_a_log_that_fits_into_a_file_costs_one_request_however_it_pauses() -> None:
    async def tell(world: World) -> None:
        viewer = Viewer(world, await world.a_running_pod())
        for n in range(10):
            world.fake.write(viewer.pod, b"%d\n" % n)
            await world.pass_time(0.2 + n)
            assert viewer.body.endswith(b"%d\n" % n)
        assert (viewer.opened, viewer.marks) == (1, [])

    story(tell)


def test_of_a_part_that_was_asked_for_every_line_comes_at_once() -> None:
    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        world.fake.write(pod, *THIRD)
        await world.pass_time(15)
        viewer = Viewer(world, pod, since=world.fake.now().strftime("%Y-%m-%dT12:00:00Z"))
        await world.pass_time(0.1)
        assert viewer.body == b"".join(THIRD)
        await world.pass_time(10)
        assert viewer.opened <= 2

    story(tell)


def test_a_first_file_that_was_gone_before_following_began_is_told() -> None:
    async def tell(world: World) -> None:
        world.history.available = False
        pod = await world.a_running_pod()
        write_over(world, pod, text("second file", 6500), timedelta(seconds=1.3), 0.9)
        await world.pass_time(2)
        viewer = Viewer(world, pod)
        await world.pass_time(4)
        (mark,) = viewer.marks
        assert "something may be missing before the first line: reading began 1.3 s after" in mark["message"]
        assert viewer.body == b"".join(text("second file", 6500))

    story(tell)


def test_a_log_of_which_history_has_the_first_lines_has_no_doubtful_beginning() -> None:
    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        world.fake.write(pod, b"begin\n")
        await world.until(lambda: world.body() == b"begin\n", 15)
        world.fake.files.mute = True
        write_over(world, pod, FIRST, timedelta(seconds=8), 0.9)
        await world.pass_time(4)
        world.fake.files.mute = False
        viewer = Viewer(world, pod)
        await world.pass_time(4)
        assert viewer.parts == [b"begin\n" + b"".join(FIRST)]

    story(tell)


def test_what_history_has_of_the_file_before_comes_first_and_the_newest_file_follows_without_a_mark() -> None:
    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        first = text("first", 6500)
        write_over(world, pod, first, timedelta(seconds=0.1), 0.9)
        await world.until(lambda: world.body() == b"".join(first), 15)
        world.fake.rotate(pod)
        world.fake.write(pod, *SECOND)
        viewer = Viewer(world, pod)
        await world.pass_time(10)  # history has the first line of the new file when the operator has written it
        assert viewer.body == b"".join(first + SECOND)
        assert viewer.marks == []

    story(tell)


def test_who_comes_back_after_the_file_is_gone_gets_what_history_has_and_then_all_that_the_kubelet_has() -> None:
    async def tell(world: SmallWorld) -> None:
        pod = await world.a_running_pod()
        viewer = Viewer(world, pod)
        await write_for(world, pod, FIRST, 4)
        await world.until(lambda: viewer.body == b"".join(FIRST), 15)
        await viewer.leave()
        second, third = text("second", 300), text("third", 2000)
        await write_for(world, pod, second, 4)
        world.fake.rotate(pod)
        await world.pass_time(10)
        viewer.come_back()
        await world.pass_time(5)
        assert viewer.body == b"".join(FIRST + second), "history's last half megabyte goes back to where it left"
        assert viewer.marks == []
        opened = viewer.opened
        await world.pass_time(60)
        assert viewer.opened == opened, "the newest file is empty: nothing is looked for until it is not"
        await viewer.leave()
        await write_for(world, pod, third, 4)
        await world.pass_time(10)
        viewer.come_back()
        await world.pass_time(5)
        assert viewer.parts == [b"".join(FIRST + second), b"".join(third)], "the kubelet has what history left out"
        assert len(viewer.marks) == 1, "history cannot say any more whether one follows the other"

    small_story(tell)


def test_read_and_not_followed_what_lies_between_history_and_the_pods_file_is_marked() -> None:
    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        world.fake.write(pod, *FIRST[:10])
        await world.until(lambda: world.body() == b"".join(FIRST[:10]), 15)
        world.history.available = False
        await write_for(world, pod, FIRST[10:], 4)
        world.fake.rotate(pod)
        world.fake.write(pod, *SECOND)
        world.history.available = True
        viewer = Viewer(world, pod)
        await viewer.leave()
        row = await viewer.row()
        assert row is not None
        follower = viewer.follower()
        opened = await follower.open(follow=False)
        assert isinstance(opened, LiveLog)
        text = b"".join([piece async for piece in follower.text(row, opened)])
        before, mark, after = text.partition(b"[taskjobs: something is missing here: the kubelet")
        assert before == b"".join(FIRST[:10])
        assert mark
        assert after.partition(b"\n")[2] == b"".join(SECOND)

    story(tell)
