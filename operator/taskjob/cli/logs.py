"""`taskjob logs NAME`: a job's log, from its pod or from history; with `-f`, attempt after attempt until the job ends.

Bytes come out as the container wrote them. What is missing is said on standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from taskjob.cli.answers import End, Job, Mark, Refusal
from taskjob.cli.connection import ApiClient, add_options, connect
from taskjob.cli.errors import CommandError, NotFoundError, OddAnswerError

ENDED: Final = ("Succeeded", "Failed", "Cancelled", "Skipped")
_AGAIN_SECONDS: Final = 1.0
_PATIENCE: Final = 30
"""Connections that break one after the other, without a line between them, before we give up."""


def register(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("logs", help="show what a job writes, or wrote, also when its pod is gone")
    parser.add_argument("name", metavar="NAME", help="the job's name")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the job has ended")
    parser.add_argument("--attempt", type=_attempt, metavar="N", help="this attempt; otherwise the current or last one")
    parser.add_argument("-c", "--container", metavar="NAME", help="this container; otherwise the main one")
    parser.add_argument("--tail", type=int, metavar="N", help="only so many lines of the end")
    parser.add_argument("--since", metavar="WHEN", help="only what was written since: 10m, or 2026-01-31T12:00:00Z")
    parser.add_argument("--timestamps", action="store_true", help="with the time before each line")
    add_options(parser)
    parser.set_defaults(run=_run)


def _attempt(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"there is no attempt {number}: the first one is 1")
    return number


def _run(given: argparse.Namespace) -> int:
    asyncio.run(_logs(given))
    return 0


async def _logs(given: argparse.Namespace) -> None:
    query = {
        name: str(value)
        for name, value in (("container", given.container), ("tail", given.tail), ("since", given.since))
        if value is not None
    }
    if given.timestamps:
        query["timestamps"] = "true"
    async with connect(given) as api:
        job = await api.find(given.name)
        path = f"/jobs/{job.id}/logs"
        if given.follow:
            await _follow(api, job, path, query, given.attempt)
            return
        if given.attempt is not None:
            query["attempt"] = str(given.attempt)
        async with api.stream(path, query) as response:
            async for chunk in response.content.iter_any():
                _write(chunk)


async def _follow(api: ApiClient, job: Job, path: str, query: dict[str, str], only: int | None) -> None:
    """One attempt after the other, until the job has ended."""
    attempt, said = only or job.attempt, ""
    while True:
        job = await api.get(f"/jobs/{job.id}", Job)
        attempt = attempt or job.attempt
        if 0 < attempt <= job.attempt:
            try:
                end = await _follow_attempt(api, path, query | {"attempt": str(attempt)})
            except NotFoundError as error:  # its container has not started yet, or never will
                if attempt == job.attempt and job.phase not in ENDED:
                    await asyncio.sleep(_AGAIN_SECONDS)
                    continue
                if only is not None or attempt == job.attempt:
                    raise
                _say(str(error))
            else:
                if only is not None or end.job_phase in ENDED:
                    return
            attempt += 1
            query.pop("tail", None)
            continue
        if job.phase in ENDED:
            if job.attempt == 0:
                raise CommandError(f"{job.name} never started: {job.phase}, {job.reason}")
            if only is not None:
                raise CommandError(f"{job.name} has no attempt {only}: its last one is {job.attempt}")
            return  # it ended while it waited for this attempt
        waits = f"waits: {job.reason}" + (f", {job.message}" if job.message else "")
        if job.phase == "Pending" and waits != said:
            said = waits
            _say(f"{job.name} {waits}")
        await asyncio.sleep(_AGAIN_SECONDS)


async def _follow_attempt(api: ApiClient, path: str, query: dict[str, str]) -> End:
    """The log of one attempt, through broken connections; what the API says at its end."""
    last, failures, answered = "", 0, False
    wanted = query | {"follow": "true", "encoding": "base64"}
    while True:
        try:
            async with api.stream(path, wanted, headers={"Last-Event-ID": last} if last else {}) as response:
                answered = True
                async for event in events(response.content):
                    last = event.identity or last
                    failures = 0
                    if event.kind == "message":
                        _write(base64.b64decode(event.content))
                    elif event.kind == "mark":
                        _say(api.read(event.content, Mark).message)
                    elif event.kind == "end":
                        return api.read(event.content, End)
                    elif event.kind == "problem":
                        raise CommandError(api.read(event.content, Refusal).detail)
        except ValueError as error:  # no base64, no UTF-8
            raise api.odd(error) from error
        except (NotFoundError, OddAnswerError):
            raise
        except CommandError:
            failures += 1
            if failures >= _PATIENCE or not answered:  # what never worked is wrong, not broken
                raise
        await asyncio.sleep(_AGAIN_SECONDS)


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event."""

    kind: str
    identity: str
    content: str


async def events(content: aiohttp.StreamReader) -> AsyncIterator[Event]:
    """Server-sent events out of an answer's body."""
    kind, identity, data, rest = "message", "", list[str](), b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for raw in lines:
            line = raw.decode()
            if not line:
                if data:
                    yield Event(kind, identity, "\n".join(data))
                kind, data = "message", []
            elif line.startswith("event: "):
                kind = line[7:]
            elif line.startswith("id: "):
                identity = line[4:]
            elif line.startswith("data: "):
                data.append(line[6:])


def _write(body: bytes) -> None:
    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()


def _say(sentence: str) -> None:
    print(f"taskjob: {sentence}", file=sys.stderr)
