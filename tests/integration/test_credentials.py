"""Who we are to the API server: kubeconfig files of several kinds, and tokens that are replaced while we work."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from taskjob.kube.credentials import ConfigurationError, Credentials
from taskjob.kube.handlers import connection
from taskjob.kube.http import KubeHttp
from taskjob_cluster import Cluster


def kubeconfig(cluster: Cluster, folder: Path, user: dict[str, Any]) -> Path:
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "c", "cluster": {"server": cluster.server, "certificate-authority": str(cluster.ca_file)}}
        ],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(body))
    return path


async def code_of_a_request(http: KubeHttp) -> int:
    return (await http.request("GET", "/api/v1/namespaces/default", verb="get", resource="namespaces")).code


async def test_a_token_that_was_replaced_in_its_file_is_read_again_when_refused(
    cluster: Cluster, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("worthless")
    async with await KubeHttp.connect(kubeconfig(cluster, tmp_path, {"tokenFile": str(token)})) as http:
        assert await code_of_a_request(http) == 401
        token.write_text(cluster.token.strip())
        assert await code_of_a_request(http) == 200
        assert connection(http.credentials).token == cluster.token.strip(), "kopf gets the fresh one, too"


async def test_a_token_file_that_is_gone_leaves_the_token_as_it_was(
    cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token = tmp_path / "token"
    token.write_text(cluster.token.strip())
    credentials = await Credentials.load(kubeconfig(cluster, tmp_path, {"tokenFile": str(token)}))
    token.unlink()
    await credentials.refresh()
    assert credentials.token == cluster.token.strip()
    assert "could not be read again" in caplog.text


async def test_an_exec_plugin_is_asked_and_asked_again_when_its_token_is_refused(
    cluster: Cluster, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("worthless")
    plugin = tmp_path / "plugin.py"
    plugin.write_text(
        "import json, pathlib\n"
        f"token = pathlib.Path({str(token)!r}).read_text()\n"
        "print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1', 'kind': 'ExecCredential',\n"
        "                  'status': {'token': token}}))\n"
    )
    user = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": [str(plugin)],
            "interactiveMode": "Never",
        }
    }
    async with await KubeHttp.connect(kubeconfig(cluster, tmp_path, user)) as http:
        assert await code_of_a_request(http) == 401
        token.write_text(cluster.token.strip())
        assert await code_of_a_request(http) == 200


@pytest.mark.parametrize("text", ["", "{", "kind: Config", "[]"])
async def test_a_file_that_is_no_kubeconfig_is_told_by_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd-kubeconfig"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="odd-kubeconfig"):
        await Credentials.load(path)


async def test_outside_a_cluster_and_without_a_kubeconfig_the_way_out_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigurationError, match="TASKJOBS_KUBECONFIG"):
        await Credentials.load(None)
