"""`taskjob trace export`: the jobs of the past as a trace for the simulator."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import yaml

from taskjob.cli.answers import Job, Page
from taskjob.cli.connection import ApiClient, add_options, connect
from taskjob.cli.errors import CommandError

_PAGE: Final = 500
_UNITS: Final = {"m": 60, "h": 3600, "d": 86_400}
_HEAD: Final = """\
# {count} jobs of {where}, from {begin}, as a trace for `taskjob simulate`.
# Give the queues the quotas that you want to try: below they have none.
"""
_UNKNOWN: Final = """# What {count} of the jobs requested history does not know; they are taken to ask for {asks}.
"""


def register(commands: Any) -> None:
    """Add the subcommand and its own."""
    parser = commands.add_parser("trace", help="make traces for the simulator")
    own = parser.add_subparsers(metavar="COMMAND", required=True)
    export = own.add_parser(
        "export",
        help="of the jobs that history has",
        description="Writes the jobs that ended as a trace: when each came, what it requested, how long its last "
        "attempt ran and how it ended, its queue, priority and dependencies.",
    )
    export.add_argument("--since", metavar="TIME", default="24h", type=_ago, help="such as 90m, 24h (the default), 7d")
    export.add_argument("--queue", help="of this queue only")
    export.add_argument(
        "--asks",
        metavar="RESOURCE=AMOUNT",
        nargs="+",
        default=[],
        type=_request,
        help="what those request of which history does not know it, such as cpu=1 memory=2Gi",
    )
    export.add_argument("-o", "--output", metavar="FILE", type=Path, help="otherwise it is printed")
    add_options(export)
    export.set_defaults(run=_run)


def _ago(text: str) -> timedelta:
    found = re.fullmatch(r"([0-9]{1,6})([mhd])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 90m, 24h or 7d")
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


def _request(text: str) -> tuple[str, str]:
    resource, equals, amount = text.partition("=")
    if not resource or not equals or not amount:
        raise argparse.ArgumentTypeError(f"{text!r} is not a request such as cpu=1")
    return resource, amount


def _run(given: argparse.Namespace) -> int:
    jobs = asyncio.run(_ask(given))
    written, left_out = trace(jobs, dict(given.asks), given.namespace or "all namespaces that you may read")
    if left_out:
        print(f"taskjob: left out, since they have not ended: {left_out}", file=sys.stderr)
    if given.output is None:
        print(written, end="")
    else:
        try:
            given.output.write_text(written)
        except OSError as error:
            raise CommandError(f"{given.output} cannot be written: {error}") from error
    return 0


async def _ask(given: argparse.Namespace) -> list[Job]:
    async with connect(given) as api:
        return [job async for job in _pages(api, given)]


async def _pages(api: ApiClient, given: argparse.Namespace) -> AsyncIterator[Job]:
    since = datetime.now(UTC) - given.since
    query = {"limit": str(_PAGE), "createdAfter": since.strftime("%Y-%m-%dT%H:%M:%SZ")}
    for name, value in (("namespace", given.namespace), ("queue", given.queue)):
        if value is not None:
            query[name] = value
    async for page in api.pages("/jobs/", Page, query):
        for job in page.items:
            yield job


def trace(jobs: Iterable[Job], asks: dict[str, str], where: str) -> tuple[str, int]:
    """The trace of these jobs, as `GET /jobs/` shows them, and how many were left out since they have not ended.

    Of several jobs of one name the later ones get a number: dependents mean the first.
    """
    seen = sorted(jobs, key=lambda job: (job.created_at, job.namespace, job.name, job.id))
    ended = [job for job in seen if job.finished_at is not None]
    begin = ended[0].created_at if ended else datetime.now(UTC)
    names: dict[tuple[str, str], int] = {}
    items = []
    for job in ended:
        key = (job.namespace, job.name)
        names[key] = names.get(key, 0) + 1
        items.append(_item(job, begin, names[key], asks))
    head = _HEAD.format(count=len(items), where=where, begin=begin.isoformat())
    if unknown := sum(job.requests is None for job in ended):
        taken = " ".join(f"{resource}={amount}" for resource, amount in asks.items())
        head += _UNKNOWN.format(count=unknown, asks=taken or "nothing (say --asks cpu=1)")
    queues = [{"name": name, "spec": {}} for name in sorted({job.queue for job in ended})]
    return head + _listed("queues", queues) + _listed("jobs", items), len(seen) - len(ended)


def _item(job: Job, begin: datetime, number: int, asks: dict[str, str]) -> dict[str, Any]:
    spec: dict[str, Any] = {"queue": job.queue}
    if job.priority != "Normal":
        named = re.fullmatch(r"-?[0-9]{1,9}", job.priority) is None
        spec["priority"] = job.priority if named else int(job.priority)
    if job.depends_on:
        spec["dependsOn"] = [{"name": each.name, "condition": each.condition} for each in job.depends_on]
    item: dict[str, Any] = {
        "metadata": {"namespace": job.namespace, "name": job.name + (f"-again-{number}" if number > 1 else "")},
        "at": round((job.created_at - begin).total_seconds(), 3),
        "runs": _ran(job),
        "spec": spec,
    }
    if job.phase == "Failed":
        item["ends"] = "Failed"
    requests = asks if job.requests is None else job.requests
    if requests:
        item["asks"] = requests
    return item


def _ran(job: Job) -> float:
    if job.started_at is None or job.finished_at is None:
        return 0.0
    return max(round((job.finished_at - job.started_at).total_seconds(), 3), 0.0)


def _listed(name: str, items: list[dict[str, Any]]) -> str:
    if not items:
        return f"{name}: []\n"
    lines = (yaml.safe_dump(item, default_flow_style=True, width=10**9, sort_keys=False).strip() for item in items)
    return f"{name}:\n" + "".join(f"- {line}\n" for line in lines)
