"""Simulated nodes: kwok plays the kubelet, so that thousands of pods cost nothing but their writes.

What a pod does on a simulated node is chosen by its annotations:

| annotation | meaning | default |
|---|---|---|
| `taskjobs.dev/kwok-seconds` | how long it runs, in seconds (fractions allowed) | 0 |
| `taskjobs.dev/kwok-seconds-max` | with the former: a duration between the two, drawn at random | none |
| `taskjobs.dev/kwok-start-seconds` | how long it takes from bound to Running | 0 |
| `taskjobs.dev/kwok-exit-code` | its exit code, or a word; `1,OOMKilled,0`: for each attempt, the last goes on | 0 |

The words: `OOMKilled` (killed with code 137), `StartError` (its container cannot be started), `ImagePullBackOff` (it
waits for its image for ever), `Never` (it runs until it is stopped). The attempt is read from the pod's label
`taskjobs.dev/attempt`.

As on a real kubelet, a running pod past `spec.activeDeadlineSeconds` (lowering it on a running pod counts) becomes
Failed with reason `DeadlineExceeded`, and a running pod that is deleted is seen Failed before it goes. A change of
the object while it runs starts the clock of `kwok-seconds` anew. `kubectl logs` answers with a fixed line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from .credentials import ensure_certificate
from .programs import Program, answers
from .records import Provider, Record
from .sizing import sizes, this_machine

PORTS = ("kwok",)
NODE_ANNOTATION = "kwok.x-k8s.io/node"
TAINT = {"key": NODE_ANNOTATION, "value": "fake", "effect": "NoSchedule"}
LOG_LINE = "2025-01-01T00:00:00Z stdout F a simulated pod ran here\n"

_SECONDS = '(.metadata.annotations["taskjobs.dev/kwok-seconds"] // "0")'
_OUTCOME = (
    '((.metadata.annotations["taskjobs.dev/kwok-exit-code"] // "0") | split(",")) as $each'
    ' | ((.metadata.labels["taskjobs.dev/attempt"] // "1") | tonumber) as $attempt'
    " | $each[([([$attempt, 1] | max), ($each | length)] | min) - 1]"
)
_RUNS_TO_ITS_END = (
    f'if ({_OUTCOME}) == "Never" then "no"'
    f" elif .spec.activeDeadlineSeconds == null or ({_SECONDS} | tonumber) <= .spec.activeDeadlineSeconds"
    ' then "yes" else "no" end'
)
_WAITS = "(.status.containerStatuses // [])[0].state.waiting.reason"

# The API server asks a node for logs by its Hostname address first, and no name of a simulated node resolves.
_NODE_STATUS = """\
{{ $now := Now }}
conditions:
{{ range NodeConditions }}
- lastHeartbeatTime: {{ $now | Quote }}
  lastTransitionTime: {{ $now | Quote }}
  message: {{ .message | Quote }}
  reason: {{ .reason | Quote }}
  status: {{ .status | Quote }}
  type: {{ .type | Quote }}
{{ end }}
addresses:
- {address: {{ NodeIP | Quote }}, type: InternalIP}
- {address: {{ NodeIP | Quote }}, type: Hostname}
daemonEndpoints: {kubeletEndpoint: {Port: {{ NodePort }}}}
nodeInfo:
  architecture: amd64
  bootID: ""
  containerRuntimeVersion: kwok
  kernelVersion: kwok
  kubeProxyVersion: ""
  kubeletVersion: kwok
  machineID: ""
  operatingSystem: linux
  osImage: simulated
  systemUUID: ""
phase: Running
"""

_RUNNING_STATUS = """\
{{ $now := Now }}
phase: Running
startTime: {{ $now | Quote }}
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
{{ $host := or .spec.hostNetwork false }}
podIP: {{ PodIPWith .spec.nodeName $host .metadata.uid .metadata.name .metadata.namespace | Quote }}
conditions:
- {type: Initialized, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: Ready, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: "True", lastTransitionTime: {{ $now | Quote }}}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: true
  started: true
  restartCount: 0
  state: {running: {startedAt: {{ $now | Quote }}}}
{{ end }}
initContainerStatuses:
{{ range .spec.initContainers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: true
  restartCount: 0
  {{ if eq (default "" .restartPolicy) "Always" }}
  started: true
  state: {running: {startedAt: {{ $now | Quote }}}}
  {{ else }}
  state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}}
  {{ end }}
{{ end }}
"""

# `$code`, `$outcome`, `$phase` and `$why` are set by what stands before it.
_TERMINATED = """\
{{ $now := Now }}
{{ $root := . }}
phase: {{ $phase }}
conditions:
- {type: Ready, status: "False", reason: {{ $why }}, lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: "False", reason: {{ $why }}, lastTransitionTime: {{ $now | Quote }}}
containerStatuses:
{{ range $index, $container := .spec.containers }}
{{ $was := index $root.status.containerStatuses $index }}
- name: {{ $container.name | Quote }}
  image: {{ $container.image | Quote }}
  imageID: ""
  ready: false
  started: false
  restartCount: 0
  state:
    running: null
    terminated:
      exitCode: {{ $code }}
      reason: {{ if eq $code 0 }}Completed{{ else if eq $outcome "OOMKilled" }}OOMKilled{{ else }}Error{{ end }}
      startedAt: {{ $was.state.running.startedAt | Quote }}
      finishedAt: {{ $now | Quote }}
{{ end }}
"""

_ENDED_STATUS = (
    """\
{{ $said := get (or .metadata.annotations dict) "taskjobs.dev/kwok-exit-code" }}
{{ $codes := splitList "," (default "0" $said) }}
{{ $attempt := atoi (default "1" (get (or .metadata.labels dict) "taskjobs.dev/attempt")) }}
{{ $outcome := trim (index $codes (sub (min (max 1 $attempt) (len $codes)) 1)) }}
{{ $code := atoi $outcome }}
{{ if eq $outcome "OOMKilled" }}{{ $code = 137 }}{{ end }}
{{ $phase := "Succeeded" }}{{ $why := "PodCompleted" }}
{{ if ne $code 0 }}{{ $phase = "Failed" }}{{ $why = "PodFailed" }}{{ end }}
"""
    + _TERMINATED
)

_STOPPED = '{{ $code := 143 }}{{ $outcome := "" }}{{ $phase := "Failed" }}{{ $why := "PodFailed" }}\n' + _TERMINATED

_DEADLINE_STATUS = (
    "reason: DeadlineExceeded\nmessage: Pod was active on the node longer than the specified deadline\n" + _STOPPED
)

_WAITING_STATUS = """\
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: false
  started: false
  restartCount: 0
  state: {waiting: {reason: ImagePullBackOff, message: "Back-off pulling image: there is none here"}}
{{ end }}
"""

_NOT_STARTED_STATUS = """\
{{ $now := Now }}
phase: Failed
startTime: {{ $now | Quote }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: false
  started: false
  restartCount: 0
  state:
    terminated: {exitCode: 128, reason: StartError, message: no such program, finishedAt: {{ $now | Quote }}}
{{ end }}
"""


def _stage(name: str, kind: str, where: list[dict[str, object]], **rest: object) -> dict[str, Any]:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": where},
            **rest,
        },
    }


def _is(key: str, *values: str) -> dict[str, object]:
    return {"key": key, "operator": "In", "values": list(values)}


def stages() -> Iterator[dict[str, Any]]:
    """The life of a simulated pod, and of its node. No two stages of a kind ever match the same object."""
    ready = '.status.conditions.[] | select(.type == "Ready") | .status'
    deleted: dict[str, object] = {"key": ".metadata.deletionTimestamp", "operator": "Exists"}
    kept: dict[str, object] = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}
    pending, running = _is(".status.phase", "Pending"), _is(".status.phase", "Running")
    starts: dict[str, object] = {"key": _OUTCOME, "operator": "NotIn", "values": ["ImagePullBackOff", "StartError"]}
    yield _stage(
        "node-ready",
        "Node",
        [{"key": ready, "operator": "NotIn", "values": ["True"]}],
        next={"statusTemplate": _NODE_STATUS},
    )
    yield _stage(
        "pod-running",
        "Pod",
        [kept, pending, starts],
        delay=_delay('(.metadata.annotations["taskjobs.dev/kwok-start-seconds"] // "0") + "s"'),
        next={"statusTemplate": _RUNNING_STATUS},
    )
    yield _stage(
        "pod-without-image",
        "Pod",
        [kept, pending, _is(_OUTCOME, "ImagePullBackOff"), {"key": _WAITS, "operator": "DoesNotExist"}],
        next={"statusTemplate": _WAITING_STATUS},
    )
    yield _stage(
        "pod-not-started",
        "Pod",
        [kept, pending, _is(_OUTCOME, "StartError")],
        next={"statusTemplate": _NOT_STARTED_STATUS},
    )
    yield _stage(
        "pod-ended",
        "Pod",
        [kept, running, _is(_RUNS_TO_ITS_END, "yes")],
        delay={
            **_delay(f'{_SECONDS} + "s"'),
            "jitterDurationFrom": {
                "expressionFrom": '.metadata.annotations["taskjobs.dev/kwok-seconds-max"] | values | . + "s"'
            },
        },
        next={"statusTemplate": _ENDED_STATUS},
    )
    yield _stage(
        "pod-past-its-deadline",
        "Pod",
        [kept, running, {"key": ".spec.activeDeadlineSeconds", "operator": "Exists"}, _is(_RUNS_TO_ITS_END, "no")],
        delay=_delay("(.status.startTime | fromdateiso8601) + .spec.activeDeadlineSeconds | todateiso8601"),
        next={"statusTemplate": _DEADLINE_STATUS},
    )
    yield _stage("pod-stopped", "Pod", [deleted, running], next={"statusTemplate": _STOPPED})
    yield _stage(
        "pod-gone",
        "Pod",
        [deleted, {"key": ".status.phase", "operator": "NotIn", "values": ["Running"]}],
        # Without grace, as of a pod that had ended, the API server itself removes it right after it has told of it: a
        # kubelet that has its hands full comes too late. This one is told in time what it need not do.
        delay=_delay('if .metadata.deletionGracePeriodSeconds == 0 then "2s" else "0s" end'),
        next={"finalizers": {"empty": True}, "delete": True},
    )


def _delay(expression: str) -> dict[str, object]:
    return {"durationMilliseconds": 0, "durationFrom": {"expressionFrom": expression}}


def prepare(record: Record) -> None:
    """Write kwok's configuration: its options, the stages, and what `kubectl logs` shows."""
    directory = record.directory
    ensure_certificate(directory / "pki" / "kwok.crt", directory / "pki" / "kwok.key", common_name="simulated-kubelet")
    log = directory / "simulated-pod.log"
    log.write_text(LOG_LINE)
    options = {
        "cidr": "10.64.0.1/10",
        "nodeIP": "127.0.0.1",
        "nodePort": record.ports["kwok"],
        "serverAddress": f"127.0.0.1:{record.ports['kwok']}",
        "tlsCertFile": str(directory / "pki" / "kwok.crt"),
        "tlsPrivateKeyFile": str(directory / "pki" / "kwok.key"),
        "manageAllNodes": False,  # the real node beside them has a real kubelet
        "manageNodesWithAnnotationSelector": f"{NODE_ANNOTATION}=fake",
        "podPlayStageParallelism": sizes(this_machine()).parallelism,
        "nodeLeaseDurationSeconds": 0,
    }
    documents: list[dict[str, object]] = [
        {"apiVersion": "config.kwok.x-k8s.io/v1alpha1", "kind": "KwokConfiguration", "options": options},
        *stages(),
        {
            "apiVersion": "kwok.x-k8s.io/v1alpha1",
            "kind": "ClusterLogs",
            "metadata": {"name": "every-simulated-pod"},
            "spec": {"logs": [{"logsFile": str(log)}]},
        },
    ]
    (directory / "kwok.yaml").write_text(yaml.safe_dump_all(documents, sort_keys=False))


def kwok(record: Record, binaries: Mapping[str, Path]) -> Program:
    """The simulator of nodes and of what their kubelets would do."""
    return Program(
        "kwok",
        (
            str(binaries["kwok"]),
            f"--kubeconfig={record.directory / 'kubeconfig'}",
            f"--config={record.directory / 'kwok.yaml'}",
        ),
        lambda: answers(f"http://127.0.0.1:{record.ports['kwok']}/healthz"),
    )


def node_manifests(record: Record) -> str:
    """The simulated nodes as a JSON list. Beside a real node they carry a taint, so that only who asks gets there."""
    roomy = {"cpu": "1000", "memory": "4Ti", "ephemeral-storage": "10Ti", "pods": "20000"}
    taints = [TAINT] if record.options.provider is Provider.LOCAL else []
    nodes = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": f"simulated-{number}",
                "annotations": {NODE_ANNOTATION: "fake"},
                "labels": {
                    "type": "kwok",
                    "kubernetes.io/os": "linux",
                    "kubernetes.io/arch": "amd64",
                    "kubernetes.io/hostname": f"simulated-{number}",
                },
            },
            "spec": {"taints": taints},
            "status": {"allocatable": roomy, "capacity": roomy},
        }
        for number in range(record.options.kwok_nodes)
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes})
