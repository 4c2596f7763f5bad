"""A process is named by its pid and the instant of its start, so that nobody else's is ever signalled."""

import sys
from pathlib import Path

import pytest

from taskjob_cluster import processes
from taskjob_cluster.errors import ClusterError
from taskjob_cluster.processes import ProcessId, mark_from_stat
from waiting import until

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)",
]
# Its first thread has ended, and so the kernel shows a zombie; another thread lives, as in a killed server that still
# writes to a slow disk.
HEADLESS = [
    sys.executable,
    "-c",
    "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(60,)).start()"
    "; ctypes.PyDLL(None).pthread_exit(None)",
]


def test_the_start_mark_is_read_past_a_name_with_blanks_and_brackets() -> None:
    stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2"
    assert mark_from_stat(stat, "boot") == "boot:987654"


def test_a_zombie_has_no_start_mark() -> None:
    assert mark_from_stat("42 (x) Z 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2", "boot") is None


def test_a_recycled_pid_is_neither_alive_nor_signalled(tmp_path: Path) -> None:
    running = processes.start(SLEEP, log=tmp_path / "log")
    stranger = ProcessId(running.pid, "another boot:1")
    assert not processes.alive(stranger)
    assert processes.stop(stranger)
    processes.kill(stranger)
    assert processes.alive(running)
    processes.kill(running)
    assert not processes.alive(running)


def test_a_process_that_ignores_sigterm_is_killed_after_its_time(tmp_path: Path) -> None:
    log = tmp_path / "log"
    running = processes.start(DEAF, log=log)
    until(lambda: "deaf" in processes.tail(log), "the process starts")
    assert not processes.stop(running, within=0.2)
    assert not processes.alive(running)


def test_a_process_lives_until_its_last_thread_has_ended_and_its_ports_are_free(tmp_path: Path) -> None:
    running = processes.start(HEADLESS, log=tmp_path / "log")
    state = Path(f"/proc/{running.pid}/stat")
    until(lambda: state.read_text().rpartition(")")[2].split()[0] == "Z", "its first thread ends")
    assert processes.alive(running)
    assert processes.stop(running)
    assert not processes.alive(running)


def test_output_goes_to_the_log_and_its_end_can_be_shown(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "x.log"
    running = processes.start([sys.executable, "-c", "print('first'); print('last'); input()"], log=log)
    until(lambda: not processes.alive(running), "input() ends at once: its standard input is empty")
    assert "last" in processes.tail(log)
    assert "EOFError" in processes.tail(log, lines=1)


def test_a_program_that_does_not_exist_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="/no/such/program could not be started"):
        processes.start(["/no/such/program"], log=tmp_path / "log")
