"""What a client that follows a log costs the API: nothing of the log itself."""

from __future__ import annotations

import gc
import weakref

from applier_world import story_of
from log_world import WholeWorld as World
from log_world import text
from taskjob.history.views import LogRow
from viewers import Viewer


class Watched(LogRow, frozen=True, kw_only=True, weakref=True):
    """A kept log of which one can tell whether somebody still holds it."""


class Noting(Viewer):
    """Notes which kept logs it was given."""

    given: tuple[weakref.ref[Watched], ...] = ()

    async def row(self) -> LogRow | None:
        row = await super().row()
        if row is None:
            return None
        watched = Watched(**{name: getattr(row, name) for name in row.__struct_fields__})
        self.given += (weakref.ref(watched),)
        return watched


def test_who_follows_on_from_a_kept_log_does_not_hold_it_any_more() -> None:
    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        lines = text("line", 200)
        world.fake.write(pod, *lines)
        await world.until(lambda: world.body() == b"".join(lines), 60)
        viewer = Noting(world, pod)
        await world.until(lambda: viewer.body == b"".join(lines))
        world.fake.write(pod, b"live\n")
        await world.until(lambda: viewer.body.endswith(b"live\n"))
        assert not viewer.left()
        gc.collect()
        assert [watched() for watched in viewer.given] == [None], "it was shown, and let go"

    story_of(World, tell)
