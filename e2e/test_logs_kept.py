"""Logs of real pods, through a real kubelet and containerd: compared byte by byte with what the containers wrote."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from log_judge import Verdict, judge, tell
from operator_process import OperatorProcess
from taskjob_cluster import images
from world_of_pods import Api, Bench, a_taskjob, until

pytestmark = [pytest.mark.cluster, pytest.mark.real_pods]
LIMIT = 10 * 2**20
MIB = 2**20


def lines_of(number: int, width: int) -> bytes:
    """What `writer` writes."""
    return b"".join(b"%09d %s\n" % (n, b"x" * (width - 11)) for n in range(number))


def writer(number: int, width: int, *, per_second: int = 0, wait: bool = False) -> str:
    """A Python program that writes that many lines of that width, at that pace; with `wait` it then stays for long
    enough to be seen, until a file says that it may go."""
    return f"""
import os, sys, time
begun, out = time.monotonic(), sys.stdout.buffer
for first in range(0, {number}, 1000):
    out.write(b"".join(b"%09d %s\\n" % (n, b"x" * {width - 11}) for n in range(first, min(first + 1000, {number}))))
    out.flush()
    if {per_second}:
        time.sleep(max(0, begun + (first + 1000) / {per_second or 1} - time.monotonic()))
while {wait} and not os.path.exists("/tmp/go"):
    time.sleep(0.1)
"""


def a_program(name: str, program: str, **spec: object) -> dict[str, object]:
    """A TaskJob that runs a Python program."""
    job = a_taskjob(name, "", **spec)
    job["spec"] |= {"image": images.PYTHON, "command": ["python3", "-c", program]}
    return job


def kept(bench: Bench, api: Api, name: str, seconds: float = 120) -> bytes:
    """The log once the pod is gone."""
    job_id = api.job_id(bench, name)
    until(lambda: not bench.pods(name), seconds, "the removal of the pod, once its log is kept")
    answer = api.get(f"/jobs/{job_id}/logs")
    assert (answer.status_code, answer.headers["taskjobs-log-source"]) == (200, "history"), answer.text[:300]
    return answer.content


def told(api_log: bytes, written: bytes, name: str) -> Verdict:
    """The verdict, as figures too."""
    verdict = judge(api_log, written)
    tell(f"log_bytes_wrong ({name})", verdict.wrong, "bytes", 0)
    return verdict


def test_binary_bytes_long_lines_carriage_returns_and_no_line_end_are_kept_as_they_were(bench: Bench, api: Api) -> None:
    program = (
        "import sys; out = sys.stdout.buffer; out.write(bytes(range(256)) * 40 + b'\\n\\n\\r!\\n');"
        "out.write(b'y' * 1_500_000 + b'\\n' + 'größe 漢字 🚀\\n'.encode() + b'[taskjobs] no mark\\nthe end');"
        "out.flush()"
    )
    written = bytes(range(256)) * 40 + b"\n\n\r!\n" + b"y" * 1_500_000 + b"\n" + "größe 漢字 🚀\n".encode()
    written += b"[taskjobs] no mark\nthe end"
    bench.apply(a_program("odd", program))
    bench.wait("odd", "Succeeded")
    assert told(kept(bench, api, "odd"), written, "binary, long lines") == Verdict(0, 0, 0, 0)


def test_every_container_has_a_log_and_the_main_one_is_meant_after_the_taskjob_is_gone(bench: Bench, api: Api) -> None:
    def container(name: str, script: str) -> dict[str, object]:
        return {"name": name, "image": images.BUSYBOX, "command": ["sh", "-c", script]}

    template = {
        "spec": {
            "initContainers": [
                container("aa-init", "echo from init"),
                container("sidecar", "echo from sidecar; trap 'exit 0' TERM; sleep 600 & wait")
                | {"restartPolicy": "Always"},
            ],
            "containers": [container("work", "sleep 1; echo from work"), container("also", "echo from also")],
        }
    }
    job = a_taskjob("many", "", ttlSecondsAfterFinished=0)
    job["spec"] = {"template": template, "ttlSecondsAfterFinished": 0}
    bench.apply(job)
    job_id = api.job_id(bench, "many")
    until(lambda: api.get(f"/jobs/{job_id}").json().get("goneAt"), 90, "the TaskJob leaving")
    assert api.log(job_id) == "from work\n", "the main container's"
    for name in ("aa-init", "sidecar", "also"):
        assert api.log(job_id, container=name) == f"from {name.removeprefix('aa-')}\n"


def test_deleting_a_running_taskjob_keeps_what_it_wrote(bench: Bench, api: Api) -> None:
    bench.apply(a_taskjob("deleted", "trap 'echo going; exit 1' TERM; echo first; echo second; sleep 600 & wait"))
    bench.wait("deleted", "Running")
    job_id = api.job_id(bench, "deleted")

    def source() -> str:
        return str(api.get(f"/jobs/{job_id}/logs").headers.get("taskjobs-log-source"))

    until(lambda: source() == "history, pod", 30, "its being followed")
    bench.kubectl("delete", "tj", "deleted", "--wait=false")
    until(lambda: api.get(f"/jobs/{job_id}").json().get("goneAt"), 60, "the TaskJob leaving")
    until(lambda: bench.kubectl("get", "pods", "-o", "name") == "", 60, "the pod leaving")
    until(lambda: "going" in api.log(job_id), 15, "the last line")
    assert api.log(job_id) == "first\nsecond\ngoing\n"


def test_a_follow_lives_through_the_pods_end_and_its_bytes_are_the_containers(
    bench: Bench, api: Api, tmp_path: Path
) -> None:
    program = (
        "import os, sys, time; out = sys.stdout.buffer\n"
        "out.write(b'attempt ' + os.environ['TASKJOB_ATTEMPT'].encode() + b' \\xff\\r!\\n' + b'z' * 600_000)\n"
        "out.flush()\n"
        "time.sleep(6)\n"
        "out.write(b'\\nlast'); out.flush()\n"
        "sys.exit(os.environ['TASKJOB_ATTEMPT'] == '1')"
    )
    retry = {"limit": 1, "backoff": {"initialSeconds": 1, "jitterPercent": 0}}
    bench.apply(a_program("followed", program, retry=retry))
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "taskjob.cli",
        "logs",
        "-f",
        "followed",
        "-n",
        bench.namespace,
        "--api",
        str(api.base_url),
    ]
    with out.open("wb") as sink, (tmp_path / "err").open("wb") as errors:
        process = subprocess.Popen(command, stdout=sink, stderr=errors)
        try:
            assert process.wait(90) == 0, (tmp_path / "err").read_text()
        finally:
            process.kill()
    body = b" \xff\r!\n" + b"z" * 600_000 + b"\nlast"
    assert out.read_bytes() == b"attempt 1" + body + b"attempt 2" + body
    bench.wait("followed", "Succeeded")


def test_ten_thousand_lines_a_second_are_kept_whole(bench: Bench, api: Api) -> None:
    bench.apply(a_program("quick", writer(80_000, 60, per_second=10_000)))
    bench.wait("quick", "Succeeded", seconds=120)
    written = lines_of(80_000, 60)
    assert told(kept(bench, api, "quick"), written, "10,000 lines/s") == Verdict(0, 0, 0, 0)


def test_of_a_log_beyond_the_limit_head_and_tail_are_kept_and_the_cut_has_its_size(bench: Bench, api: Api) -> None:
    written = lines_of(300_000, 100)
    bench.apply(a_program("large", writer(300_000, 100, per_second=30_000)))
    bench.wait("large", "Succeeded", seconds=120)
    text = kept(bench, api, "large")
    verdict = told(text, written, "30 MB")
    assert verdict.wrong == 0
    assert verdict.cut + verdict.gap + len(text) >= len(written)
    assert len(text) < LIMIT + MIB


def test_the_next_operator_goes_on_with_the_log_of_a_running_container(
    bench: Bench, api: Api, operator: OperatorProcess
) -> None:
    bench.apply(a_program("handed", writer(20_000, 50, per_second=2000, wait=True)))
    pod = bench.wait("handed", "Running")["podName"]
    until(lambda: bench.logs(pod).count("\n") >= 6_000, 60, "it has been followed for a while, and goes on")
    operator.kill()
    operator.start().wait_ready()
    until(lambda: bench.logs(pod).count("\n") == 20_000, 60, "all lines")
    bench.kubectl("exec", pod, "--", "touch", "/tmp/go")
    bench.wait("handed", "Succeeded")
    assert told(kept(bench, api, "handed"), lines_of(20_000, 50), "restart") == Verdict(0, 0, 0, 0)


# ---------------------------------------------------------------- the long ones: make test-life
def rss(operator: OperatorProcess) -> float:
    """The operator's memory in MiB."""
    return float(psutil.Process(operator.pid).memory_info().rss) / MIB


@pytest.mark.life
@pytest.mark.timeout(600)
def test_a_megabyte_a_second_for_a_minute_has_no_gap(bench: Bench, api: Api) -> None:
    """60 MB through several of the kubelet's files of 10 MiB."""
    written = lines_of(600_000, 100)
    bench.apply(a_program("minute", writer(600_000, 100, per_second=10_000)))
    bench.wait("minute", "Succeeded", seconds=240)
    text = kept(bench, api, "minute")
    verdict = told(text, written, "1 MB/s for a minute")
    tell("log_gap_bytes", verdict.gap, "bytes", 0)
    assert (verdict.wrong, verdict.gap, verdict.marks) == (0, 0, 1), verdict.said
    assert verdict.cut > 40 * MIB


@pytest.mark.life
@pytest.mark.timeout(3600)
def test_hundreds_of_megabytes_as_fast_as_it_goes_leave_no_wrong_byte_and_little_memory(
    bench: Bench, api: Api, operator: OperatorProcess
) -> None:
    """TASKJOBS_LIFE_LOG_MB: how many, 200; `make test-life ARGS="-k hundreds" TASKJOBS_LIFE_LOG_MB=1000` is 1 GB."""
    megabytes = int(os.environ.get("TASKJOBS_LIFE_LOG_MB", "200"))
    before = rss(operator)
    written = lines_of(megabytes * 10_000, 100)
    bench.apply(a_program("huge", writer(megabytes * 10_000, 100)))
    highest = before

    def ended() -> bool:
        nonlocal highest
        highest = max(highest, rss(operator))
        return bench.status("huge").get("phase") == "Succeeded"

    until(ended, 200 + megabytes, "the end of the job")
    # The kubelet looks every 10 s: its files hold what was written by then, and the last two are read after the end.
    text = kept(bench, api, "huge", seconds=120 * max(1, megabytes / 200))
    verdict = told(text, written, f"{megabytes} MB")
    print(
        f"{megabytes} MB: cut {verdict.cut}, gaps {verdict.gap}, {len(text)} bytes kept, "
        f"RSS {before:.0f} -> {highest:.0f} MiB",
        *verdict.said,
        sep="\n  ",
    )
    tell(f"log_rss_mib ({megabytes} MB)", round(highest - before, 1), "MiB", 80)
    assert verdict.wrong == 0
    assert highest - before < 120
