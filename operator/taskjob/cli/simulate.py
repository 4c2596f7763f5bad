"""`taskjob simulate TRACE`: what these jobs would go through with these queues."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from taskjob.cli.errors import CommandError
from taskjob.simulate.chart import draw
from taskjob.simulate.report import jobs_text, report
from taskjob.simulate.trace import TraceError, read
from taskjob.simulate.virtual import VirtualCluster


def register(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "simulate",
        help="try queues and quotas on a trace of jobs, without a cluster",
        description="Runs the scheduler itself against a virtual clock: docs/scheduling.md tells what a trace looks "
        "like, `taskjob trace export` makes one of your history.",
    )
    parser.add_argument("trace", metavar="TRACE", type=Path, help="a trace (YAML)")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--jobs", action="store_true", help="show job by job when it started and ended")
    shown.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--svg", metavar="FILE", type=Path, help="draw the course into this file")
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    try:
        trace = read(given.trace)
    except TraceError as error:
        raise CommandError(str(error)) from error
    outcome = VirtualCluster(trace).run()
    if given.jobs:
        print(jobs_text(outcome))
    elif given.json:
        print(json.dumps(report(outcome).json(), indent=2))
    else:
        print(report(outcome).text())
    if given.svg is not None:
        try:
            given.svg.write_text(draw(outcome, given.trace.stem))
        except OSError as error:
            raise CommandError(f"{given.svg} cannot be written: {error}") from error
    return 0
