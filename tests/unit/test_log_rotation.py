"""A log whose files the kubelet begins anew while it is read, or before: nothing is lost without a word."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from applier_world import story_of
from builders import NOON
from log_world import LARGE, text, write_for, write_over
from log_world import WholeWorld as World
from taskjob.control.stamped import Cursor, Stamped
from taskjob.core.model import Pod


def story(tell: Callable[[World], Awaitable[None]]) -> None:
    story_of(World, tell)


# ---------------------------------------------------------------- within a stream
async def passed_over(world: World, pod: Pod, written: list[bytes]) -> None:
    """The container writes this to an open stream, which does not notice that the kubelet then begins a new file."""
    world.fake.files.mute = True
    await write_for(world, pod, written, 4)
    world.fake.rotate(pod)


def test_a_stream_that_stays_in_an_old_file_is_left_for_the_newest() -> None:
    first, second, third = text("first", LARGE), text("second", 50), text("third", 50)

    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        await passed_over(world, pod, first)
        world.fake.write(pod, *second)
        world.fake.files.mute = False
        world.fake.files.tell()
        await world.pass_time(5)
        world.fake.rotate(pod)
        world.fake.write(pod, *third)
        await world.pass_time(4)
        world.fake.succeed(pod)
        await world.until(lambda: not world.fake.pods)
        assert world.body() == b"".join(first + second + third)
        (gap,) = world.log().gaps
        assert "new file" in gap.why

    story(tell)


def test_a_file_that_the_kubelet_passed_over_within_a_stream_is_a_gap_and_the_next_is_read_once() -> None:
    first, second, third = text("first", LARGE), text("second", 50), text("third", 50)

    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        world.fake.write(pod, b"begin\n")
        await world.until(lambda: world.body() == b"begin\n", 15)
        await passed_over(world, pod, first)
        world.fake.write(pod, *second)
        await world.pass_time(10)
        world.fake.rotate(pod)
        world.fake.write(pod, *third)
        world.fake.files.mute = False
        world.fake.files.tell()
        await world.pass_time(4)
        world.fake.succeed(pod)
        await world.until(lambda: not world.fake.pods)
        # The kubelet may have made one line of the last of a file and the first of another: that line goes too.
        assert world.body() == b"begin\n" + b"".join(first[:-1] + third)
        (gap,) = world.log().gaps
        assert "new file" in gap.why

    story(tell)


def test_what_was_read_of_a_burst_reaches_history_though_the_newest_file_stays_empty() -> None:
    """And nobody looks again and again whether it still is."""
    first = text("first", LARGE)

    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        await passed_over(world, pod, first)
        world.fake.files.mute = False
        world.fake.files.tell()
        await world.pass_time(15)
        assert world.body() == b"".join(first)
        opened = world.opened()
        await world.pass_time(60)
        assert world.opened() == opened
        world.fake.write(pod, b"on\n")
        await world.pass_time(6)
        assert world.body() == b"".join(first) + b"on\n"
        (gap,) = world.log().gaps
        assert "new file" in gap.why

    story(tell)


def test_what_a_deleted_pod_wrote_into_a_file_that_its_stream_did_not_notice_is_a_gap() -> None:
    first = text("first", LARGE)

    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        await passed_over(world, pod, first)
        await world.pass_time(3)
        world.fake.write(pod, b"unnoticed\n")
        world.fake.files.mute = False
        world.fake.delete_job(world.fake.jobs[pod.attempt.uid])
        world.fake.remove(pod)
        await world.until(lambda: world.body() != b"" and world.log().complete)
        assert world.body() == b"".join(first)
        (gap,) = world.log().gaps
        assert "not read to its end" in gap.why

    story(tell)


def test_what_a_container_writes_after_a_silence_is_no_gap_though_the_reader_was_behind() -> None:
    first, second = text("first", LARGE), text("second", 50)

    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        world.fake.write(pod, b"begin\n")
        await world.until(lambda: world.body() == b"begin\n", 15)
        world.fake.files.mute = True
        await write_for(world, pod, first, 4)
        await world.pass_time(5)
        world.fake.write(pod, *second)
        world.fake.files.mute = False
        world.fake.files.tell()
        await world.pass_time(4)
        assert world.body() == b"begin\n" + b"".join(first + second)
        assert world.opened() <= 3
        world.fake.succeed(pod)
        await world.until(lambda: not world.fake.pods)
        assert world.body() == b"begin\n" + b"".join(first + second)
        assert world.log().gaps == ()

    story(tell)


def test_a_container_that_writes_much_and_pauses_often_has_no_gap_and_costs_no_requests() -> None:
    bursts = [text(f"burst-{n}", 1100) for n in range(8)]

    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        await world.pass_time(4)
        for n, burst in enumerate(bursts):
            world.fake.write(pod, *burst)
            await world.pass_time(12)
            if n == 4:
                world.fake.rotate(pod)
        assert world.opened() == 1
        world.fake.succeed(pod)
        await world.until(lambda: not world.fake.pods)
        assert world.body() == b"".join(line for burst in bursts for line in burst)
        assert world.log().gaps == ()

    story(tell)


def test_a_stream_that_still_brings_something_is_not_cut_off_when_its_pod_ends() -> None:
    first, second = text("first", LARGE), text("second", 50)

    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        await passed_over(world, pod, first)
        world.fake.write(pod, *second)
        world.fake.files.lines_at_once, world.fake.files.seconds_each = 100, 1.0
        world.fake.files.mute = False
        world.fake.succeed(pod)
        await world.until(lambda: not world.fake.pods)
        assert world.body() == b"".join(first + second)
        (gap,) = world.log().gaps
        assert "new file" in gap.why

    story(tell)


# ---------------------------------------------------------------- before reading began
def test_a_file_begun_anew_before_a_quick_container_was_first_read_is_a_gap_before_all() -> None:
    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        write_over(world, pod, text("second file", 6500), timedelta(seconds=1.3), 0.9)
        await world.pass_time(4)
        world.fake.succeed(pod)
        await world.until(lambda: not world.fake.pods)
        (gap,) = world.log().gaps
        assert gap.before == 0
        assert "reading began 1.3 s after" in gap.why

    story(tell)


def test_short_lines_fill_the_kubelets_file_with_what_stands_before_them() -> None:
    """A file of 10 MiB holds no more than 2 MiB of them."""

    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        write_over(world, pod, [b"%09d\n" % n for n in range(120_000)], timedelta(seconds=1.4), 0.8)
        await world.pass_time(4)
        world.fake.succeed(pod)
        await world.until(lambda: not world.fake.pods)
        (gap,) = world.log().gaps
        assert gap.before == 0

    story(tell)


def test_a_few_lines_at_once_after_a_long_silence_are_a_whole_log() -> None:
    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        await world.pass_time(7)  # it is followed
        write_over(world, pod, text("trace", 20), world.fake.now() - NOON, 0.001)
        await world.pass_time(4)
        world.fake.succeed(pod)
        await world.until(lambda: not world.fake.pods)
        assert world.log().gaps == ()

    story(tell)


def test_megabytes_at_once_in_the_first_second_are_a_whole_log() -> None:
    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        write_over(world, pod, text("dump", 3000), timedelta(seconds=0.9), 0.1)
        await world.pass_time(4)
        world.fake.succeed(pod)
        await world.until(lambda: not world.fake.pods)
        assert world.log().gaps == ()

    story(tell)


# ---------------------------------------------------------------- line by line
FROM = NOON + timedelta(seconds=10)


def test_a_line_made_of_the_ends_of_two_files_is_not_given_out() -> None:
    reading = Stamped()
    reading.doubtful_from = FROM
    chunks = [
        b"2026-01-01T12:00:11.0Z one\n2026-01-01T12:00:11.1Z two\n2026-01-01T12:00:11.1Z the beg",
        b"inning, and the end of another\n",
        b"2026-01-01T12:00:21.3Z three\n",
    ]
    bodies = [piece.body for chunk in chunks for piece in reading.feed(chunk)]
    assert b"".join(bodies) == b"one\ntwo\n"
    assert reading.leapt
    assert reading.cursor.time == b"2026-01-01T12:00:11.1Z"
    assert [*reading.finish(broken=True)] == []


@given(st.lists(st.tuples(st.integers(0, 9), st.binary(max_size=9)), max_size=20), st.integers(1, 90), st.booleans())
def test_in_doubt_lines_come_later_but_they_come(lines: list[tuple[int, bytes]], step: int, ends: bool) -> None:
    """The times go on by tenths of a second: none of them leaps."""
    tenths, stream, wanted = 0, b"", b""
    for wait, line in lines:
        tenths += wait
        body = line.replace(b"\n", b"") + b"\n"
        stream += b"2026-01-01T12:00:%02d.%dZ " % divmod(100 + tenths, 10) + body
        wanted += body
    if lines and not ends:
        stream, wanted = stream + b"2026-01-01T12:00:59Z x", wanted + b"x"
    reading = Stamped()
    reading.doubtful_from = FROM + timedelta(seconds=0 if ends else 60)
    pieces = [piece for at in range(0, len(stream), step) for piece in reading.feed(stream[at : at + step])]
    assert b"".join(piece.body for piece in (*pieces, *reading.finish())) == wanted
    assert not reading.leapt


# ---------------------------------------------------------------- within a line
def stamped(second: int, text: bytes) -> bytes:
    return b"2026-01-01T12:00:%02dZ " % second + text


def read(reader: Stamped, *chunks: bytes) -> bytes:
    """What a stream of its own gives."""
    reader.restart()
    pieces = [piece for chunk in chunks for piece in reader.feed(chunk)]
    return b"".join(piece.body for piece in (*pieces, *reader.finish()))


@pytest.mark.parametrize("restarted", [False, True])
def test_the_rest_of_a_line_that_was_read_whole_is_not_read_again_from_the_file_that_begins_with_it(
    restarted: bool,
) -> None:
    reader = Stamped()
    assert read(reader, stamped(1, b"begun and "), b"ended\n") == b"begun and ended\n"
    if restarted:
        reader = Stamped(reader.cursor, b"before\nbegun and ended\n")
    assert read(reader, stamped(2, b"ended\n"), stamped(3, b"on\n")) == b"on\n"
    assert reader.missed, "or a file is missing whose last line ended so"
    assert read(reader, stamped(4, b"on\n")) == b"on\n", "the same once more is a line of its own"


def test_a_stream_that_ends_within_a_time_or_before_the_text_has_begun_no_line() -> None:
    for rest in (b"2026-01-01T12:0", stamped(2, b"")):
        reader = Stamped()
        before = read(reader, stamped(1, b"one\n"), rest), reader.cursor, reader.said
        assert before == (b"one\n", Cursor(stamped(1, b"").strip(), 1, 4), "")
        assert read(reader, stamped(1, b"one\n"), stamped(2, b"two\n")) == b"two\n"


def test_a_container_that_ends_while_a_file_is_begun_within_its_last_line_has_that_line_once() -> None:
    async def tell(world: World) -> None:
        pod = await world.a_running_pod()
        world.fake.write(pod, *text("first", LARGE), b"begun and ")
        await world.until(lambda: world.body().endswith(b"first 005299 " + b"x" * 990 + b"\n"), 15)
        world.fake.rotate(pod)
        await world.pass_time(0.1)
        world.fake.write(pod, b"ended\n")
        await world.until(lambda: world.body().endswith(b"ended\n"), 15)
        world.fake.succeed(pod)
        await world.until(lambda: not world.fake.pods)
        assert world.body() == b"".join([*text("first", LARGE), b"begun and ended\n"])

    story(tell)
