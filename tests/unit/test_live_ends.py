"""The end of a log that is followed through the API: all of it comes, or a mark."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from applier_world import story_of
from log_world import LARGE, text, write_for
from log_world import WholeWorld as World
from log_world import World as SmallWorld
from viewers import Viewer

FIRST, SECOND = text("first", LARGE), text("second", 50)


def story(tell: Callable[[World], Awaitable[None]]) -> None:
    story_of(World, tell)


class Unkept(SmallWorld):
    """Whose operator reads no logs into history."""

    LOG_BYTES = 0


def test_what_a_deleted_pod_wrote_into_a_file_that_went_unnoticed_is_marked_if_nobody_has_it() -> None:
    async def tell(world: Unkept) -> None:
        viewer = Viewer(world, await world.a_running_pod())
        world.fake.write(viewer.pod, b"begin\n")
        await world.until(lambda: viewer.body == b"begin\n", 15)
        viewer.slow = True
        await write_for(world, viewer.pod, FIRST, 4)
        world.fake.rotate(viewer.pod)
        await world.pass_time(3)
        world.fake.write(viewer.pod, b"unnoticed\n")
        world.fake.remove(viewer.pod)
        viewer.slow = False
        await viewer.until_end()
        assert viewer.parts == [b"begin\n" + b"".join(FIRST), b""]
        assert "not read to its end" in viewer.marks[0]["message"]

    story_of(Unkept, tell)


@pytest.mark.parametrize("broken", [True, False])
def test_a_log_that_breaks_off_or_is_empty_as_its_container_ends_is_read_again(broken: bool) -> None:
    """With no history to help."""

    async def tell(world: World) -> None:
        world.history.available = False
        viewer = Viewer(world, await world.a_running_pod())
        await write_for(world, viewer.pod, FIRST, 4)
        world.fake.rotate(viewer.pod)
        world.fake.files.mute = True
        world.fake.write(viewer.pod, *SECOND)
        world.fake.succeed(viewer.pod)
        viewer.ends = [None, None] if broken else [b""]
        world.fake.files.mute = False
        world.fake.files.tell()
        await viewer.until_end()
        assert viewer.parts == [b"".join(FIRST), b"".join(SECOND)]
        assert len(viewer.marks) == 1, "nobody can tell whether there was a file between"

    story(tell)


def test_an_api_that_ends_while_the_rest_of_a_log_is_read_says_no_end() -> None:
    async def tell(world: World) -> None:
        world.history.available = False
        viewer = Viewer(world, await world.a_running_pod())
        world.fake.write(viewer.pod, b"begin\n")
        await world.until(lambda: viewer.body == b"begin\n")
        viewer.ends = [None] * 9
        world.fake.succeed(viewer.pod)
        await world.until(lambda: len(viewer.ends) == 8)
        viewer.going.set()
        await world.until(viewer.left)
        assert (viewer.body, viewer.ended, viewer.marks) == (b"begin\n", False, [])

    story(tell)


def test_a_log_that_cannot_be_read_to_its_end_is_marked_there() -> None:
    async def tell(world: Unkept) -> None:
        viewer = Viewer(world, await world.a_running_pod())
        await write_for(world, viewer.pod, FIRST, 4)
        world.fake.files.mute = True
        world.fake.write(viewer.pod, *SECOND)
        world.fake.succeed(viewer.pod)
        viewer.ends = [None] * 9
        world.fake.files.cut()
        world.fake.files.mute = False
        world.fake.files.tell()
        await viewer.until_end()
        assert viewer.parts == [b"".join(FIRST), b""]
        assert "not read to its end" in viewer.marks[0]["message"]

    story_of(Unkept, tell)
