"""docs/operations.md names every metric as it is, and its alerts ask for what there is."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import yaml
from prometheus_client import Histogram
from prometheus_client.metrics import MetricWrapperBase

import taskjob.admin
import taskjob.metrics
import taskjob_api.metrics

TEXT = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


def metrics(*modules: ModuleType) -> dict[str, MetricWrapperBase]:
    """By the names that Prometheus knows them by."""
    found = [each for module in modules for each in vars(module).values() if isinstance(each, MetricWrapperBase)]
    return {each._name + ("_total" if each._type == "counter" else ""): each for each in found}


OPERATOR, API = metrics(taskjob.metrics, taskjob.admin), metrics(taskjob_api.metrics)


def rows(metrics: dict[str, MetricWrapperBase]) -> list[str]:
    named = {f"{name}{{{', '.join(each._labelnames)}}}".replace("{}", ""): each for name, each in metrics.items()}
    return [f"| `{name}` | {each._documentation} |" for name, each in named.items()]


def test_each_metric_stands_in_its_table_with_its_labels_and_its_meaning() -> None:
    operators, apis = TEXT.split("The API's, on `/metrics`")
    assert re.findall(r"^\| `taskjobs_\S.*$", operators, flags=re.MULTILINE) == rows(OPERATOR)
    assert re.findall(r"^\| `taskjobs_\S.*$", apis, flags=re.MULTILINE) == rows(API)


def test_alerts_ask_for_metrics_and_labels_that_there_are() -> None:
    (block,) = re.findall(r"```yaml\n(groups:.*?)```", TEXT, flags=re.DOTALL)
    known: dict[str, MetricWrapperBase] = {}
    for name, each in (OPERATOR | API).items():
        known[f"{name}_bucket" if isinstance(each, Histogram) else name] = each
    alerts = yaml.safe_load(block)["groups"][0]["rules"]
    for alert in alerts:
        asked = re.findall(r"(taskjobs_\w+)(?:\{([^}]*)\})?", alert["expr"])
        assert asked, alert
        for name, labels in asked:
            assert name in known, f"{alert['alert']} asks for {name}, which is no metric"
            assert set(re.findall(r"(\w+)=", labels)) <= set(known[name]._labelnames), alert
        grouped = {label for by in re.findall(r"by \(([^)]*)\)", alert["expr"]) for label in by.split(", ")}
        given = {label for name, _ in asked for label in known[name]._labelnames}
        assert grouped <= given | {"namespace", "le"}, f"{alert['alert']} groups by what its metrics do not have"
