"""`python -m bench.suite`: run, profile, report, compare."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import aiohttp

from taskjob_cluster import Cluster, components, up

from . import live, shapes
from .apiserver import ApiServer
from .compare import compared
from .figures import figures
from .meters import machine
from .page import shown
from .peers import PEERS, operator
from .profile import table
from .run import LONGEST_SECONDS, Result, measure, told
from .work import Ability, Shape

NODES = 24
"""Simulated ones, of a thousand CPUs each: "room for all" is true of 20,000 jobs, too, and on every machine."""


def _shapes(options: argparse.Namespace) -> dict[str, Shape]:
    many = shapes.free(options.many)
    every = (
        shapes.free(options.jobs),
        shapes.quota(options.jobs),
        shapes.steady(seconds=options.seconds),
        shapes.chain(),
        shapes.fan(),
        shapes.diamonds(),
        shapes.kueue_baseline(options.per_queue),
        shapes.nodes(options.jobs),
        shapes.logs(options.jobs),
        Shape("many", many.title, many.works, needs=frozenset(Ability)),  # ours alone
    )
    return {shape.name: shape for shape in every}


async def _run(options: argparse.Namespace, cluster: Cluster) -> tuple[list[Result], list[str]]:
    """The results, and what failed."""
    known = _shapes(options)
    results: list[Result] = []
    failed: list[str] = []
    patience = min(LONGEST_SECONDS, options.minutes * 60 / 9)  # of one run; none of those takes a ninth of the time

    async def keep(what: str, running: Awaitable[Result], words: Callable[[Result], str]) -> None:
        try:
            result = await running
        except (RuntimeError, aiohttp.ClientError) as error:  # one that fails leaves the others' figures
            print(f"{what}: FAILED: {error}", flush=True)
            failed.append(what)
            return
        print(words(result), flush=True)
        results.append(result)
        _save(options, results)

    async with ApiServer(cluster) as server:
        ends_at = time.monotonic() + options.minutes * 60
        took: dict[str, float] = {}  # seconds of a shape with all its peers, the last time
        for repetition in range(options.repeat):
            peers = options.peers if repetition % 2 == 0 else options.peers[::-1]  # nobody always comes last
            for name in options.shapes:
                if name in live.SCENARIOS:
                    if repetition == 0:
                        scenario, count = live.SCENARIOS[name]
                        await keep(name, scenario(cluster, server, min(count, options.live)), json.dumps)
                    continue
                shape, begun = known[name], time.monotonic()
                if begun + took.get(name, 0) > ends_at:
                    print(f"{shape.title}: not run again, it would end too late", flush=True)
                    continue
                for peer in peers:
                    if shape.needs <= PEERS[peer].knows:
                        await keep(f"{name} {peer}", measure(cluster, server, PEERS[peer], shape, patience), told)
                took[name] = time.monotonic() - begun
    return results, failed


def _save(options: argparse.Namespace, results: Sequence[Result]) -> None:
    if options.out is None:
        return
    run = {
        "machine": options.machine,
        "versions": {"kubernetes": components.KUBERNETES, "etcd": components.ETCD, "kueue": components.KUEUE},
        "settings": {key: getattr(options, key) for key in ("jobs", "many", "seconds", "per_queue", "live", "repeat")},
        "results": list(results),
    }
    Path(options.out).write_text(json.dumps(run, indent=1) + "\n")


async def _profile(options: argparse.Namespace, cluster: Cluster) -> str:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "operator.profile"
        peer = replace(PEERS["taskjobs"], start=partial(operator, profile=place))
        async with ApiServer(cluster) as server:
            print(told(await measure(cluster, server, peer, shapes.free(options.jobs))), flush=True)
        return table(place, options.jobs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.suite", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure, print the figures as JSON lines, write the results")
    usual = ["free", "quota", "nodes", "logs", "steady", "chain", "fan", "diamonds"]
    known = [*usual, "kueue-baseline", "many", *live.SCENARIOS]
    run.add_argument("--shapes", nargs="+", choices=known, default=usual, metavar="SHAPE", help=", ".join(known))
    run.add_argument("--peers", nargs="+", choices=list(PEERS), default=["taskjobs", "taskjobs-default"])
    run.add_argument("--jobs", type=int, default=2000, help="of the shapes free and quota (2000)")
    run.add_argument("--many", type=int, default=20000, help="of the shape many (20000)")
    run.add_argument("--seconds", type=float, default=30, help="of the shape steady (30)")
    run.add_argument("--per-queue", type=int, default=500, help="jobs in each queue of Kueue's baseline (500)")
    run.add_argument("--live", type=int, default=50000, help="jobs of restart, pending and churn at most (50000)")
    run.add_argument("--repeat", type=int, default=1, help="repetitions, peers interleaved (1); medians count")
    run.add_argument("--minutes", type=float, default=math.inf, help="repeat no shape that would end later")
    run.add_argument("--out", help="write the results to this JSON file")
    profile = commands.add_parser("profile", help="where the operator's CPU goes, under cProfile")
    profile.add_argument("--jobs", type=int, default=2000)
    report = commands.add_parser("report", help="a report with charts from a run's results")
    report.add_argument("run", type=Path)
    report.add_argument("folder", type=Path)
    report.add_argument("--shown-in", type=Path, help="show its figures and charts between the marks of this page, too")
    comparing = commands.add_parser("compare", help="two runs side by side")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    return parser


def main() -> int:
    """Run the command; 0 also when a target is missed: the lines say so. 1 if something did not run to its end."""
    options = _parser().parse_args()
    if options.command == "report":
        from .charts import write_report  # draws: seconds to import, and of no use to the others

        run = json.loads(options.run.read_text())
        print(write_report(run, options.folder))
        if options.shown_in is not None:
            text = options.shown_in.read_text()
            options.shown_in.write_text(shown(text, run, str(options.folder.relative_to(options.shown_in.parent))))
        return 0
    if options.command == "compare":
        print(compared(*(json.loads(path.read_text())["results"] for path in (options.before, options.after))))
        return 0
    options.machine = machine()
    print(json.dumps(options.machine), flush=True)
    with up(f"bench-{os.getpid()}", provider="kwok", kwok_nodes=NODES, die_with_parent=True) as cluster:
        if options.command == "profile":
            print(asyncio.run(_profile(options, cluster)))
            return 0
        results, failed = asyncio.run(_run(options, cluster))
    for figure in figures(results):
        print(figure.line(), flush=True)
    if failed:
        print(f"These failed, see above: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
