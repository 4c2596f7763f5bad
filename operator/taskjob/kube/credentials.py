"""The cluster's address and our credentials, read by the official client: kubeconfig files (exec plugins included)
or the pod's service account. Tokens are read again when they may have been rotated.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import yaml
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

log = logging.getLogger(__name__)

# Of a file that is no kubeconfig the official loader says so in whatever way it happens to stumble.
_UNREADABLE: Final = (
    ConfigException,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
    yaml.YAMLError,
    ssl.SSLError,
)
_REFRESH_SECONDS: Final = 60  # how old a token may become before its source is asked again


class ConfigurationError(Exception):
    """The cluster's address or credentials cannot be read; the message says which file and why."""


class Credentials:
    """Where the API server is and who we are there; tokens are read again when they may have been rotated."""

    def __init__(self, configuration: Configuration, kubeconfig: Path | None, loader: Any) -> None:
        self.configuration = configuration
        self._kubeconfig = kubeconfig
        self._loader = loader  # of the official client; None in a cluster
        self._read_at = asyncio.get_running_loop().time()
        self._reading: asyncio.Lock = asyncio.Lock()
        self.server: str = configuration.host
        encrypted = self.server.startswith("https")
        self.ssl: ssl.SSLContext | bool = self._ssl() if encrypted else False
        self.ssl_for_tokens: ssl.SSLContext | bool = self._ssl(ours=False) if encrypted else False
        """For requests with somebody else's token. It never shows our client certificate: the API server looks at
        certificates first, and would take every caller for us."""

    @classmethod
    async def load(cls, kubeconfig: Path | None) -> Self:
        """Read them from a kubeconfig file or, without one, from the pod's service account.

        Raises `ConfigurationError`. A client certificate is read once; tokens are kept fresh.
        """
        configuration = Configuration()
        try:
            if kubeconfig is None:
                load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]  # it has no types
                return cls(configuration, None, None)
            loader = await load_kube_config(str(kubeconfig), None, configuration, False)  # type: ignore[no-untyped-call]  # it has no types
            return cls(configuration, kubeconfig, loader)
        except _UNREADABLE as error:
            where = f"kubeconfig {kubeconfig}" if kubeconfig is not None else "the pod's service account"
            hint = "" if kubeconfig is not None else "; outside a cluster set TASKJOBS_KUBECONFIG"
            raise ConfigurationError(f"cannot read {where}: {error}{hint}") from error

    def _ssl(self, *, ours: bool = True) -> ssl.SSLContext:
        of = self.configuration
        context = ssl.create_default_context(cafile=of.ssl_ca_cert, cadata=of.ca_cert_data)
        if of.cert_file and ours:
            context.load_cert_chain(of.cert_file, keyfile=of.key_file)
        if not of.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    @property
    def token(self) -> str | None:
        """The bearer token as last read, without its scheme."""
        scheme, _, token = str(self.configuration.api_key.get("BearerToken", "")).partition(" ")
        return token.strip() if scheme.lower() == "bearer" and token else None

    @property
    def namespace(self) -> str | None:
        """The namespace of the kubeconfig's current context, if it names one."""
        context = self._loader.current_context["context"] if self._loader is not None else {}
        named = context.get("namespace") if "namespace" in context else None
        return str(named) if named else None

    async def headers(self) -> Mapping[str, str]:
        """The header by which we authenticate, fresh."""
        if asyncio.get_running_loop().time() - self._read_at > _REFRESH_SECONDS and not self._exec_without_expiry():
            await self.refresh()
        header = self.configuration.api_key.get("BearerToken")
        return {"Authorization": header.strip()} if header else {}

    async def refresh(self) -> None:
        """Read the token again where it comes from. What cannot be read now stays as it is, and is told."""
        async with self._reading:
            self._read_at = asyncio.get_running_loop().time()
            try:
                if self._loader is None:
                    load_incluster_config(client_configuration=self.configuration)  # type: ignore[no-untyped-call]  # it has no types
                else:
                    await self._loader.load_and_set(self.configuration)
            except _UNREADABLE as error:
                log.warning("The credentials could not be read again: %s", error)

    def _exec_without_expiry(self) -> bool:
        # Such a plugin is run again only when the server answers 401, as kubectl does.
        of_exec = self._loader is not None and "exec" in (self._loader._user or ())
        return of_exec and not hasattr(self._loader, "exec_plugin_expiry")
