"""Logs of real pods, followed through the API while the kubelet begins their files anew: compared byte by byte."""

from __future__ import annotations

import json
import os
from base64 import b64decode
from collections.abc import Callable

import pytest

from log_judge import judge, tell
from test_logs_kept import a_program, lines_of, writer
from world_of_pods import Api, Bench, until

pytestmark = [pytest.mark.cluster, pytest.mark.real_pods]


def followed(api: Api, job_id: str, pause: Callable[[], None] = lambda: None) -> bytes:
    """All that a client is shown, marks as lines of their own; after the first lines it reads nothing for a while."""
    shown, rest, paused = bytearray(), b"", False
    query = {"follow": "true", "encoding": "base64"}
    with api.stream("GET", f"/jobs/{job_id}/logs", params=query, timeout=60) as answer:
        assert answer.status_code == 200, answer.read()
        for piece in answer.iter_raw():
            *events, rest = (rest + piece).split(b"\n\n")
            for event in events:
                fields = dict(line.split(b": ", 1) for line in event.split(b"\n") if line[:1] != b":")
                match fields.get(b"event"):
                    case None if fields:
                        shown += b64decode(fields[b"data"])
                    case b"mark":
                        said = json.loads(fields[b"data"])["message"].encode()
                        mark = b"[taskjobs: " + said + b"]\n"
                        shown[:] = mark + shown if b"before the first line" in said else shown + mark
                    case b"end":
                        return bytes(shown)
                    case b"problem":
                        raise AssertionError(event)
            if shown and not paused:
                paused = True
                pause()
    raise AssertionError(f"the log broke off after {len(shown)} bytes")


def test_what_outran_who_follows_it_is_marked_and_every_other_byte_is_the_containers(bench: Bench, api: Api) -> None:
    lines = 1_000_000
    written = lines_of(lines, 100)
    bench.apply(a_program("outruns", writer(lines, 100, per_second=20_000)))
    pod = bench.wait("outruns", "Running")["podName"]

    def begins() -> int:
        """With which line the kubelet's file begins; between two files it sends its excuse instead of one."""
        number = bench.kubectl("logs", pod, "--limit-bytes=9")
        return int(number) if number.isdecimal() else 0

    def begins_after(line: int) -> int | None:
        number = begins()
        return number if number >= line else None

    def outrun() -> None:
        """Where the kubelet stands in the file that it sends nobody sees, but what it has sent lies in the buffers on
        the way, which take 20 MB of the 39 that 300,000 lines are: a file that begins after them is a later one."""
        passed = until(lambda: begins_after(300_000), 60, "a file that cannot be the one that is being sent")
        until(lambda: begins() >= passed + 110_000, 40, "a file by which more than 10 MiB are passed over")

    text = followed(api, api.job_id(bench, "outruns"), outrun)
    verdict = judge(text, written)
    tell("log_bytes_wrong (live, outrun)", verdict.wrong, "bytes", 0)
    print(f"{len(written)} bytes written, {len(text)} shown, {verdict.gap} in gaps:", *verdict.said, sep="\n  ")
    assert verdict.wrong == 0, verdict.said
    assert verdict.marks >= 1
    assert verdict.gap > 10 * 2**20, "a whole file was passed over"


@pytest.mark.life
@pytest.mark.timeout(1800)
def test_hundreds_of_megabytes_followed_live_have_no_wrong_byte(bench: Bench, api: Api) -> None:
    megabytes = int(os.environ.get("TASKJOBS_LIFE_LOG_MB", "200"))
    written = lines_of(megabytes * 10_000, 100)
    bench.apply(a_program("live", writer(megabytes * 10_000, 100)))
    job_id = api.job_id(bench, "live")
    until(lambda: api.get(f"/jobs/{job_id}/logs", params={"tail": 1}).status_code == 200, 60, "its first line")
    verdict = judge(followed(api, job_id), written)
    tell(f"log_bytes_wrong (live, {megabytes} MB)", verdict.wrong, "bytes", 0)
    print(f"{megabytes} MB: {verdict.gap} bytes in {verdict.marks} gaps", *verdict.said, sep="\n  ")
    assert verdict.wrong == 0, verdict.said
