"""Tenants of a real API server: a namespace each, a ServiceAccount in it with a real token, rights by RoleBindings."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from api_world import World, eventually
from taskjob_cluster import Cluster

TENANT = ("get,list,watch,create,patch", "taskjobs.taskjobs.dev")
LOGS = ("get", "pods/log")


@dataclass
class Tenant:
    """Who has a token. `home` is its ServiceAccount's namespace."""

    cluster: Cluster
    home: str
    name: str
    token: str = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def may(self, namespace: str, *rights: tuple[str, str]) -> str:
        """Give it rights, as (verbs, resources), in a namespace; the RoleBinding's name."""
        name = f"{self.name}-{secrets.token_hex(3)}"
        for verbs, resources in rights:
            role = f"{name}-{resources.partition('.')[0].replace('/', '-')}"
            self.cluster.kubectl("-n", namespace, "create", "role", role, f"--verb={verbs}", f"--resource={resources}")
            self.cluster.kubectl("-n", namespace, "create", "rolebinding", role, f"--role={role}", self.account)
        return name

    def may_everywhere(self, verbs: str, resources: str) -> None:
        """Give it rights in all namespaces."""
        name = f"{self.name}-{secrets.token_hex(3)}"
        self.cluster.kubectl("create", "clusterrole", name, f"--verb={verbs}", f"--resource={resources}")
        self.cluster.kubectl("create", "clusterrolebinding", name, f"--clusterrole={name}", self.account)

    def may_not(self, namespace: str, resource: str = "") -> None:
        """Take its rights in a namespace away: all of them, or those on a resource."""
        found = json.loads(self.cluster.kubectl("-n", namespace, "get", "rolebindings", "-o", "json"))
        for binding in found["items"]:
            name = binding["metadata"]["name"]
            if name.startswith(f"{self.name}-") and name.endswith(resource.replace("/", "-")):
                self.cluster.kubectl("-n", namespace, "delete", "rolebinding", binding["metadata"]["name"])

    @property
    def account(self) -> str:
        return f"--serviceaccount={self.home}:{self.name}"


def a_tenant(cluster: Cluster, namespace: str, *audiences: str) -> Tenant:
    """A ServiceAccount without any right, and its token."""
    name = f"tenant-{secrets.token_hex(3)}"
    cluster.kubectl("-n", namespace, "create", "serviceaccount", name)
    return Tenant(cluster, namespace, name, token_of(cluster, namespace, name, audiences))


def token_of(cluster: Cluster, namespace: str, account: str, audiences: Iterable[str] = ()) -> str:
    """A token by TokenRequest."""
    asked = [f"--audience={audience}" for audience in audiences]
    return cluster.kubectl("-n", namespace, "create", "token", account, *asked).strip()


@pytest.fixture
def tenant(cluster: Cluster, namespace: str) -> Tenant:
    """Has all rights of a tenant in the test's namespace."""
    tenant = a_tenant(cluster, namespace)
    tenant.may(namespace, LOGS, TENANT)  # `known` waits for the last
    return tenant


async def known(world: World, tenant: Tenant) -> None:
    """Wait until the API server knows the tenant's rights: it learns of a RoleBinding by a watch."""

    async def may_list() -> bool:
        path = f"/jobs/?namespace={tenant.home}"
        return (await world.http.get(path, headers=tenant.headers)).status_code == 200

    await eventually(may_list, "the tenant's rights are known to the API server")
