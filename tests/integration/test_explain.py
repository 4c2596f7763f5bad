"""From the leading operator's state to a tenant's eyes: why a job waits, and of the others only what it may see."""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from api_world import Judged, Refusal, World, a_leader, a_world, eventually
from cluster_api import InNamespace, a_job
from operators import Site
from taskjob.cli.command import run
from taskjob.kube.callers import AUDIENCE
from taskjob_api.leader import Leader
from tenants import TENANT, Tenant, a_tenant, token_of

pytestmark = pytest.mark.cluster
API_ACCOUNT = "the-api"


@pytest.fixture
def token(site: Site) -> str:
    """The API's own, for the operator."""
    site.cluster.kubectl("-n", site.namespace, "create", "serviceaccount", API_ACCOUNT)
    return token_of(site.cluster, site.namespace, API_ACCOUNT, [AUDIENCE])


def account(site: Site) -> str:
    return f"system:serviceaccount:{site.namespace}:{API_ACCOUNT}"


async def explained(world: World, tenant: Tenant, name: str) -> dict[str, object]:
    """What the API tells a tenant of its job; asked until the rights and the job are known everywhere."""
    told: dict[str, object] = {}

    async def is_known() -> bool:
        listed = await world.http.get(f"/jobs/?namespace={tenant.home}&name={name}", headers=tenant.headers)
        if listed.status_code != 200 or not listed.json()["items"]:
            return False
        answer = await world.http.get(f"/jobs/{listed.json()['items'][0]['id']}/explain", headers=tenant.headers)
        if answer.status_code == 200:
            told.update(answer.json())
        return answer.status_code == 200

    await eventually(is_known, f"{name} is explained")
    return told


async def test_a_tenant_learns_why_its_job_waits_and_only_how_much_a_stranger_holds(
    site: Site, token: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queue, elsewhere = f"small-{secrets.token_hex(3)}", f"{site.namespace}-b"
    site.api.create_queue(queue, cpu=2)
    site.api.create_namespace(elsewhere)
    there = InNamespace(site.api, elsewhere)
    there.create(a_job("owners-only", queue=queue, requests={"cpu": "1500m"}, seconds=3600))
    (tmp_path / "token").write_text(token)
    stranger, auditor = a_tenant(site.cluster, site.namespace), a_tenant(site.cluster, site.namespace)
    stranger.may(site.namespace, TENANT)
    auditor.may(site.namespace, TENANT)
    auditor.may(elsewhere, TENANT)
    with site.operator(explain_to=[account(site)]) as operator:
        operator.wait_ready()
        await eventually(lambda: asyncio.to_thread(launched, there), "the quota is held")
        site.create("waits", queue=queue, requests={"cpu": "1"})
        async with a_world(
            site.cluster.kubeconfig,
            site.database_url,
            migrated=False,
            judged=Judged(),
            operator_url=operator.url,
            operator_token=tmp_path / "token",
        ) as world:
            told = await explained(world, stranger, "waits")
            assert (told["phase"], told["reason"]) == ("Pending", "WaitingForQuota")
            assert told["lacking"] == {"resource": "cpu", "asked": "1", "available": "500m", "limit": "2"}
            assert told["place"] == {"position": 1, "of": 1}
            assert told["holders"] == [{"namespace": None, "name": None, "queue": None, "amount": "1500m"}]
            assert "owners-only" not in json.dumps(told)
            assert elsewhere not in json.dumps(told)
            seen = await explained(world, auditor, "waits")
            assert seen["holders"] == [
                {"namespace": elsewhere, "name": "owners-only", "queue": queue, "amount": "1500m"}
            ]
            # The command says the same.
            arguments = ["explain", "waits", "-n", site.namespace, "--api", world.url]
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("TASKJOBS_TOKEN", stranger.token)
                assert await asyncio.to_thread(run, arguments) == 0
            said = capsys.readouterr().out
            assert f'number 1 of 1 that wait in queue "{queue}"' in said
            assert "1500m  a job that you may not read" in said
            # Once the operator is gone nobody can say why, and that is what is said; what has ended needs nobody.
            uid = str(told["id"])
            assert operator.stop() == 0
            answer = await world.http.get(f"/jobs/{uid}/explain", headers=stranger.headers)
            assert Refusal.of(answer) == Refusal(503, "unavailable", ())
            assert "no operator that leads can be asked" in answer.json()["detail"]
            assert int(answer.headers["retry-after"]) > 0
    there.delete_all()
    site.here.delete_all()
    site.api.call("DELETE", f"/apis/taskjobs.dev/v1beta1/taskqueues/{queue}")


def launched(there: InNamespace) -> bool:
    with there.watch_pods() as pods:
        return bool(pods.snapshot())


def test_the_operator_answers_the_accounts_that_it_was_told_of_and_nobody_else(site: Site, token: str) -> None:
    other = a_tenant(site.cluster, site.namespace, AUDIENCE)
    plain = token_of(site.cluster, site.namespace, API_ACCOUNT)
    site.create("held", suspend=True)
    with site.operator(explain_to=[account(site)]) as operator:
        operator.wait_ready()
        site.jobs.wait_status("held", reason="Suspended")
        path = f"/explain?namespace={site.namespace}&name=held"
        code, text = operator.ask(path, token)
        assert (code, json.loads(text)["reason"]) == (200, "Suspended")
        uid = json.loads(text)["id"]
        assert json.loads(operator.ask(f"/explain?uid={uid}", token)[1]) == json.loads(text)
        assert operator.ask("/explain?uid=nobody", token)[0] == 404
        assert operator.ask("/explain", token)[0] == 404
        for why, wrong in (("none", None), ("another account's", other.token), ("for the API server", plain)):
            code, text = operator.ask(path, wrong)
            assert code == 401, why
            assert "held" not in text, why
        assert operator.ask(path, "not.a.token")[0] == 401


async def test_a_standby_says_who_leads_and_names_no_job(site: Site, token: str) -> None:
    where: dict[str, Any] = {"lease_namespace": site.namespace, "lease_name": "of-this-test", "leader_election": True}
    accepted = [account(site)]
    with site.operator(name="first", identity="first", explain_to=accepted, **where) as first:
        first.wait_ready()  # a standby is that too

        async def leads() -> bool:
            return first.ask("/readyz") == (200, "ok\n")

        await eventually(leads, "the first one leads")
        with site.operator(name="second", identity="second", explain_to=accepted, **where) as second:
            second.wait_ready()
            site.create("held", suspend=True)
            site.jobs.wait_status("held", reason="Suspended")
            path = f"/explain?namespace={site.namespace}&name=held"
            assert first.ask(path, token)[0] == 200

            async def has_looked() -> bool:
                return second.ask("/readyz") == (200, "standby: epoch 1 is held by first\n")

            await eventually(has_looked, "the standby has looked at the Lease")
            assert second.ask(path, token) == (503, "standby: epoch 1 is held by first\n")


async def test_of_several_operators_the_one_that_leads_is_heard(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All addresses of the name are asked: here two of loopback, at one port, of which one answers."""
    async with a_leader(lambda uid: {"id": uid}) as url:
        port = url.rpartition(":")[2]
        async with Leader(f"http://localhost:{port}") as leader:

            async def addresses() -> list[str]:
                return ["127.0.0.9", "127.0.0.1"]

            monkeypatch.setattr(leader, "_addresses", addresses)
            assert await leader.explain("u") == {"id": "u"}
