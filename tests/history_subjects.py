"""Histories under test: the fake, and PostgreSQL."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from datetime import datetime

import asyncpg

from fakes_history import FakeHistory
from taskjob.core.model import AttemptId, Job, Uid
from taskjob.history.connection import Limits
from taskjob.history.writer import HistoryWriter
from taskjob.ports import (
    HistoryPort,
    Log,
)

Told = tuple[str, int, str, str, int]


class Subject(ABC):
    """A history under test, and what one sees of it from outside."""

    history: HistoryPort

    @abstractmethod
    async def told(self) -> list[Told]:
        """(uid, attempt, from, to, n) in the order of the sequence."""

    @abstractmethod
    async def job(self, uid: str) -> tuple[str, str, int, datetime | None]:
        """(phase, message, transition, gone_at)"""

    @abstractmethod
    async def attempt(self, attempt: AttemptId) -> tuple[str, int | None, str | None]:
        """(pod's name, exit code, failure)"""

    @abstractmethod
    async def log(self, attempt: AttemptId, container: str) -> tuple[bytes, int, str]:
        """(body, cut bytes, note)"""

    @abstractmethod
    def unavailable(self) -> HistoryPort:
        """The same kind of history, but it cannot be reached."""


class Fake(Subject):
    def __init__(self) -> None:
        self.fake = FakeHistory()
        self.history = self.fake

    async def told(self) -> list[Told]:
        return [(t.attempt.uid, t.attempt.attempt, t.from_phase or "", t.to_phase, t.n) for t in self.fake.transitions]

    async def job(self, uid: str) -> tuple[str, str, int, datetime | None]:
        known = self.fake.jobs[Uid(uid)]
        return known.job.status.phase, known.job.status.message, known.transition, known.gone_at

    async def attempt(self, attempt: AttemptId) -> tuple[str, int | None, str | None]:
        pod = self.fake.attempts[attempt]
        return pod.name, pod.exit_code, pod.failure

    async def log(self, attempt: AttemptId, container: str) -> tuple[bytes, int, str]:
        log = self.fake.logs[attempt, container]
        return log.body, log.cut_bytes, log.note

    def unavailable(self) -> HistoryPort:
        return FakeHistory(available=False)


class Real(Subject):
    def __init__(self, writer: HistoryWriter, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self.history = writer
        self.connection = connection

    async def told(self) -> list[Told]:
        rows = await self.connection.fetch("SELECT uid, attempt, from_phase, to_phase, n FROM transitions ORDER BY seq")
        return [(r["uid"], r["attempt"], r["from_phase"], r["to_phase"], r["n"]) for r in rows]

    async def job(self, uid: str) -> tuple[str, str, int, datetime | None]:
        r = await self.connection.fetchrow("SELECT phase, message, transition, gone_at FROM jobs WHERE uid = $1", uid)
        assert r is not None, f"history knows no job {uid}"
        return r["phase"], r["message"], r["transition"], r["gone_at"]

    async def attempt(self, attempt: AttemptId) -> tuple[str, int | None, str | None]:
        r = await self.connection.fetchrow(
            "SELECT * FROM attempts WHERE (uid, run, member, attempt) = ($1, $2, $3, $4)", *attempt
        )
        assert r is not None, f"history knows no attempt {attempt}"
        return r["pod_name"], r["exit_code"], r["failure"]

    async def log(self, attempt: AttemptId, container: str) -> tuple[bytes, int, str]:
        r = await self.connection.fetchrow(
            "SELECT * FROM logs WHERE (uid, run, member, attempt, container) = ($1, $2, $3, $4, $5)",
            *attempt,
            container,
        )
        assert r is not None, f"history has no log of {attempt}"
        return zlib.decompress(r["body"]), r["cut_bytes"], r["note"]

    def unavailable(self) -> HistoryPort:
        return HistoryWriter("postgresql://nobody:secret@127.0.0.1:1/none", limits=Limits(connect=1))


def a_log(job: Job, attempt: int = 1, body: bytes = b"hello\n", container: str = "main", note: str = "") -> Log:
    return Log(AttemptId(job.uid, 0, 0, attempt), container, body, size=len(body), cut_bytes=7, note=note)
