"""What the chart's hooks do: `test` runs a job, `end` cancels its TaskJobs and waits until all are over.

Runs in the pods of `helm test` and of the pre-delete hook with their own service accounts; the standard library
suffices.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TERMINAL = ("Succeeded", "Failed", "Cancelled", "Skipped")
# The namespace may let nothing else in.
RESTRICTED = {
    "automountServiceAccountToken": False,
    "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
}
API = "/apis/taskjobs.dev/v1beta1"
# So much longer than it waits it cancels, if there are very many: half of what the hook's Job has beyond that.
CANCEL_SECONDS = 30


def ask(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """One request to the API server; the answer's object. Raises `urllib.error.HTTPError`."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    if ":" in host:
        host = f"[{host}]"
    request = urllib.request.Request(
        f"https://{host}:{port}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {(ACCOUNT / 'token').read_text().strip()}",
            "Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json",
        },
    )
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, timeout=15, context=context) as answer:  # noqa: S310  # https, to the API server
        return json.load(answer)


def test(seconds: float) -> int:
    """Submit a job and wait until it has succeeded."""
    jobs = f"{API}/namespaces/{os.environ['NAMESPACE']}/taskjobs"
    container = {
        "name": "main",
        "image": os.environ["JOB_IMAGE"],
        "command": ["python3", "-c", "print('hello from a job')"],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    job = {
        "apiVersion": "taskjobs.dev/v1beta1",
        "kind": "TaskJob",
        "metadata": {"generateName": "helm-test-"},
        "spec": {
            "queue": os.environ["QUEUE"],
            "timeoutSeconds": int(seconds),
            "template": {"spec": RESTRICTED | {"containers": [container]}},
        },
    }
    made = ask("POST", f"{jobs}?fieldValidation=Strict", job)
    name = made["metadata"]["name"]
    print(f"submitted {name}")
    began, seen = time.monotonic(), ""
    try:
        while time.monotonic() - began < seconds:
            status = ask("GET", f"{jobs}/{name}").get("status") or {}
            says = f"{status.get('phase', 'not seen by the operator yet')} {status.get('reason', '')}".strip()
            if says != seen:
                print(f"{time.monotonic() - began:5.1f} s  {says}  {status.get('message', '')}".rstrip())
                seen = says
            if status.get("phase") in TERMINAL:
                return 0 if status["phase"] == "Succeeded" else 1
            time.sleep(0.2)
        print(f"the job did not end within {seconds:.0f} s")
        return 1
    finally:
        ask("DELETE", f"{jobs}/{name}")


def end(seconds: float) -> int:
    """Cancel what is not over yet of this installation's jobs, and wait for it; 0 in any case.

    A hook that fails keeps Helm from uninstalling at all.
    """
    give_up_at = time.monotonic() + seconds
    while True:
        try:
            live = [job for job in jobs_of_ours() if not over(job)]
            if not live:
                print("nothing runs any more")
                return 0
            left = f"{len(live)} jobs still run"
            for job in live:
                if time.monotonic() <= give_up_at + CANCEL_SECONDS:
                    cancel(job)
        except (OSError, http.client.HTTPException, ValueError) as error:
            left = f"nobody can tell what still runs ({error})"
            print(f"{error}: trying again")
        if time.monotonic() > give_up_at:
            print(f"{left} after {seconds:.0f} s: the uninstall goes on, and so do they, without an operator")
            return 0
        time.sleep(1)


def jobs_of_ours() -> list[dict[str, Any]]:
    """The jobs that this installation's operator acts for, in its namespaces."""
    named = json.loads(os.environ.get("NAMESPACES") or "[]")
    paths = [f"{API}/namespaces/{name}/taskjobs" for name in named] or [f"{API}/taskjobs"]
    queues = {queue["metadata"]["name"]: queue for queue in listed(f"{API}/taskqueues")}
    return [job for path in paths for job in listed(path) if served(job, queues, os.environ["CONTROLLER_NAME"])]


def served(job: dict[str, Any], queues: dict[str, dict[str, Any]], controller: str) -> bool:
    """Whether the installation of that name acts for the job: what `Queues.serves` says in the operator."""
    queue = queues.get(job["spec"].get("queue", "default"), {})
    return bool(queue.get("spec", {}).get("controllerName", "default") == controller)


def cancel(job: dict[str, Any]) -> None:
    """Have the operator end it, if nobody has yet; what the API server refuses is said."""
    if job["spec"].get("cancel"):
        return
    of = job["metadata"]
    print(f"cancelling {of['namespace']}/{of['name']}")
    try:
        path = f"{API}/namespaces/{of['namespace']}/taskjobs/{of['name']}"
        ask("PATCH", path, {"metadata": {"uid": of["uid"]}, "spec": {"cancel": True}})
    except urllib.error.HTTPError as error:
        print(f"  {error.code}: {error.read(500).decode(errors='replace')}")


def listed(path: str) -> list[dict[str, Any]]:
    """All objects there, chunk by chunk; none where the CRDs are gone."""
    found: list[dict[str, Any]] = []
    rest = ""
    while True:
        try:
            page = ask("GET", f"{path}?limit=500&continue={rest}")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return []
            raise
        found += page["items"]
        rest = page["metadata"].get("continue", "")
        if not rest:
            return found


def over(job: dict[str, Any]) -> bool:
    """Whether the job has ended."""
    return (job.get("status") or {}).get("phase") in TERMINAL


if __name__ == "__main__":
    sys.exit({"test": test, "end": end}[sys.argv[1]](float(sys.argv[2])))
