"""`taskjob cancel`, `suspend`, `resume` and `rerun`: of jobs by their names, or of a whole group by its label.

Each job is changed by itself: what could not be done of one is said, the others are done, and the command ends with 1.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from taskjob.cli.answers import Job, ToldPage
from taskjob.cli.connection import ApiClient, add_options, connect
from taskjob.cli.errors import CommandError
from taskjob.core.phases import Phase

_PAGE: Final = "100"


@dataclass(frozen=True, slots=True)
class Wish:
    """One of the commands. `done` is what is said of a job when the API server has taken it."""

    name: str
    done: str
    help: str
    of_a_group: str


WISHES: Final = (
    Wish("cancel", "is cancelled", "end jobs; running ones get their grace period", "all that has not ended"),
    Wish("suspend", "is suspended", "end running attempts, uncharged, and hold the jobs", "all that has not ended"),
    Wish("resume", "is resumed", "queue suspended jobs again", "all that is suspended"),
    Wish("rerun", "runs again", "run finished jobs again, others once they have finished", "all that has ended"),
)


def register(commands: Any) -> None:
    """Add the subcommands."""
    for wish in WISHES:
        parser = commands.add_parser(wish.name, help=wish.help)
        parser.add_argument("names", metavar="NAME", nargs="*", help="the jobs' names")
        parser.add_argument("--group", help=f"of the jobs with the label taskjobs.dev/group: {wish.of_a_group}")
        parser.add_argument(
            "--phase",
            action="append",
            choices=[phase.value for phase in Phase],
            help="with --group: only those in this phase; may be said again",
        )
        add_options(parser)
        parser.set_defaults(run=_run, wish=wish, refuse=parser.error)


def _run(given: argparse.Namespace) -> int:
    if bool(given.names) is bool(given.group):
        given.refuse("say which: NAME... or --group GROUP")
    if given.phase and not given.group:
        given.refuse("--phase chooses among the jobs of --group")
    return asyncio.run(_ask(given, given.wish))


async def _ask(given: argparse.Namespace, wish: Wish) -> int:
    failed = 0
    async with connect(given) as api:
        told = _group(api, wish, given.group, given.phase) if given.group else _jobs(api, wish, given.names)
        async for name, problem in told:
            failed += problem is not None
            if problem is None:
                print(f"{api.namespace}/{name} {wish.done}")
            else:
                print(f"taskjob: {problem}", file=sys.stderr)
    return 1 if failed else 0


async def _jobs(api: ApiClient, wish: Wish, names: list[str]) -> AsyncIterator[tuple[str, str | None]]:
    """What came of each."""
    for name in dict.fromkeys(names):
        try:
            job = await api.find(name)
            await api.patch(f"/jobs/{job.id}/{wish.name}", Job)
        except CommandError as error:
            yield name, str(error)
        else:
            yield name, None


async def _group(
    api: ApiClient, wish: Wish, group: str, phases: list[str] | None
) -> AsyncIterator[tuple[str, str | None]]:
    """What came of each; what needed nothing is counted at the end."""
    query: dict[str, str | list[str]] = {"namespace": api.namespace, "limit": _PAGE, "phase": phases or []}
    others, path = 0, f"/jobs/group/{quote(group, safe='')}/{wish.name}"
    async for page in api.pages(path, ToldPage, query, method="PATCH"):
        others += page.unchanged
        for item in page.items:
            yield item.name, item.problem and f"{item.namespace}/{item.name}: {item.problem}"
    if others:
        print(f"{others} other job{'s' if others != 1 else ''} of group {group}: nothing to do")
