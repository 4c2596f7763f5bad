"""The chart as Helm lints it and as a real API server reads it, for every set of values in its `ci` folder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts import CHART, SETS, TRIAL, HelmError, apply, helm, of_kind, rendered
from taskjob.config import ApiSettings, CommonSettings, OperatorSettings
from taskjob_api.app import GRACE_SECONDS
from taskjob_cluster import Cluster
from taskjob_cluster.paths import CHECKOUT

pytestmark = pytest.mark.cluster

# Only so that the API server knows the kind: the real one comes with the Prometheus operator.
SERVICE_MONITORS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "servicemonitors.monitoring.coreos.com"},
    "spec": {
        "group": "monitoring.coreos.com",
        "names": {"kind": "ServiceMonitor", "plural": "servicemonitors"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


@pytest.fixture(scope="module")
def restricted(cluster: Cluster) -> Iterator[str]:
    """A namespace that warns of every pod which the Pod Security Standard "restricted" would not let pass."""
    apply(cluster, [SERVICE_MONITORS])
    cluster.kubectl("wait", "--for=condition=Established", "crd/servicemonitors.monitoring.coreos.com", "--timeout=30s")
    names = ("chart-restricted", "team-a", "team-b")
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    apply(
        cluster,
        [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}} for name in names],
    )
    yield names[0]
    for name in names:
        cluster.kubectl("delete", "namespace", name, "--wait=false")


def named(path: Path) -> str:
    return path.name.removesuffix("-values.yaml")


@pytest.mark.parametrize("values", SETS, ids=named)
def test_helm_lints_the_chart_strictly(values: Path) -> None:
    helm("lint", "--strict", str(CHART), f"--values={values}")


@pytest.mark.parametrize("values", SETS, ids=named)
def test_the_api_server_takes_every_object_and_only_the_hosts_network_is_not_restricted(
    cluster: Cluster, restricted: str, values: Path
) -> None:
    # The tests' own cluster has a `default`, which belongs to whoever applied it.
    objects = rendered(restricted, f"--values={values}", "--set=defaultQueue.name=of-the-chart")
    # A pod that "restricted" forbids is refused even in a dry run, and one in a template earns a warning.
    on_host = bool((yaml.safe_load(values.read_text())).get("hostNetwork"))
    pods = of_kind(objects, "Pod")
    warnings = apply(cluster, [each for each in objects if each not in pods], "--dry-run=server", "--validate=strict")
    if on_host:
        assert "hostNetwork" in warnings
    else:
        assert warnings == ""
        # A pod needs its service account even in a dry run; the admission of pods looks for nothing else here.
        apply(cluster, pods, "--dry-run=server", "--validate=strict")


def test_an_installation_without_a_database_is_refused_with_what_to_set() -> None:
    with pytest.raises(HelmError, match=r"database\.existingSecret"):
        rendered("default")
    with pytest.raises(HelmError, match="one PostgreSQL only"):
        rendered("default", TRIAL, "--set=database.url=postgresql://x")


@pytest.mark.parametrize("wrong", ["operatr.replicas=2", "operator.replicas=two", "uninstall.runningJobs=Kill"])
def test_a_misspelt_or_mistyped_value_is_refused(wrong: str) -> None:
    with pytest.raises(HelmError, match=wrong.partition(".")[0]):
        rendered("default", TRIAL, f"--set={wrong}")


def test_settings_reach_the_operator_as_numbers_that_it_can_read(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = rendered("default", f"--values={CHART / 'ci' / 'production-values.yaml'}", "--set=namespaces={a,b}")
    settings = operator_settings(objects, monkeypatch)

    assert settings.history_buffer == 1_000_000
    assert settings.tick_seconds == 0.01
    assert settings.namespaces == ("a", "b")
    assert settings.lease_name == "taskjobs-operator"
    assert settings.fence_account == "taskjobs-operator"
    assert settings.admin_host == "0.0.0.0"  # noqa: S104  # what is tested
    assert settings.explain_to == ("system:serviceaccount:default:taskjobs-api",)


def operator_settings(objects: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch) -> OperatorSettings:
    (operator,) = (found for found in of_kind(objects, "Deployment") if found["metadata"]["name"].endswith("-operator"))
    for variable in operator["spec"]["template"]["spec"]["containers"][0]["env"]:
        monkeypatch.setenv(variable["name"], variable.get("value", "postgresql://x"))
    return OperatorSettings()


def test_namespaces_that_were_set_to_nothing_are_all() -> None:
    """`namespaces:` with nothing behind it takes the default away."""
    database = "--set=database.existingSecret=mine"
    assert rendered("default", database, "--set=namespaces=null") == rendered("default", database)


def test_every_variable_that_the_chart_sets_is_a_setting() -> None:
    known = {
        f"TASKJOBS_{name}".upper() for settings in (OperatorSettings, ApiSettings) for name in settings.model_fields
    }
    objects = rendered(
        "default", TRIAL, "--set=api.allowedOrigins={a},api.audiences={a},namespaces={a},defaultQueue.create=false"
    )
    said = {
        variable["name"]
        for found in of_kind(objects, "Deployment")
        for container in found["spec"]["template"]["spec"]["containers"]
        for variable in container["env"]
    }
    assert {name for name in said if name.startswith("TASKJOBS_")} <= known


def test_names_of_cluster_scoped_objects_differ_between_two_installations() -> None:
    kinds = ("ClusterRole", "ClusterRoleBinding", "FlowSchema", "ValidatingAdmissionPolicy")
    second = ("--set=crds.install=false,rbac.aggregatedRoles=false,policies.authors=false", TRIAL)
    names = [
        {(found["kind"], found["metadata"]["name"]) for found in of_kind(rendered(at, *values), *kinds)}
        for at, values in (("one", (TRIAL,)), ("two", second))
    ]
    assert not names[0] & names[1]


def test_no_role_of_ours_may_read_secrets() -> None:
    for values in SETS:
        for role in of_kind(rendered("default", f"--values={values}"), "Role", "ClusterRole"):
            for rule in role["rules"]:
                assert "secrets" not in rule["resources"], role["metadata"]["name"]
                assert "*" not in (*rule["resources"], *rule["verbs"], *rule["apiGroups"]), role["metadata"]["name"]


def test_the_schema_the_table_and_the_crds_of_the_chart_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, CHECKOUT / "scripts" / "chart.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"say `make chart-docs`:\n{done.stdout}{done.stderr}"
    assert json.loads((CHART / "values.schema.json").read_text())["additionalProperties"] is False


def test_the_install_page_names_every_setting_that_is_not_the_charts_own() -> None:
    of_the_chart = {
        *CommonSettings.model_fields,
        *(
            "namespaces",
            "lease_namespace",
            "lease_name",
            "fence_account",
            "leader_election",
            "identity",
            "controller_name",
            "watch_cluster",
            "watch_namespaces",
            "admin_host",
            "admin_port",
        ),
        *("api_host", "api_port", "allowed_origins", "audiences"),
        *("explain_to", "operator_url", "operator_token_file"),
        "insecure_local",  # binds to loopback, where no Service would reach it
    }
    page = (CHECKOUT / "docs" / "install.md").read_text()
    for name, field in {**OperatorSettings.model_fields, **ApiSettings.model_fields}.items():
        if name not in of_the_chart:
            default = "[]" if field.default == () else field.default
            assert f"| {name} | {default} |" in page, name


def policy(component: str, *values: str) -> dict[str, Any]:
    """The spec of a component's NetworkPolicy."""
    found = rendered("default", TRIAL, "--set=networkPolicy.enabled=true", *values)
    (one,) = (each for each in of_kind(found, "NetworkPolicy") if each["metadata"]["name"].endswith(f"-{component}"))
    spec: dict[str, Any] = one["spec"]
    return spec


def deployment(component: str, *values: str) -> dict[str, Any]:
    """The spec of a component's Deployment."""
    found = rendered("default", TRIAL, *values)
    (one,) = (each for each in of_kind(found, "Deployment") if each["metadata"]["name"].endswith(f"-{component}"))
    spec: dict[str, Any] = one["spec"]
    return spec


def labels_of(component: str) -> dict[str, str]:
    """Of the pods of a Deployment."""
    labels: dict[str, str] = deployment(component)["template"]["metadata"]["labels"]
    return labels


def test_where_egress_is_restricted_the_api_reaches_the_operator_all_the_same() -> None:
    restricted = ("--set=networkPolicy.egress[0].to[0].ipBlock.cidr=10.0.0.0/8", "--set=operator.port=9000")
    *_, last = policy("api", *restricted)["egress"]
    assert last["ports"] == [{"port": 9000}]
    (peer,) = last["to"]
    assert peer["podSelector"]["matchLabels"].items() <= labels_of("operator").items()
    assert not peer["podSelector"]["matchLabels"].items() <= labels_of("api").items()
    assert len(policy("operator", *restricted)["egress"]) == 1
    assert "egress" not in policy("api")


def test_who_reads_metrics_reads_the_apis_too_where_it_is_not_open_to_everybody() -> None:
    callers = "--set=networkPolicy.apiFrom[0].podSelector.matchLabels.app=callers"
    prometheus = "--set=networkPolicy.metricsFrom[0].podSelector.matchLabels.app=prometheus"
    (rule,) = policy("api", callers, prometheus)["ingress"]
    assert [peer["podSelector"]["matchLabels"]["app"] for peer in rule["from"]] == ["callers", "prometheus"]
    assert "from" not in policy("api", prometheus)["ingress"][0]
    (rule,) = policy("operator", callers, prometheus)["ingress"]
    assert rule["from"][0] == {"podSelector": {"matchLabels": {"app": "prometheus"}}}
    assert rule["from"][1]["podSelector"]["matchLabels"].items() <= labels_of("api").items()


@pytest.mark.parametrize("component", ["operator", "api"])
def test_pods_that_hold_a_port_of_their_host_go_before_others_come(component: str) -> None:
    here = deployment(component)["strategy"]["rollingUpdate"]
    on_host = deployment(component, "--set=hostNetwork=true")["strategy"]["rollingUpdate"]
    assert (here, on_host) == ({"maxSurge": 1, "maxUnavailable": 0}, {"maxSurge": 0, "maxUnavailable": 1})


def test_an_api_that_is_to_end_takes_requests_until_nobody_is_sent_to_it() -> None:
    pod = deployment("api", "--set=api.terminationGracePeriodSeconds=20")["template"]["spec"]
    (container,) = pod["containers"]
    listens = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert listens + GRACE_SECONDS < pod["terminationGracePeriodSeconds"]
    with pytest.raises(HelmError, match="terminationGracePeriodSeconds"):
        deployment("api", "--set=api.terminationGracePeriodSeconds=19")
