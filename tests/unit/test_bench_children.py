"""Processes that a run of the benchmark starts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from waiting import until

CHECKOUT = Path(__file__).parents[2]
A_RUN = """
import sys
from bench.suite import children
children.start([sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"], {}, 1)
sys.stdin.read()
"""


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (util-linux)")
def test_what_a_run_started_ends_with_it_also_where_it_is_killed() -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", A_RUN], cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    started = psutil.Process(int(run.stdout.readline()))
    assert runs(started)
    run.kill()
    run.communicate()
    until(lambda: not runs(started), "its child is ended, too")


def runs(process: psutil.Process) -> bool:
    """Not every init looks after orphans at once: one that has ended may lie about."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
