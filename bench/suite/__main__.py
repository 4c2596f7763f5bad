"""`python -m bench.suite`: run, profile, report, compare."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from taskjob_cluster import Cluster, components, up

from . import live, shapes
from .apiserver import ApiServer
from .compare import compared
from .figures import figures
from .meters import machine
from .peers import PEERS, operator
from .profile import table
from .run import Result, measure, told
from .work import Shape


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
        Shape("many", many.title, many.works, peers=False),
    )
    return {shape.name: shape for shape in every}


async def _run(options: argparse.Namespace, cluster: Cluster) -> list[Result]:
    known = _shapes(options)
    results: list[Result] = []

    def keep(result: Result) -> None:
        results.append(result)
        _save(options, results)

    async with ApiServer(cluster) as server:
        for repetition in range(options.repeat):
            for name in options.shapes:
                if name in live.SCENARIOS:
                    if repetition == 0:
                        result = await live.SCENARIOS[name](cluster, server, options.live)
                        print(json.dumps(result), flush=True)
                        keep(result)
                    continue
                shape = known[name]
                for peer in options.peers:
                    if shape.peers or PEERS[peer].graphs:
                        result = await measure(cluster, server, PEERS[peer], shape)
                        print(told(result), flush=True)
                        keep(result)
    return results


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
    known = ["free", "quota", "steady", "chain", "fan", "diamonds", "kueue-baseline", "many", *live.SCENARIOS]
    usual = ["free", "quota", "steady", "chain", "fan", "diamonds"]
    run.add_argument("--shapes", nargs="+", choices=known, default=usual, metavar="SHAPE", help=", ".join(known))
    run.add_argument("--peers", nargs="+", choices=list(PEERS), default=["taskjobs", "taskjobs-default"])
    run.add_argument("--jobs", type=int, default=2000, help="of the shapes free and quota (2000)")
    run.add_argument("--many", type=int, default=20000, help="of the shape many (20000)")
    run.add_argument("--seconds", type=float, default=30, help="of the shape steady (30)")
    run.add_argument("--per-queue", type=int, default=500, help="jobs in each queue of Kueue's baseline (500)")
    run.add_argument("--live", type=int, default=20000, help="jobs of the scenarios restart and churn (20000)")
    run.add_argument("--repeat", type=int, default=1, help="repetitions, peers interleaved (1); medians count")
    run.add_argument("--out", help="write the results to this JSON file")
    profile = commands.add_parser("profile", help="where the operator's CPU goes, under cProfile")
    profile.add_argument("--jobs", type=int, default=2000)
    report = commands.add_parser("report", help="a report with charts from a run's results")
    report.add_argument("run", type=Path)
    report.add_argument("folder", type=Path)
    comparing = commands.add_parser("compare", help="two runs side by side")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    return parser


def main() -> int:
    """Run the command; 0 also when a target is missed: the lines say so."""
    options = _parser().parse_args()
    if options.command == "report":
        from .report import write_report  # draws: seconds to import, and of no use to the others

        print(write_report(json.loads(options.run.read_text()), options.folder))
        return 0
    if options.command == "compare":
        print(compared(*(json.loads(path.read_text())["results"] for path in (options.before, options.after))))
        return 0
    options.machine = machine()
    print(json.dumps(options.machine), flush=True)
    with up(f"bench-{os.getpid()}", provider="kwok", die_with_parent=True) as cluster:
        if options.command == "profile":
            print(asyncio.run(_profile(options, cluster)))
            return 0
        results = asyncio.run(_run(options, cluster))
    for figure in figures(results):
        print(figure.line(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
