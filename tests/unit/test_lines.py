"""A bounded number of each line at once, and nobody behind somebody else's."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from taskjob.control.lines import Lines


@given(st.lists(st.sampled_from(["a", "b", "c", "take", "done"]), max_size=60), st.integers(1, 3))
def test_each_line_keeps_its_order_and_its_bound_and_waits_for_no_other(actions: list[str], at_once: int) -> None:
    async def play() -> None:
        lines: Lines[str, int] = Lines(at_once)
        waiting: dict[str, list[int]] = {"a": [], "b": [], "c": []}
        out: list[str] = []
        for n, action in enumerate([*actions, *["take", "done"] * len(actions)]):
            may_go = [line for line, items in waiting.items() if items and Counter(out)[line] < at_once]
            match action:
                case "take":
                    taken = asyncio.create_task(lines.take())
                    await asyncio.sleep(0)
                    assert taken.done() == bool(may_go)
                    if taken.done():
                        line, item = taken.result()
                        assert line in may_go
                        assert item == waiting[line].pop(0)
                        out.append(line)
                    else:
                        taken.cancel()
                        await asyncio.gather(taken, return_exceptions=True)
                case "done":
                    if out:
                        lines.done(out.pop(0))
                case line:
                    lines.put(line, n)
                    waiting[line].append(n)
            assert len(lines) == sum(map(len, waiting.values()))
        assert (len(lines), out) == (0, [])

    asyncio.run(play())
