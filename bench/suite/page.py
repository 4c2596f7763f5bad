"""The report of a run as a page of Markdown: its machine, figures and shapes, and the charts that `charts` draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .figures import Results, figures
from .run import Result

CHARTS = {
    "rate": "Jobs finished a second",
    "latency": "Ten jobs a second: from the create to the pod, and to the end, p50 and p99 [ms]",
    "cpu": "CPU of one job by process, all at once [ms]",
    "writes": "Writes to the API server for one job, all at once",
}
_BEGIN, _END = "<!-- a run -->\n", "<!-- end of the run -->\n"
_HEADS = (
    "shape",
    "who",
    "runs",
    "finished/s",
    "create → pod p50 / p99",
    "create → finished p50 / p99",
    "history behind p50 / p99",
    "writes",
    "CPU, all busy",
    "memory of its controllers, 1,000 jobs",
)
_MEMORY_FROM = 1000  # fewer jobs than these say little about memory


def page(run: Mapping[str, Any]) -> str:
    """The text of the page; the charts stand beside it."""
    results: list[Result] = run["results"]
    measured = [each for each in results if "rate" in each]
    lines = ["# A benchmark run", "", _about(run), "", "## Figures", "", *_figures(results), "", "## Shapes", ""]
    lines += [*_shapes(measured), "", "## Charts", ""]
    for name, title in CHARTS.items():
        lines += [f"![{title}]({name}.svg)", ""]
    return "\n".join(lines)


def shown(text: str, run: Mapping[str, Any], folder: str) -> str:
    """The docs' text with this run's figures and charts between its two marks; its page stands in that folder."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    lines = [_about(run) + f" [All of it]({folder}/report.md), [as JSON]({folder}/run.json).", ""]
    lines += [*_figures(run["results"]), ""]
    for name, title in CHARTS.items():
        lines += [f"![{title}]({folder}/{name}.svg)", ""]
    return before + _BEGIN + "\n".join(lines) + _END + after


def _about(run: Mapping[str, Any]) -> str:
    told = {**run["machine"], **run["versions"]}
    settings = ", ".join(f"{name} {value}" for name, value in run["settings"].items())
    return (
        f"{told['architecture']}, {told['cpus']} CPUs, {told['memory_gib']} GiB, Linux {told['kernel']}, Python "
        f"{told['python']}, Kubernetes {told['kubernetes']}, etcd {told['etcd']}, Kueue {told['kueue']}; {told['at']}, "
        f"load average before {told['load_before']}. Settings: {settings}. Simulated nodes; all share the CPUs; "
        "medians of the repetitions."
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
    rows = [f"| {' | '.join(_HEADS)} |", f"|{'---|' * len(_HEADS)}"]
    for shape, peer, title in dict.fromkeys((each["shape"], each["peer"], each["title"]) for each in measured):
        cells = [str(known.repeated(shape, peer)), f"{known.get(shape, peer, 'rate') or 0:.1f}"]
        for name in ("create_to_pod", "create_to_finished", "history_lag"):
            p50, p99 = (known.get(shape, peer, f"{name}_p{share}_ms") for share in (50, 99))
            cells.append("-" if p50 is None or p99 is None else f"{p50:,.0f} / {p99:,.0f} ms")
        cells.append(f"{known.get(shape, peer, 'writes_all') or 0:.1f}")
        cells.append(f"{known.value(shape, peer, lambda each: each['cpu_ms']['machine']) or 0:.1f} ms")
        memory = known.value(shape, peer, _controllers_memory)
        cells.append("-" if memory is None else f"{memory:.1f} MB")
        rows.append(f"| {title} | {peer} | {' | '.join(cells)} |")
    return rows


def _controllers_memory(result: Result) -> float | None:
    """What the peer's own controllers grew by; none of those that have none, or too few jobs."""
    grown = {name: each for name, each in result["mb_per_1000"].items() if name != "postgres"}
    return sum(grown.values()) if grown and result["jobs"] >= _MEMORY_FROM else None
