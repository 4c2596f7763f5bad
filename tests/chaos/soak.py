"""`python -m chaos.soak`: a steady load for as long as one likes, with faults, and whether anything grows.

The load and its latencies are those of `bench.suite` (one-pod jobs that are removed as soon as history holds them), the
faults, wires and processes those of the schedules. Only faults that a process lives through are played: what a restart
sweeps away would hide what grows. The first quarter of the time is for warming up; then the last is held against the
second.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median
from typing import Final

import psutil
from bench.suite.apiserver import ApiServer
from bench.suite.peers import PEERS, PODS, queue_manifests
from bench.suite.run import create, watching
from bench.suite.work import Quota, Seen, Shape, Work, percentile

from operators import Site
from replicas import Replicas, figure

from .faults import TABLE
from .listener import Listener
from .schedule import House
from .stage import Fault, NotPlayedError, Stage, hold

PEER: Final = PEERS["taskjobs-default"]
RATE: Final = 30.0
RUNS_SECONDS: Final = 1.0
SAMPLE_SECONDS: Final = 2.0
BETWEEN_STRIKES: Final = (8.0, 20.0)
END_SECONDS: Final = 300
_LIVED_THROUGH: Final = {"way to the API server", "watches", "PostgreSQL", "nodes"}
_ENDS_A_PROCESS: Final = {"watches-told-an-error", "lists-stale"}


def lived_through() -> list[Fault]:
    """The faults that no process of ours has to be started again for."""
    return [
        fault
        for fault in TABLE
        if fault.part in _LIVED_THROUGH and not fault.alone and fault.name not in _ENDS_A_PROCESS
    ]


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a process, so many seconds after the beginning."""

    at: float
    rss_mb: float
    descriptors: int


@dataclass(slots=True)
class Course:
    """What was seen: of the jobs when they were made and seen to end, of each process its samples; `restarts`: which
    operators ended and how."""

    seconds: float
    begun: float = field(default_factory=time.monotonic)
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    strikes: list[str] = field(default_factory=list)
    seen: Seen = field(default_factory=Seen)
    left_behind: int = 0
    restarts: list[tuple[str, int]] = field(default_factory=list)

    def look(self, name: str, pid: int) -> None:
        """At a process; one that is being started again is passed over."""
        try:
            process = psutil.Process(pid)
            sample = Sample(time.monotonic() - self.begun, process.memory_info().rss / 1e6, process.num_fds())
        except psutil.NoSuchProcess:
            return
        self.samples.setdefault(name, []).append(sample)

    def quarter(self, number: int) -> tuple[float, float]:
        """From when to when it lasts, in seconds after the beginning; they count from 1."""
        return self.seconds * (number - 1) / 4, self.seconds * number / 4

    def typical(self, name: str, number: int, of: Callable[[Sample], float]) -> float:
        """Of a process in a quarter."""
        begin, end = self.quarter(number)
        return median(of(each) for each in self.samples[name] if begin <= each.at < end)

    def lag(self, number: int) -> list[float]:
        """Seconds from create to end, of the jobs that were made in a quarter; one that never ended took until now."""
        begin, end = self.quarter(number)
        finished = self.seen.finished
        now = max((*self.seen.created.values(), *finished.values()))
        return [
            finished.get(name, now) - at for name, at in self.seen.created.items() if begin <= at - self.begun < end
        ]


def under_strikes(stage: Stage, draw: random.Random, course: Course, work: Callable[[], None]) -> None:
    """Do that in another thread, while faults strike, one after the other. They are played here, since what a fault
    starts anew ends with the thread that did it."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    faults, thread = lived_through(), threading.Thread(target=run, name="load", daemon=True)
    thread.start()
    while True:
        thread.join(draw.uniform(*BETWEEN_STRIKES))
        if not thread.is_alive():
            break
        fault = draw.choice(faults)
        with suppress(NotPlayedError), fault.play(stage):
            course.strikes.append(fault.name)
            hold(draw.uniform(*fault.holds))
    if failed:
        raise failed[0]


async def load(site: Site, rate: float, course: Course, look: Callable[[], None]) -> None:
    """Make jobs at that rate for as long as the course lasts, then wait until nothing of them is left."""

    async def sample() -> None:
        while True:
            await asyncio.to_thread(look)
            await asyncio.sleep(SAMPLE_SECONDS)

    async with ApiServer(site.cluster) as server, watching(server, PEER) as found:
        found.seen = course.seen
        sampling = asyncio.create_task(sample())
        course.begun, made = time.monotonic(), 0
        psutil.cpu_percent()  # the next call tells of the time from here on
        while made < rate * course.seconds:  # by the minute, so that little has to be remembered
            count = int(min(rate * 60, rate * course.seconds - made) + 0.5) or 1
            works = [Work(f"soak-{made + n}", at=n / rate, seconds=RUNS_SECONDS) for n in range(count)]
            await create(server, PEER, works, found.seen)
            made += count
            open_now = len(found.seen.created) - len(found.seen.finished)
            busy = psutil.cpu_percent()  # of all, since the line before: whether the machine is what jobs wait for
            print(f"{made} made, {open_now} open, {len(course.strikes)} faults, CPUs {busy:.0f} % busy", flush=True)
        sampling.cancel()
        names = list(found.seen.created)
        try:
            await found.until(found.seen.until(names, nothing_left=True), END_SECONDS)
        except RuntimeError as error:  # the figures say what it comes to
            print(error, flush=True)
        course.left_behind = await server.count(PEER.path) + await server.count(
            f"{PODS}?labelSelector={PEER.job_label}"
        )


def play(house: House, minutes: float, rate: float, seed: int) -> Course:
    """The whole course."""
    course = Course(minutes * 60)
    draw = random.Random(seed)
    shape = Shape("soak", "", [], (Quota("bench", 1_000_000),))
    house.cluster.kubectl("apply", "-f", "-", input=queue_manifests(shape))
    with house.site() as site:
        server = house.wires.api.url
        with (
            Replicas(site, 1, lease_seconds=15, renew_deadline_seconds=10, server=server, log_follows=0) as replicas,
            Listener(site, server) as listener,
        ):

            def look() -> None:
                course.look("operator", replicas.all[0].pid)
                course.look("api", listener.pid)

            stage = Stage(site, replicas, house.postgres, house.disk, house.wires, [], draw)
            under_strikes(stage, draw, course, lambda: asyncio.run(load(site, rate, course, look)))
            course.restarts = list(replicas.exits)
        return course


def judged(course: Course, rate: float, out: Callable[[str], None] = print) -> list[str]:
    """Prints the figures; what is not as it must be, in words."""
    missed: list[str] = []

    def tell(name: str, value: float, unit: str, target: float, *, at_least: bool = False) -> None:
        met = value >= target if at_least else value <= target
        figure(name, value, unit, target, met=met, out=out)
        if not met:
            missed.append(f"{name} is {value:.3g} {unit}, {'at least' if at_least else 'at most'} {target:g} it may be")

    tell("soak_restarts", len(course.restarts), "count", 0)  # what grew began anew: the rest would prove nothing
    made, ended = len(course.seen.created), len(course.seen.finished)
    tell("soak_rate", made / (max(course.seen.created.values()) - course.begun), "jobs/s", 0.98 * rate, at_least=True)
    tell("soak_unfinished", made - ended, "count", 0)
    for name in sorted(course.samples):
        before, after = (course.typical(name, number, lambda each: each.rss_mb) for number in (2, 4))
        tell(f"soak_{name}_rss_ratio", after / before, "ratio", 1.10)
        before, after = (course.typical(name, number, lambda each: each.descriptors) for number in (2, 4))
        tell(f"soak_{name}_descriptors_growth", after - before, "count", 5)
    lag = {number: median(course.lag(number)) for number in (2, 4)}
    tell("soak_lag_ratio", lag[4] / lag[2], "ratio", 1.25)
    tell("soak_left_behind", course.left_behind, "count", 0)
    slowest = percentile((each for number in (1, 2, 3, 4) for each in course.lag(number)), 0.99)
    out(f"create to end: {lag[2]:.2f} s, then {lag[4]:.2f} s (median); p99 {slowest:.2f} s, faults included")
    return missed


def main(arguments: Sequence[str] | None = None) -> int:
    """Play it, print figures and verdict. Exit code 1 if something grew, was late or was left behind."""
    parser = argparse.ArgumentParser(prog="chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=RATE, help="jobs a second")
    parser.add_argument("--seed", type=int, default=0, help="of the faults; 0: drawn at random, and printed")
    options = parser.parse_args(arguments)
    seed = options.seed or random.SystemRandom().randrange(1, 10**6)
    print(f"{options.minutes:g} minutes at {options.rate:g} jobs/s; seed {seed} repeats the faults", flush=True)
    with House(f"soak-{os.getpid()}", audit=False) as house:  # nobody reads it, and each of its lines is waited for
        course = play(house, options.minutes, options.rate, seed)
    print(f"{len(course.strikes)} faults: {', '.join(course.strikes)}")
    if course.restarts:
        print(f"the operator was started again: {course.restarts}")
    missed = judged(course, options.rate)
    print("flat: nothing grew" if not missed else "NOT FLAT: " + "; ".join(missed))
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
