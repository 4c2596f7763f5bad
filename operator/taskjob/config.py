"""Typed settings, from the environment (`TASKJOBS_...`); the defaults run a development cluster."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class CommonSettings(BaseSettings):
    """What the operator and the API both need to know."""

    model_config = SettingsConfigDict(env_prefix="TASKJOBS_", extra="ignore")

    database_url: SecretStr = Field(description="PostgreSQL, as postgresql://user:password@host:port/name.")
    kubeconfig: Path | None = Field(None, description="A kubeconfig file; absent: the pod's own service account.")
    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"


class OperatorSettings(CommonSettings):
    """The operator's settings."""

    namespaces: tuple[str, ...] = Field((), description="Namespaces that are watched; none named: all.")
    lease_namespace: str = Field("default", description="Where the operator's Lease stands.")
    lease_name: str = "taskjobs-operator"
    fence_account: str = Field(
        "",
        description="The service account in `lease_namespace` that is given the epoch, for the chart's policies; "
        "empty: none.",
    )
    leader_election: bool = Field(
        False, description="Stand for election among replicas; without it each start takes the Lease by force."
    )
    lease_seconds: int = Field(15, ge=1, le=3600, description="After this long without renewal another one leads.")
    renew_deadline_seconds: float = Field(10, gt=0, description="A leader that cannot renew for so long stops.")
    identity: str = Field(
        "",
        description="Who holds the Lease. Name only what is unique to one pod and the same for each start of its "
        "container: such a start takes its predecessor's lease over at once. Empty: unique to each start.",
    )
    controller_name: str = Field(
        "default",
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        max_length=63,
        description="This installation's name: it serves the TaskQueues whose spec.controllerName is this.",
    )
    watch_cluster: bool = Field(
        True,
        description="Whether the operator may list and watch nodes and pods in the whole cluster, which it does once a "
        "TaskQueue says quotaFromNodes.",
    )
    watch_namespaces: bool = Field(
        True,
        description="Whether the operator may list and watch namespaces, which it does once a TaskQueue says "
        "namespaceSelector.",
    )
    admin_host: str = "127.0.0.1"
    admin_port: int = Field(8081, ge=0, le=65535, description="Probes, metrics, explain; 0 takes a free port.")
    explain_to: tuple[str, ...] = Field(
        (),
        description="Accounts that may ask the leader about jobs of any namespace, as the API server names them; their "
        "tokens must be meant for the audience taskjobs-operator.",
    )
    insecure_local: bool = Field(
        False, description="Ask nobody for a token who asks about jobs; admin_host must be loopback."
    )
    writes_in_flight: int = Field(48, ge=1, le=1000, description="Requests to the API server at once.")
    request_timeout_seconds: float = Field(15, gt=0, le=300)
    tick_seconds: float = Field(
        0.005, ge=0, le=1, description="Between two cycles at least; events within it share one."
    )
    relist_seconds: float = Field(300, ge=5, description="How often TaskJobs are listed anew.")
    ttl_seconds_after_finished: int = Field(3600, ge=0, description="For TaskJobs that do not say it themselves.")
    log_limit_bytes: int = Field(
        10 * 2**20, ge=0, description="Kept of one container's log: head and tail, at least 1024; 0: no log is read."
    )
    log_follow_after_seconds: float = Field(
        2, ge=0, le=3600, description="The log of a container that runs for longer is followed into history."
    )
    log_follows: int = Field(100, ge=0, le=5000, description="Logs followed at once; 0: none is.")
    log_redact: tuple[str, ...] = Field(
        (), description="Regular expressions; what they match within a line of a log never reaches history."
    )
    history_flush_seconds: float = Field(0.1, gt=0, le=10)
    history_buffer: int = Field(200_000, ge=1000, description="Entries kept while PostgreSQL is away.")

    @field_validator("renew_deadline_seconds")
    @classmethod
    def _well_before_the_end(cls, deadline: float, info: ValidationInfo) -> float:
        lease = info.data.get("lease_seconds")
        if lease is not None and deadline * 1.2 > lease:
            raise ValueError(
                f"must be at most five sixths of TASKJOBS_LEASE_SECONDS ({lease}): a leader has to stop before another "
                "one begins"
            )
        return deadline

    history_keep_days: float = Field(
        365, ge=0, description="How long jobs that left the cluster stay in history, with all of theirs; 0: for ever."
    )
    history_keep_logs_days: float = Field(30, ge=0, description="How long their logs do; 0: as long as the job.")

    @field_validator("log_limit_bytes")
    @classmethod
    def _none_or_some(cls, limit: int) -> int:
        if 0 < limit < 1024:
            raise ValueError(f"{limit} bytes hold no head and tail: at least 1024, or 0 to read no log at all")
        return limit

    @field_validator("log_redact")
    @classmethod
    def _usable(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                found = re.compile(pattern.encode())
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
            if found.match(b"") is not None:
                raise ValueError(f"{pattern!r} matches the empty text, so it would match everywhere")
        return patterns

    @field_validator("insecure_local")
    @classmethod
    def _on_loopback(cls, insecure: bool, info: ValidationInfo) -> bool:
        host = info.data.get("admin_host")
        if insecure and host not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError(f"TASKJOBS_ADMIN_HOST is {host}: it must be loopback (127.0.0.1, ::1, localhost)")
        return insecure


class ApiSettings(CommonSettings):
    """The API's settings."""

    insecure_local: bool = Field(
        False, description="Ask nobody for a token and use our own credentials for everything; on loopback only."
    )
    audiences: tuple[str, ...] = Field(
        (), description="Of callers' tokens: one of these; none named: the API server's own."
    )
    access_cache_seconds: float = Field(10, ge=0, le=60, description="How long what a caller may do is remembered.")
    access_recheck_seconds: float = Field(
        40,
        ge=0.1,
        le=3600,
        description="How often it is looked at again for streams and followed logs. With the cache above and the API "
        "server's own of tokens (10 s), a right that is withdrawn shows nothing after a minute.",
    )
    operator_url: str = Field(
        "http://127.0.0.1:8081",
        pattern=r"^http://[^/\s]+$",
        description="The operators' own port. Of all addresses that its name has, the one that leads is asked.",
    )
    operator_token_file: Path | None = Field(
        None, description="A token of ours for the audience taskjobs-operator; read anew each time."
    )
    allowed_origins: tuple[str, ...] = Field((), description="Origins whose pages may use the API in a browser.")

    api_host: str = "127.0.0.1"
    api_port: int = Field(8080, ge=0, le=65535, description="0 takes a free port; the start message names it.")
    request_timeout_seconds: float = Field(15, gt=0, le=300, description="Of one request to the API server.")
    stream_heartbeat_seconds: float = Field(15, ge=0.05, le=300, description="Between HEARTBEAT frames.")
    stream_kept: int = Field(8192, ge=16, le=1_000_000, description="Transitions that a slow client may be behind.")
    stream_clients: int = Field(1000, ge=1, le=100_000, description="Clients of the stream at once.")
    log_followers: int = Field(500, ge=1, le=100_000, description="Logs that are followed at once.")


def explain_invalid(error: ValidationError) -> str:
    """What is wrong with the environment, a line for each variable; values are not shown."""
    lines = [
        f"TASKJOBS_{str(wrong['loc'][0]).upper() if wrong['loc'] else ''}: {wrong['msg']}" for wrong in error.errors()
    ]
    return "The environment is not usable:\n  " + "\n  ".join(lines)
