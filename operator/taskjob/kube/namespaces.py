"""Namespaces and their labels, by which queues choose whose jobs they take.

On the data path to `core.namespaces`. Watched only once a TaskQueue has a `namespaceSelector` that picks some, and if
this installation may: it takes the right to list and watch namespaces.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, NoReturn, Protocol

import msgspec

from taskjob.core.model import Namespace
from taskjob.core.namespaces import LabelledNamespace, Unknown
from taskjob.kube.fields import UNREADABLE
from taskjob.kube.http import KubeHttp
from taskjob.kube.informer import Informer, Kind, Told
from taskjob.kube.lists import ListError
from taskjob.kube.schema import UnusableObjectError
from taskjob.kube.surroundings import Meta

TO_GRANT_NAMESPACES: Final = "let it list and watch namespaces (chart value rbac.watchNamespaces)"


class NamespaceObject(msgspec.Struct, frozen=True):
    """A namespace as decoded."""

    metadata: Meta


_decode = msgspec.json.Decoder(NamespaceObject).decode


def parse_namespace(raw: bytes | NamespaceObject) -> LabelledNamespace:
    """A namespace as the core sees it. Raises `UnusableObjectError`."""
    try:
        found = raw if isinstance(raw, NamespaceObject) else _decode(raw)
    except UNREADABLE as error:
        raise UnusableObjectError(f"a namespace that cannot be read: {error}") from None
    labels = tuple(sorted((found.metadata.labels or {}).items()))
    return LabelledNamespace(Namespace(found.metadata.name), labels)


class NamespaceSink(Protocol):
    """Who is told. All are called in the event loop and must not block."""

    def replace_namespaces(self, version: int, namespaces: Sequence[LabelledNamespace]) -> object:
        """All namespaces."""

    def observe_namespace(self, namespace: LabelledNamespace) -> object:
        """A namespace appeared or changed."""

    def forget_namespace(self, namespace: LabelledNamespace) -> object:
        """A namespace was deleted."""

    def namespaces_unknown(self, unknown: Unknown, why: str) -> object:
        """They cannot be listed."""


class NamespaceWatch:
    """Follows namespaces, from when it is needed."""

    def __init__(self, http: KubeHttp, sink: NamespaceSink, needed: asyncio.Event) -> None:
        self._sink = sink
        self._needed = needed
        self._told = asyncio.Event()
        self._informer = Informer(
            http,
            Kind("namespaces", NamespaceObject, parse_namespace),
            Told(self._replace, sink.observe_namespace, sink.forget_namespace),
            ["/api/v1/namespaces"],
        )
        self._informer.on_failure = self._not_listed

    async def run(self) -> NoReturn:
        """Wait until it is needed, then follow until cancelled."""
        await self._needed.wait()
        await self._informer.run()

    async def wait_told(self) -> None:
        """Wait until namespaces are known, or known to be unknown; not at all if nobody needs them."""
        if self._needed.is_set():
            await self._told.wait()

    def _replace(self, version: int, namespaces: Sequence[LabelledNamespace]) -> None:
        self._sink.replace_namespaces(version, namespaces)
        self._told.set()

    def _not_listed(self, error: ListError) -> None:
        """The list is tried again for ever; only that it is forbidden is told."""
        if error.code in (401, 403):
            why = f"spec.namespaceSelector cannot be followed, {error}: {TO_GRANT_NAMESPACES}, or remove it"
            self._sink.namespaces_unknown(Unknown.FORBIDDEN, why)
            self._told.set()
