"""`python -m chaos`: play schedules, print what broke and the figures. Exit code 1 if anything did."""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import traceback
from collections import Counter
from contextlib import suppress
from pathlib import Path

from replicas import figure

from .faults import TABLE
from .schedule import JOBS, STRIKES, House, Schedule, Verdict

SIMULATED = Path(__file__).parents[1] / "properties" / "test_schedules.py"


def simulated(count: int) -> int:
    """Play so many schedules over the real control loop with fakes and a virtual clock; how many broke."""
    environment = {**os.environ, "TASKJOBS_SCHEDULES": str(count)}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--no-header",
            "--durations=0",
            "-p",
            "no:cacheprovider",
            str(SIMULATED),
        ],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    print(done.stdout[-3000:], flush=True)
    told = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed)", done.stdout)}
    played, failed = sum(told.values()), told.get("failed", 0) or int(done.returncode != 0)
    figure("schedules_simulated", played, "count", count, met=played >= count)
    return failed


def played(schedule: Schedule) -> Verdict:
    """What came of it. One that ends in an error has broken something, too; the others are played all the same."""
    try:
        return schedule.play()
    except Exception:
        schedule.verdict.broken["a schedule can be played to its end"] = [traceback.format_exc()]
        return schedule.verdict


def main() -> int:
    """Play them."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--schedules", type=int, default=20, help="how many; seeds count up from the first")
    parser.add_argument("--seed", type=int, default=0, help="the first seed; 0: drawn at random, and printed")
    parser.add_argument("--jobs", type=int, default=JOBS, help="of each schedule")
    parser.add_argument("--strikes", type=int, default=STRIKES, help="of each schedule")
    parser.add_argument("--simulated", type=int, default=0, help="schedules in virtual time to play before")
    options = parser.parse_args()
    simulated_broken = simulated(options.simulated) if options.simulated else 0
    first = options.seed or random.SystemRandom().randrange(1, 10**6)
    repeat = f"--jobs {options.jobs} --strikes {options.strikes}"
    verdicts: list[Verdict] = []
    with suppress(KeyboardInterrupt), House(f"chaos-{os.getpid()}") as house:  # tells what was played by then
        for seed in range(first, first + options.schedules):
            print(f"seed {seed}: repeat with `make chaos SCHEDULES=1 SEED={seed}` ({repeat})", flush=True)
            verdict = played(Schedule(house, seed, jobs=options.jobs, strikes=options.strikes))
            print(verdict.told(), flush=True)
            if verdict.broken:
                print(f"---------------- log of the operators\n{verdict.log}\n----------------", flush=True)
            verdicts.append(verdict)
    tried = Counter(name for verdict in verdicts for name in verdict.played)
    print("faults tried:")
    for part in dict.fromkeys(fault.part for fault in TABLE):
        of_it = [fault for fault in TABLE if fault.part == part]
        print(f"{sum(tried[fault.name] for fault in of_it):4} x {part}")
        for fault in of_it:
            print(f"    {tried[fault.name]:4} x {fault.name}")
    broken = sum(len(verdict.broken) for verdict in verdicts) + simulated_broken
    figure("schedules_real", len(verdicts), "count", options.schedules, met=len(verdicts) >= options.schedules)
    figure("invariants_broken", broken, "count", 0, met=broken == 0)
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
