"""The figures that are promised, from the results of a run: value, unit, target, and whether it is met."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .run import Result

OURS = "taskjobs"
DEFAULT = "taskjobs-default"
_OWN_WRITES = ("POST pods", "PUT taskjobs/status")


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. `at_least`: the target is a lower bound, else an upper one."""

    name: str
    value: float
    unit: str
    target: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return self.value >= self.target if self.at_least else self.value <= self.target

    def line(self) -> str:
        """The figure as one JSON object."""
        told = {"figure": self.name, "value": round(self.value, 3), "unit": self.unit, "target": self.target}
        return json.dumps(told | {"met": self.met})


class Results:
    """Results by shape and peer; repetitions are taken by their median."""

    def __init__(self, results: Iterable[Result]) -> None:
        self._by: dict[tuple[str, str], list[Result]] = {}
        for each in results:
            self._by.setdefault((each["shape"], each["peer"]), []).append(each)

    def value(self, shape: str, peer: str, get: Callable[[Result], float | None]) -> float | None:
        """The median of what `get` finds; None if that was not run."""
        found = [value for each in self._by.get((shape, peer), ()) if (value := get(each)) is not None]
        return median(found) if found else None

    def repeated(self, shape: str, peer: str) -> int:
        """How often that was run."""
        return len(self._by.get((shape, peer), ()))

    def get(self, shape: str, peer: str, key: str) -> float | None:
        """The median of one key."""
        return self.value(shape, peer, lambda result: result.get(key))


def _over(first: float | None, second: float | None) -> float | None:
    return first / second if first is not None and second else None


def _own_writes(result: Mapping[str, Any]) -> float:
    return float(sum(result["writes"].get(name, 0.0) for name in _OWN_WRITES))


def figures(results: Sequence[Result]) -> list[Figure]:
    """Every figure that these results allow."""
    known = Results(results)

    def rate(shape: str, peer: str = OURS) -> float | None:
        return known.get(shape, peer, "rate")

    def wall(peer: str) -> float | None:
        return known.get("kueue-baseline", peer, "wall_s")

    rows: list[tuple[str, float | None, str, float, bool]] = [
        ("rate_vs_pods", _over(rate("free"), rate("free", "pods")), "ratio", 0.65, True),
        ("rate_vs_kueue", _over(rate("free"), rate("free", "kueue")), "ratio", 4, True),
        ("rate_vs_jobs", _over(rate("free"), rate("free", "jobs")), "ratio", 1.4, True),
        ("rate_default_vs_plain", _over(rate("free", DEFAULT), rate("free")), "ratio", 0.75, True),
        ("rate_quota_vs_free", _over(rate("quota"), rate("free")), "ratio", 0.90, True),
        ("rate_20000_vs_2000", _over(rate("many"), rate("free")), "ratio", 0.90, True),
        ("writes_busy", known.value("free", OURS, _own_writes), "writes/job", 2, False),
        ("writes_idle", known.value("steady", OURS, _own_writes), "writes/job", 3, False),
        ("operator_cpu_ms", known.value("free", OURS, lambda each: each["cpu_ms"]["operator"]), "ms/job", 2, False),
        *(
            (f"{name}_p{share}_ms", known.get(shape, OURS, f"{name}_p{share}_ms"), "ms", target, False)
            for shape, name, p50, p99 in (
                ("steady", "create_to_pod", 10, 40),
                ("steady", "create_to_finished", 35, 80),
                ("chain", "edge", 10, 40),
            )
            for share, target in ((50, p50), (99, p99))
        ),
        ("kueue_shape_vs_kueue", _over(wall(OURS), wall("kueue")), "ratio", 0.5, False),
        ("kueue_shape_vs_pods", _over(wall(OURS), wall("pods")), "ratio", 1.7, False),
        ("restart_s", known.get("restart", OURS, "restart_s"), "s", 10, False),
        ("rss_mb", known.get("restart", OURS, "operator_rss_mb"), "MB", 300, False),
        *(
            (name, known.get("flood", OURS, name), "ratio", 2, False)
            for name in (f"flood_{when}_p{share}_ratio" for when in ("coming", "waiting") for share in (50, 99))
        ),
        ("rss_churn_ratio", known.get("churn", DEFAULT, "rss_ratio"), "ratio", 1.10, False),
    ]
    return [Figure(name, value, unit, target, least) for name, value, unit, target, least in rows if value is not None]
