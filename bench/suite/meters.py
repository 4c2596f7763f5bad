"""What a stretch of time cost: CPU by process, memory, and the API server's writes by verb and resource."""

from __future__ import annotations

import os
import platform
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import psutil

_COUNTED = re.compile(r"^apiserver_request_total\{([^}]*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_WRITES = ("POST", "PUT", "PATCH", "APPLY", "DELETE")
_OF_FORKS = ("postgres",)  # its work is done by children


def machine() -> dict[str, Any]:
    """The machine and the versions that matter, for the record of a run."""
    return {
        "architecture": platform.machine(),
        "cpus": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


class Meter:
    """CPU seconds by process since it was made. Raises psutil.NoSuchProcess for one that ended meanwhile."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._before = self._read()

    def _read(self) -> dict[str, float]:
        found = {name: _cpu(name, process) for name, process in self._processes.items()}
        busy = psutil.cpu_times()
        found["machine"] = sum(busy) - busy.idle - busy.iowait
        return found

    def spent(self) -> dict[str, float]:
        """Seconds by process since then; `machine` is all that was busy, `others` what no process we know of took."""
        spent = {name: now - self._before[name] for name, now in self._read().items()}
        known = sum(seconds for name, seconds in spent.items() if name != "machine")
        return {**spent, "others": spent["machine"] - known}

    def memory(self) -> dict[str, float]:
        """Resident MB by process, now."""
        return {name: process.memory_info().rss / 1e6 for name, process in self._processes.items()}


def _cpu(name: str, process: psutil.Process) -> float:
    tree = [process, *(process.children(recursive=True) if name in _OF_FORKS else [])]
    seconds = 0.0
    for each in tree:
        try:
            seconds += sum(each.cpu_times()[:2])
        except psutil.NoSuchProcess:
            if each is process:
                raise
    return seconds


def writes(metrics: str) -> Counter[str]:
    """Writes that the API server has answered so far, from its `/metrics`: "PATCH pods/status" -> count."""
    counted: Counter[str] = Counter()
    for labels_text, count in _COUNTED.findall(metrics):
        labels = dict(_LABEL.findall(labels_text))
        if labels["verb"] in _WRITES and labels["code"].startswith(("2", "4")):
            resource = "/".join(filter(None, (labels["resource"], labels["subresource"])))
            counted[f"{labels['verb']} {resource}"] += int(float(count))
    return counted
