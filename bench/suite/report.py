"""A report of a run: a page of Markdown with its tables, and charts as SVG and PNG beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot
from matplotlib.axes import Axes

from .figures import Results, figures
from .run import Result

mpl.use("Agg")
_COLOURS = ("#8d99ae", "#457b9d", "#f4a261", "#2a9d8f", "#264653", "#e76f51", "#b5838d", "#6d6875", "#ffcdb2")


def write_report(run: Mapping[str, Any], folder: Path) -> str:
    """Write `report.md` and its charts into the folder; returns where the page is."""
    folder.mkdir(parents=True, exist_ok=True)
    results: list[Result] = run["results"]
    measured = [each for each in results if "rate" in each]
    charts = [
        _chart(folder, "rate", "Jobs finished a second", lambda axes: _rates(axes, measured)),
        _chart(
            folder,
            "cpu",
            "CPU of one job by process, all at once [ms]",
            lambda axes: _stacked(axes, measured, "cpu_ms"),
        ),
        _chart(
            folder,
            "writes",
            "Writes to the API server for one job, all at once",
            lambda axes: _stacked(axes, measured, "writes"),
        ),
    ]
    lines = ["# Benchmark", "", _about(run), "", "## Figures", "", *_figures(results), "", "## Shapes", ""]
    lines += [*_shapes(measured), "", *(f"![{name}]({name}.svg)" for name in charts), ""]
    place = folder / "report.md"
    place.write_text("\n".join(lines))
    return str(place)


def _about(run: Mapping[str, Any]) -> str:
    told = {**run["machine"], **run["versions"]}
    settings = ", ".join(f"{name} {value}" for name, value in run["settings"].items())
    return (
        f"{told['architecture']}, {told['cpus']} CPUs, {told['memory_gib']} GiB, Linux {told['kernel']}, Python "
        f"{told['python']}, Kubernetes {told['kubernetes']}, etcd {told['etcd']}, Kueue {told['kueue']}; {told['at']}, "
        f"load average before {told['load_before']}. Settings: {settings}. Simulated nodes; everything shares the CPUs."
    )


def _figures(results: Sequence[Result]) -> list[str]:
    rows = ["| figure | value | target | met |", "|---|---|---|---|"]
    for each in figures(results):
        sign = "≥" if each.at_least else "≤"
        rows.append(
            f"| `{each.name}` | {each.value:.3g} {each.unit} | {sign} {each.target:g} | {'yes' if each.met else 'no'} |"
        )
    return rows


def _shapes(measured: Sequence[Result]) -> list[str]:
    known = Results(measured)
    rows = [
        "| shape | who | finished/s | create → pod p50 / p99 | create → finished p50 / p99 | writes | CPU, all busy |",
        "|---|---|---|---|---|---|---|",
    ]
    for shape, peer, title in dict.fromkeys((each["shape"], each["peer"], each["title"]) for each in measured):
        cells = [f"{known.get(shape, peer, 'rate') or 0:.1f}"]
        for name in ("create_to_pod", "create_to_finished"):
            pair = [known.get(shape, peer, f"{name}_p{share}_ms") or 0 for share in (50, 99)]
            cells.append(f"{pair[0]:,.0f} / {pair[1]:,.0f} ms")
        cells.append(f"{known.get(shape, peer, 'writes_all') or 0:.1f}")
        cells.append(f"{known.value(shape, peer, lambda each: each['cpu_ms']['machine']) or 0:.1f} ms")
        rows.append(f"| {title} | {peer} | {' | '.join(cells)} |")
    return rows


def _chart(folder: Path, name: str, title: str, draw: Callable[[Axes], None]) -> str:
    figure, axes = pyplot.subplots(figsize=(9, 4.2), layout="constrained")
    draw(axes)
    axes.set_title(title, loc="left", fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    for kind in ("svg", "png"):
        figure.savefig(folder / f"{name}.{kind}", dpi=120, metadata={"Date": None} if kind == "svg" else None)
    pyplot.close(figure)
    return name


def _rates(axes: Axes, measured: Sequence[Result]) -> None:
    known = Results(measured)
    shapes = list(dict.fromkeys(each["shape"] for each in measured))
    peers = list(dict.fromkeys(each["peer"] for each in measured))
    width = 0.8 / len(peers)
    for number, peer in enumerate(peers):
        places = [at for at, shape in enumerate(shapes) if known.get(shape, peer, "rate") is not None]
        rates = [known.get(shapes[at], peer, "rate") or 0 for at in places]
        offset = (number - (len(peers) - 1) / 2) * width
        bars = axes.bar([at + offset for at in places], rates, width, label=peer, color=_COLOURS[number])
        axes.bar_label(bars, fmt="%.0f", fontsize=7)
    axes.set_xticks(range(len(shapes)), shapes)
    axes.legend(frameon=False)


def _stacked(axes: Axes, measured: Sequence[Result], key: str) -> None:
    free = {each["peer"]: each[key] for each in measured if each["shape"] == "free"}
    parts = [part for part in dict.fromkeys(part for each in free.values() for part in each) if part != "machine"]
    shown = [part for part in parts if any(each.get(part, 0) > 0.05 for each in free.values())]
    bottom = [0.0] * len(free)
    for number, part in enumerate(shown):
        heights = [max(0.0, each.get(part, 0.0)) for each in free.values()]
        axes.bar(list(free), heights, 0.6, bottom=bottom, label=part, color=_COLOURS[number % len(_COLOURS)])
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
