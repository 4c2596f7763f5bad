"""What the routes work with, once for the process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from taskjob.history.reader import HistoryReader
from taskjob_api.auth import Guard, Rights
from taskjob_api.cluster import Cluster
from taskjob_api.desk import Desk
from taskjob_api.hub import Hub
from taskjob_api.jobs import Jobs, Names
from taskjob_api.leader import Leader
from taskjob_api.logs import Logs
from taskjob_api.reviews import Caller
from taskjob_api.seats import Seats
from taskjob_api.tickets import Tickets


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Bounds of the stream and of followed logs."""

    heartbeat_seconds: float = 15
    send_seconds: float = 30
    clients: int = 1000
    followers: int = 500


class Service:
    """What the routes work with."""

    def __init__(
        self,
        cluster: Cluster,
        reader: HistoryReader,
        hub: Hub,
        *,
        limits: StreamLimits,
        going: asyncio.Event,
        guard: Guard,
        leader: Leader,
    ) -> None:
        self.cluster = cluster
        self.leader = leader
        self.reader = reader
        self.hub = hub
        self.limits = limits
        self.going = going  # set when the process is about to end
        self.guard = guard
        self.seats = Seats(limits.clients, "clients are connected already")
        self.follower_seats = Seats(limits.followers, "logs are followed already")
        self.tickets = Tickets(reader)
        self._names = Names()

    def desk(self, caller: Caller) -> Desk:
        """For one caller."""
        rights, cluster = Rights(self.guard, caller), self.cluster.of(caller)
        jobs = Jobs(cluster, self.reader, self.hub, names=self._names, rights=rights)
        return Desk(rights, jobs, Logs(cluster, self.reader, rights), self.hub, self.going)
