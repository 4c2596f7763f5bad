"""`taskjob explain NAME`: why a job is where it is."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from taskjob.cli.connection import add_options, connect


def register(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("explain", help="say why a job does not run, or what became of it")
    parser.add_argument("name", metavar="NAME", help="the job's name")
    add_options(parser)
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    print(asyncio.run(_explain(given)))
    return 0


async def _explain(given: argparse.Namespace) -> str:
    async with connect(given) as api:
        return sentence(await api.find(given.name))


def sentence(job: dict[str, Any]) -> str:
    """A job as one line for people."""
    said = f"{job['namespace']}/{job['name']} is {job['phase']}: {job['reason']}"
    return f"{said}: {job['message']}" if job["message"] else said
