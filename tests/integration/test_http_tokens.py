"""Whose a request is: ours with all our credentials, or somebody else's with nothing of ours.

The API server looks at a client certificate before it looks at a token. A request with a caller's token that also
showed our certificate would be carried out as ours.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from taskjob.kube.http import KubeHttp
from taskjob_cluster.credentials import ensure_certificate


@dataclass
class Recorder:
    """A TLS server that asks for client certificates and writes down who came: (certificate's name, Authorization)."""

    seen: list[tuple[str | None, str | None]] = field(default_factory=list)
    code: int = 200

    async def answer(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        shown = request.transport.get_extra_info("ssl_object").getpeercert()
        name = dict(pair for part in shown["subject"] for pair in part)["commonName"] if shown else None
        self.seen.append((name, request.headers.get("Authorization")))
        return web.json_response({}, status=self.code)


@asynccontextmanager
async def recorded(folder: Path, user: dict[str, Any]) -> AsyncIterator[tuple[Recorder, KubeHttp]]:
    for name in ("server", "us"):
        ensure_certificate(folder / f"{name}.crt", folder / f"{name}.key", common_name=name)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "us.crt"))
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    recorder = Recorder()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", recorder.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    server = f"https://127.0.0.1:{runner.addresses[0][1]}"
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority": str(folder / "server.crt")}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (folder / "kubeconfig").write_text(json.dumps(body))
    try:
        async with await KubeHttp.connect(folder / "kubeconfig") as http:
            yield recorder, http
    finally:
        await runner.cleanup()


async def get(http: KubeHttp, token: str | None = None) -> int:
    return (await http.request("GET", "/x", verb="get", resource="x", token=token)).code


async def stream(http: KubeHttp, token: str | None = None) -> None:
    async with http.stream("/x", verb="get", resource="x", query={}, silence_seconds=5, token=token) as response:
        await response.read()


async def test_with_a_callers_token_our_client_certificate_is_not_shown(tmp_path: Path) -> None:
    user = {"client-certificate": str(tmp_path / "us.crt"), "client-key": str(tmp_path / "us.key")}
    ensure_certificate(tmp_path / "us.crt", tmp_path / "us.key", common_name="us")
    async with recorded(tmp_path, user) as (recorder, http):
        # In turns, so that a connection that is kept open could be taken for the wrong one.
        for _ in range(3):
            await get(http)
            await get(http, "callers")
            await stream(http)
            await stream(http, "callers")
    assert recorder.seen == [("us", None), (None, "Bearer callers")] * 6


async def test_with_a_callers_token_ours_is_not_sent(tmp_path: Path) -> None:
    async with recorded(tmp_path, {"token": "ours"}) as (recorder, http):
        await get(http)
        await get(http, "callers")
        await stream(http, "callers")
    assert recorder.seen == [(None, "Bearer ours"), (None, "Bearer callers"), (None, "Bearer callers")]


@pytest.mark.parametrize(("token", "times"), [(None, 2), ("callers", 1)], ids=["ours", "the caller's"])
async def test_only_a_token_of_ours_is_renewed_and_sent_again(tmp_path: Path, token: str | None, times: int) -> None:
    async with recorded(tmp_path, {"token": "ours"}) as (recorder, http):
        recorder.code = 401
        assert await get(http, token) == 401
    assert recorder.seen == [(None, f"Bearer {token or 'ours'}")] * times
