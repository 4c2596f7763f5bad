"""What came of a simulation, in figures: waits and utilisation by queue and by priority, as a table and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from taskjob.core.model import Amounts
from taskjob.core.phases import PRIORITIES, Phase
from taskjob.simulate.virtual import Course, Outcome, Record

_NAMES = {value: name for name, value in PRIORITIES.items()}


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds from when only the queue kept jobs waiting until their first start, of those that started."""

    mean: float
    p50: float
    p95: float
    longest: float

    @classmethod
    def of(cls, records: Iterable[Record]) -> Waits | None:
        """None if none of them started."""
        waits = sorted(wait for record in records if (wait := record.wait) is not None)
        if not waits:
            return None
        return cls(sum(waits) / len(waits), _percentile(waits, 50), _percentile(waits, 95), waits[-1])

    def json(self) -> dict[str, float]:
        """As JSON."""
        return {
            "mean": round(self.mean, 3),
            "p50": round(self.p50, 3),
            "p95": round(self.p95, 3),
            "max": round(self.longest, 3),
        }


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the jobs: those of a queue, or of a priority."""

    name: str
    jobs: int
    succeeded: int
    unfinished: Counter[str]  # by why they wait at the end
    interrupted: int
    waits: Waits | None
    utilisation: dict[str, float]  # by resource that the queue's quota names: the mean of usage over quota

    def json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.name,
            "jobs": self.jobs,
            "succeeded": self.succeeded,
            "unfinished": dict(sorted(self.unfinished.items())),
            "interrupted": self.interrupted,
            "waitSeconds": self.waits.json() if self.waits is not None else None,
            "utilisation": {name: round(share, 4) for name, share in sorted(self.utilisation.items())},
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The whole."""

    seconds: float
    total: Share
    queues: tuple[Share, ...]
    priorities: tuple[Share, ...]

    def json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "seconds": round(self.seconds, 3),
            "total": self.total.json(),
            "queues": [share.json() for share in self.queues],
            "priorities": [share.json() for share in self.priorities],
        }

    def text(self) -> str:
        """As tables for people."""
        rows = [["queue", "jobs", "done", "wait mean", "p50", "p95", "max", "utilisation"]]
        rows += [_row(share) for share in self.queues]
        if len(self.queues) > 1:
            rows.append(_row(self.total))
        parts = [table(rows)]
        if len(self.priorities) > 1:
            rows = [["priority", "jobs", "done", "wait mean", "p50", "p95", "max"]]
            parts.append(table(rows + [_row(share)[:-1] for share in self.priorities]))
        notes = [
            f"Over after {seconds(self.seconds)} s. Waits are in seconds, from when a job's dependencies were met."
        ]
        notes += [f"Left waiting: {count} ({reason})" for reason, count in sorted(self.total.unfinished.items())]
        if self.total.interrupted:
            notes.append(f"Attempts stopped before their end: {self.total.interrupted}")
        return "\n\n".join([*parts, "\n".join(notes)])


def report(outcome: Outcome) -> Report:
    """The figures of an outcome."""
    of_queue = _grouped(outcome.records, lambda record: record.arrival.job.queue)
    of_priority = _grouped(outcome.records, lambda record: record.arrival.job.priority)
    return Report(
        outcome.seconds,
        _share("all", outcome.records, {}),
        tuple(
            _share(
                name,
                of_queue.get(name, ()),
                utilisation(outcome.quotas.get(name, ()), outcome.courses[name], outcome.seconds),
            )
            for name in sorted(outcome.courses)
        ),
        tuple(
            _share(_NAMES.get(priority, str(priority)), of_priority[priority], {})
            for priority in sorted(of_priority, reverse=True)
        ),
    )


def utilisation(quotas: Amounts, course: Course, length: float) -> dict[str, float]:
    """By resource of the quota: the mean of usage over quota. Above 1 where it borrowed."""
    if not length:
        return {}
    return {name: course.used.get(name, 0.0) / (quota * length) for name, quota in quotas if quota}


def jobs_text(outcome: Outcome) -> str:
    """Job by job, in the order of coming: when it came, started and ended, and how it stands."""
    rows = [["job", "queue", "came", "started", "ended", "outcome"]]
    for record in outcome.records:
        job, status = record.arrival.job, record.status
        pending = status.phase is Phase.PENDING
        rows.append(
            [
                job.name,
                job.queue,
                seconds(record.arrival.at),
                ", ".join(seconds(at) for at in record.starts) or "-",
                seconds(record.ended_at) if record.ended_at is not None else "-",
                f"{status.phase}: {status.reason}" if pending else str(status.phase),
            ]
        )
    return table(rows)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns under their heads, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    right = [all(_is_number(row[column]) for row in rows[1:]) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    )


def seconds(length: float) -> str:
    """To the millisecond, without zeros at the end."""
    return f"{length:.3f}".rstrip("0").rstrip(".")


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell == "-"


def _row(share: Share) -> list[str]:
    waits = share.waits
    figures = ["-"] * 4 if waits is None else [f"{x:.1f}" for x in (waits.mean, waits.p50, waits.p95, waits.longest)]
    used = ", ".join(f"{name} {part:.0%}" for name, part in share.utilisation.items())
    return [share.name, str(share.jobs), str(share.succeeded), *figures, used]


def _grouped(records: Iterable[Record], key: Callable[[Record], Any]) -> dict[Any, list[Record]]:
    groups: dict[Any, list[Record]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return groups


def _share(name: str, records: Sequence[Record], used: dict[str, float]) -> Share:
    return Share(
        name=name,
        jobs=len(records),
        succeeded=sum(record.status.phase is Phase.SUCCEEDED for record in records),
        unfinished=Counter(str(r.status.reason) for r in records if not r.status.phase.terminal),
        interrupted=sum(record.interrupted for record in records),
        waits=Waits.of(records),
        utilisation=used,
    )


def _percentile(ordered: Sequence[float], percent: int) -> float:
    """The least value that so many percent do not exceed."""
    return ordered[max(ceil(len(ordered) * percent / 100) - 1, 0)]
