"""How the operator keeps its memory, seen in a process of its own."""

from __future__ import annotations

import subprocess
import sys

READS = 200
A_READ = """
import resource
from taskjob import heap

heap.settle()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def read():
    return len(b"x" * 262_144)

for _ in range(20):
    read()
before = faults()
for _ in range({reads}):
    read()
print(faults() - before)
"""

MIBS = 64
BETWEEN = """
from pathlib import Path
from resource import getpagesize
from taskjob import heap

heap.settle()

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize() // 2**20

kept = [bytes(1024) for _ in range({mibs} * 1024)]
kept = kept[::100]
before = resident()
heap.give_back()
print(before - resident())
"""


def test_a_block_as_large_as_a_read_of_tls_comes_from_what_the_process_has() -> None:
    """A block that is mapped for each read has 64 pages that are new each time."""
    ran = subprocess.run(
        [sys.executable, "-c", A_READ.format(reads=READS)], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(ran.stdout) < READS, "each read is given new pages"


def test_what_a_burst_leaves_free_between_blocks_in_use_is_given_back() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", BETWEEN.format(mibs=MIBS)], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(ran.stdout) > MIBS / 2
