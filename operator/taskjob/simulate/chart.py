"""The course of a simulation as an SVG: for each queue (or cohort, of many) what was in use and how many waited."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Final

from taskjob.core import amounts
from taskjob.core.model import Amounts, QueueName
from taskjob.simulate.report import utilisation
from taskjob.simulate.virtual import Course, Outcome

PANELS_MAX: Final = 12
_WIDTH, _LEFT, _RIGHT, _TOP = 960, 76, 64, 62
_PANEL, _GAP = 120, 46
_BUCKETS: Final = 400
_INK, _FAINT, _GRID = "#1f2933", "#66727f", "#e4e8ec"
_USED, _USED_EDGE, _WAITING, _QUOTA = "#9ec5ee", "#2f74b5", "#d9782d", "#8894a0"
_STYLE: Final = (
    "text{font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:" + _INK + "}"
    ".small{font-size:11px;fill:" + _FAINT + "}.name{font-size:13px;font-weight:600}"
)


@dataclass(frozen=True, slots=True)
class _Panel:
    """One chart: the courses that it sums, the resource that is shown, and the quota of it."""

    name: str
    resource: str
    quota: int
    courses: tuple[Course, ...]


def draw(outcome: Outcome, title: str) -> str:
    """The SVG document."""
    panels = _panels(outcome)
    height = _TOP + len(panels) * (_PANEL + _GAP) + 12
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        f'role="img"><title>{escape(title)}</title><style>{_STYLE}</style>',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="26" font-size="16" font-weight="600">{escape(title)}</text>',
        *_legend(),
    ]
    for index, panel in enumerate(panels):
        body += _draw_panel(panel, _TOP + index * (_PANEL + _GAP) + 20, outcome.seconds or 1.0)
    return "\n".join([*body, "</svg>", ""])


def _panels(outcome: Outcome) -> list[_Panel]:
    queues = {queue.name: queue for queue in outcome.trace.queues}
    groups: dict[str, list[QueueName]] = {}
    by_cohort = len(outcome.courses) > PANELS_MAX
    for name in sorted(outcome.courses):
        cohort = queues[name].cohort if name in queues else None
        groups.setdefault(f"cohort {cohort}" if by_cohort and cohort else str(name), []).append(name)
    largest = sorted(groups, key=lambda group: -sum(sum(outcome.courses[n].used.values()) for n in groups[group]))
    shown = set(largest[:PANELS_MAX])
    return [
        _panel(group, [outcome.quotas.get(n, ()) for n in names], [outcome.courses[n] for n in names], outcome.seconds)
        for group, names in groups.items()
        if group in shown
    ]


def _panel(name: str, quotas: Sequence[Amounts], courses: Sequence[Course], length: float) -> _Panel:
    """Of all resources the one that was the scarcest."""
    shares: dict[str, float] = {}
    for each, course in zip(quotas, courses, strict=True):
        for resource, share in utilisation(each, course, length).items():
            shares[resource] = shares.get(resource, 0.0) + share
    resource = max(sorted(shares), key=lambda each: shares[each], default="pods")
    quota = sum(dict(each).get(resource, 0) for each in quotas)
    return _Panel(name, resource, quota, tuple(courses))


def _draw_panel(panel: _Panel, top: float, length: float) -> list[str]:
    bottom, right = top + _PANEL, _WIDTH - _RIGHT
    used = _summed((_buckets(course, _of(course, panel.resource), length) for course in panel.courses), _BUCKETS)
    waiting = _summed((_buckets(course, None, length) for course in panel.courses), _BUCKETS)
    most = max(panel.quota, *used) * 1.08 or 1.0
    most_waiting = max(*waiting, 1.0) * 1.08
    parts = [
        f'<text class="name" x="{_LEFT}" y="{top - 8:g}">{escape(panel.name)}</text>',
        f'<text class="small" x="{right}" y="{top - 8:g}" text-anchor="end">waiting</text>',
    ]
    for part in (0.0, 0.5, 1.0):
        y = bottom - part * _PANEL / 1.08
        parts.append(f'<line x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_GRID}"/>')
        shown = f"{panel.resource} {_amount(panel.resource, most / 1.08 * part)}" if part else "0"
        parts.append(f'<text class="small" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(shown)}</text>')
        parts.append(f'<text class="small" x="{right + 8}" y="{y + 4:.1f}">{most_waiting / 1.08 * part:.0f}</text>')
    points = _points(used, most, bottom)
    parts.append(f'<path d="M{_LEFT},{bottom} L{points} L{right},{bottom} Z" fill="{_USED}" fill-opacity="0.7"/>')
    parts.append(f'<polyline points="{points}" fill="none" stroke="{_USED_EDGE}" stroke-width="1.2"/>')
    if panel.quota:
        y = bottom - panel.quota / most * _PANEL
        parts.append(
            f'<line x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_QUOTA}" stroke-dasharray="5 4"/>'
        )
    parts.append(
        f'<polyline points="{_points(waiting, most_waiting, bottom)}" fill="none" stroke="{_WAITING}" '
        'stroke-width="1.6" stroke-linejoin="round"/>'
    )
    for part in (0, 0.25, 0.5, 0.75, 1):
        x = _LEFT + part * (right - _LEFT)
        parts.append(
            f'<text class="small" x="{x:.1f}" y="{bottom + 15:g}" text-anchor="middle">{_time(length * part)}</text>'
        )
    return parts


def _legend() -> list[str]:
    parts, x = [], float(_LEFT)
    for name, stroke, dash in (("in use", _USED_EDGE, ""), ("quota", _QUOTA, "5 4"), ("waiting jobs", _WAITING, "")):
        parts.append(
            f'<line x1="{x:g}" x2="{x + 22:g}" y1="44" y2="44" stroke="{stroke}" stroke-width="2" '
            f'stroke-dasharray="{dash}"/><text class="small" x="{x + 28:g}" y="48">{name}</text>'
        )
        x += 40 + 8 * len(name)
    return parts


def _of(course: Course, resource: str) -> int:
    """The place of a resource among the amounts of the course's steps; -1: nobody asked for it."""
    return list(course.now).index(resource) if resource in course.now else -1


def _buckets(course: Course, place: int | None, length: float) -> list[float]:
    """The means over equal parts of the time: of the amount at that place, or (None) of how many waited."""
    sums, width = [0.0] * _BUCKETS, length / _BUCKETS
    steps = [*course.steps, (length, (), 0)]
    for (begin, used, waiting), (end, *_) in pairwise(steps):
        value = waiting if place is None else used[place] if 0 <= place < len(used) else 0
        first = min(int(begin / width), _BUCKETS - 1)
        last = min(int(end / width), _BUCKETS - 1)
        for bucket in range(first, last + 1) if value else ():
            sums[bucket] += value * max(min(end, (bucket + 1) * width) - max(begin, bucket * width), 0.0)
    return [total / width for total in sums]


def _summed(lists: Iterable[list[float]], size: int) -> list[float]:
    total = [0.0] * size
    for each in lists:
        total = [one + other for one, other in zip(total, each, strict=True)]
    return total


def _points(values: Sequence[float], most: float, bottom: float) -> str:
    step = (_WIDTH - _RIGHT - _LEFT) / len(values)
    return " ".join(
        f"{_LEFT + (n + part) * step:.1f},{bottom - value / most * _PANEL:.1f}"
        for n, value in enumerate(values)
        for part in (0, 1)
    )


def _amount(resource: str, amount: float) -> str:
    if resource == "cpu":
        return f"{amount / 1000:.3g}"
    for suffix, unit in (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20)):
        if amount >= unit and amounts.is_bytes(resource):
            return f"{amount / unit:.3g}{suffix}"
    return f"{amount:.3g}"


def _time(length: float) -> str:
    if length < 300:
        return f"{length:.3g} s"
    return f"{length / 60:.3g} min" if length < 3 * 3600 else f"{length / 3600:.3g} h"
