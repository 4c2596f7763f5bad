"""Draws the charts of a run, as SVG and PNG, beside its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot
from matplotlib.axes import Axes

from .figures import Results
from .page import CHARTS, page
from .run import Result

mpl.use("Agg")
mpl.rcParams["svg.hashsalt"] = "taskjobs"  # the same run gives the same files
_COLOURS = ("#8d99ae", "#457b9d", "#f4a261", "#2a9d8f", "#264653", "#e76f51", "#b5838d", "#6d6875", "#ffcdb2")


def write_report(run: Mapping[str, Any], folder: Path) -> str:
    """Write `report.md` and its charts into the folder; returns where the page is."""
    folder.mkdir(parents=True, exist_ok=True)
    measured: list[Result] = [each for each in run["results"] if "rate" in each]
    draws: dict[str, Callable[[Axes], None]] = {
        "rate": lambda axes: _rates(axes, measured),
        "latency": lambda axes: _latencies(axes, measured),
        "cpu": lambda axes: _stacked(axes, measured, "cpu_ms"),
        "writes": lambda axes: _stacked(axes, measured, "writes"),
    }
    for name, draw in draws.items():
        _chart(folder, name, draw)
    place = folder / "report.md"
    place.write_text(page(run))
    return str(place)


def _chart(folder: Path, name: str, draw: Callable[[Axes], None]) -> None:
    figure, axes = pyplot.subplots(figsize=(9, 4.2), layout="constrained")
    draw(axes)
    axes.set_title(CHARTS[name], loc="left", fontweight="bold", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    for kind in ("svg", "png"):
        figure.savefig(folder / f"{name}.{kind}", dpi=120, metadata={"Date": None} if kind == "svg" else None)
    pyplot.close(figure)


def _grouped(axes: Axes, groups: Mapping[str, Mapping[str, float]], ticks: Sequence[str]) -> None:
    """Bars side by side: for each name of a group its value at each tick."""
    width = 0.8 / max(1, len(groups))
    for number, (name, values) in enumerate(groups.items()):
        offset = (number - (len(groups) - 1) / 2) * width
        places = [at + offset for at, tick in enumerate(ticks) if tick in values]
        heights = [values[tick] for tick in ticks if tick in values]
        bars = axes.bar(places, heights, width, label=name, color=_COLOURS[number % len(_COLOURS)])
        axes.bar_label(bars, fmt="%.0f", fontsize=7)
    axes.set_xticks(range(len(ticks)), ticks)
    if groups:
        axes.legend(frameon=False, fontsize=8)


def _by_peer(measured: Sequence[Result], values: Mapping[str, tuple[str, str]]) -> dict[str, dict[str, float]]:
    """For each peer what it has of these: tick -> (shape, key of the result)."""
    known = Results(measured)
    found: dict[str, dict[str, float]] = {}
    for peer in dict.fromkeys(each["peer"] for each in measured):
        for tick, (shape, key) in values.items():
            value = known.get(shape, peer, key)
            if value is not None:
                found.setdefault(peer, {})[tick] = value
    return found


def _rates(axes: Axes, measured: Sequence[Result]) -> None:
    shapes = [shape for shape in dict.fromkeys(each["shape"] for each in measured) if shape not in ("steady", "chain")]
    _grouped(axes, _by_peer(measured, {shape: (shape, "rate") for shape in shapes}), shapes)


def _latencies(axes: Axes, measured: Sequence[Result]) -> None:
    values = {
        f"{name.replace('_to_', ' → ')} p{share}": ("steady", f"{name}_p{share}_ms")
        for name in ("create_to_pod", "create_to_finished")
        for share in (50, 99)
    }
    _grouped(axes, _by_peer(measured, values), list(values))
    axes.set_yscale("log")


def _stacked(axes: Axes, measured: Sequence[Result], key: str) -> None:
    free = {each["peer"]: each[key] for each in measured if each["shape"] == "free"}  # of each peer the last repetition
    parts = [part for part in dict.fromkeys(part for each in free.values() for part in each) if part != "machine"]
    shown = [part for part in parts if any(each.get(part, 0) > 0.05 for each in free.values())]
    bottom = [0.0] * len(free)
    for number, part in enumerate(shown):
        heights = [max(0.0, each.get(part, 0.0)) for each in free.values()]
        axes.bar(list(free), heights, 0.6, bottom=bottom, label=part, color=_COLOURS[number % len(_COLOURS)])
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    if free:
        axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
