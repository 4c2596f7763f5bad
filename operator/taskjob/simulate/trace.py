"""A trace: queues, and jobs with the instants at which they come and the seconds for which they run.

It is written in YAML. Queues and jobs are the manifests of TaskQueues and TaskJobs, or only what differs; a job's item
also says when it comes, how long each attempt runs and how many there are of its kind. `docs/scheduling.md` tells the
format. Random numbers come from the trace's seed and the item's name alone, so that one trace is always one story.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import Field, StrictInt, ValidationError, model_validator

from taskjob.core.amounts import parse as parse_amount
from taskjob.core.capacity import Node
from taskjob.core.model import Job, JobName, Namespace, Queue, Uid
from taskjob.core.namespaces import LabelledNamespace
from taskjob.core.phases import Phase
from taskjob.kube.schema import parse_job, parse_queue
from taskjob.resources import TaskJob, TaskQueue
from taskjob.resources.fields import Amounts, Metadata, Part
from taskjob.resources.words import API_VERSION, TASKJOB, TASKQUEUE, ApiVersion, TaskJobKind, TaskQueueKind

BEGINNING: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Second 0 of every trace."""

NAME_OF_A_NAMESPACE: Final = "kubernetes.io/metadata.name"
"""The label that every namespace has."""
JOBS_MAX: Final = 2_000_000
_SECONDS_MAX: Final = 1e9
_VALUES_MAX: Final = 20_000_000
"""Of a whole file, an alias counted as often as it stands there: few lines can stand for more than any memory holds."""
_IMAGE: Final = "simulated"

Positive = Annotated[float, Field(gt=0, le=_SECONDS_MAX, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, le=_SECONDS_MAX, allow_inf_nan=False)]


class TraceError(Exception):
    """The trace cannot be used; the message says which field and why."""


class Duration(Part):
    """Seconds: a number, or drawn at random."""

    exactly: NotNegative | None = None  # what a bare number means
    uniform: tuple[NotNegative, NotNegative] | None = None
    exponential: Positive | None = None  # its mean
    lognormal: tuple[Positive, Positive] | None = None  # its median and its 95th percentile

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, given: object) -> object:
        return given if isinstance(given, dict | Duration) else {"exactly": given}

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(part is not None for part in (self.exactly, self.uniform, self.exponential, self.lognormal)) != 1:
            raise ValueError("give a number, uniform: [least, most], exponential: mean, or lognormal: [median, p95]")
        if self.lognormal is not None and self.lognormal[1] < self.lognormal[0]:
            raise ValueError("lognormal: the 95th percentile is less than the median")
        return self

    def draw(self, chance: random.Random) -> float:
        """The next number."""
        if self.uniform is not None:
            return chance.uniform(*self.uniform)
        if self.exponential is not None:
            return chance.expovariate(1 / self.exponential)
        if self.lognormal is not None:
            median, p95 = self.lognormal
            return chance.lognormvariate(math.log(median), math.log(p95 / median) / 1.6449)
        return self.exactly or 0.0


_AT_ONCE: Final = Duration(exactly=0)
_Several = Annotated[dict[str, Annotated[StrictInt, Field(ge=1, le=100_000)]], Field(min_length=1, max_length=4)]


class _Item(Part):
    """A manifest, or its name and spec alone; `{...}` in its texts stands for a number of `for`."""

    api_version: ApiVersion = API_VERSION
    metadata: Metadata | None = None
    name: str | None = None
    spec: dict[str, Any] = Field(default_factory=dict)
    for_: _Several | None = Field(None, alias="for")

    @model_validator(mode="after")
    def _named(self) -> Self:
        named = self.metadata.name if self.metadata is not None else None
        if bool(named) == bool(self.name):
            raise ValueError("give it one name: 'name', or 'metadata.name'")
        return self

    def _manifest(self, kind: str, numbers: Mapping[str, int], spec: Mapping[str, Any], **metadata: Any) -> Any:
        said = self.metadata.model_dump(by_alias=True, exclude_none=True) if self.metadata is not None else {}
        whole = {
            "apiVersion": API_VERSION,
            "kind": kind,
            "metadata": {**metadata, **said, **({"name": self.name} if self.name else {})},
            "spec": dict(spec),
        }
        return _filled(whole, numbers) if numbers else whole


class QueueItem(_Item):
    """One TaskQueue, or one for each number of `for`, as it is from that second on."""

    kind: TaskQueueKind = TASKQUEUE
    at: NotNegative = 0

    def queues(self) -> Iterator[Change]:
        """They as the core knows them."""
        for numbers in _numbers(self.for_):
            manifest = self._manifest(TASKQUEUE, numbers, self.spec)
            TaskQueue.model_validate(manifest)
            yield Change(self.at, parse_queue(_created({**manifest}, f"queue-{manifest['metadata']['name']}")))


class NodeItem(Part):
    """One node, or one for each number of `for`, for queues whose quota follows the nodes."""

    name: Annotated[str, Field(min_length=1)]
    allocatable: Amounts
    labels: dict[str, str] = Field(default_factory=dict)
    for_: _Several | None = Field(None, alias="for")

    def nodes(self) -> Iterator[Node]:
        """They as the core knows them: ready, and free."""
        given = {resource: parse_amount(resource, quantity) for resource, quantity in self.allocatable.items()}
        for numbers in _numbers(self.for_):
            labels = _filled(self.labels, numbers)
            yield Node(_filled(self.name, numbers), frozenset(labels.items()), tuple(sorted(given.items())))


class JobItem(_Item):
    """One TaskJob, or `count` of them, for each number of `for`."""

    kind: TaskJobKind = TASKJOB
    asks: Amounts | None = None  # short for the requests of its container
    at: NotNegative = 0
    count: Annotated[StrictInt, Field(ge=1, le=JOBS_MAX)] | None = None
    every: Duration = _AT_ONCE  # seconds between one and the next
    runs: Duration = _AT_ONCE  # seconds for which an attempt runs
    ends: Literal["Succeeded", "Failed"] = "Succeeded"

    def jobs(self, seed: int) -> Iterator[Arrival]:
        """They in the order in which they come."""
        for numbers in _numbers(self.for_):
            manifest = self._manifest(TASKJOB, numbers, self._spec(), namespace="default")
            TaskJob.model_validate(manifest)
            first = parse_job(_created(manifest, "uid"))
            if first.problem is not None:
                raise ValueError(first.problem)
            chance = random.Random(f"{seed}/{first.namespace}/{first.name}")  # noqa: S311 - a simulation
            at, digits = self.at, len(str(self.count or 1))
            for n in range(1, (self.count or 1) + 1):
                if at > _SECONDS_MAX:
                    raise ValueError(f"number {n} of them would come after {_SECONDS_MAX:g} s: give less of 'every'")
                name = first.name if self.count is None else JobName(f"{first.name}-{n:0{digits}}")
                yield Arrival(
                    at=at,
                    runs=self.runs.draw(chance),
                    ends=Phase(self.ends),
                    job=replace(
                        first,
                        name=name,
                        uid=Uid(f"{first.namespace}/{name}"),
                        # What the API server keeps of an instant are its whole seconds.
                        created_at=BEGINNING + timedelta(seconds=math.floor(at)),
                    ),
                )
                at += self.every.draw(chance)

    def _spec(self) -> dict[str, Any]:
        spec = dict(self.spec)
        if "template" not in spec:
            spec.setdefault("image", _IMAGE)
        if self.asks is not None:
            if "template" in spec or "resources" in spec:
                raise ValueError("asks: is short for spec.resources.requests, and one of both is enough")
            spec["resources"] = {"requests": self.asks}
        return spec


class _File(Part):
    seed: StrictInt = 0
    queues: list[QueueItem] = Field(default_factory=list)
    nodes: list[NodeItem] = Field(default_factory=list)
    namespaces: dict[str, dict[str, str]] = Field(default_factory=dict)  # the labels of each
    jobs: list[JobItem] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One job: it comes `at` that second, and each attempt of it runs for so many seconds and ends like that."""

    at: float
    runs: float
    ends: Phase
    job: Job


@dataclass(frozen=True, slots=True)
class Change:
    """From second `at` on the queue is this."""

    at: float
    queue: Queue


@dataclass(frozen=True, slots=True)
class Trace:
    """What is to happen; `changes` and `arrivals` in the order in which they come."""

    changes: tuple[Change, ...]
    arrivals: tuple[Arrival, ...]
    nodes: tuple[Node, ...] = ()
    namespaces: tuple[LabelledNamespace, ...] = ()

    @property
    def queues(self) -> tuple[Queue, ...]:
        """Each queue as it is at the end."""
        return tuple({change.queue.name: change.queue for change in self.changes}.values())


def read(path: Path) -> Trace:
    """The trace in a file. Raises `TraceError`."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"{path} cannot be read: {error}") from error
    try:
        return parse(text)
    except TraceError as error:
        raise TraceError(f"{path}: {error}") from error


def parse(text: str) -> Trace:
    """The trace that a YAML text tells. Raises `TraceError`."""
    try:
        given = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are the safe loader
        _weight(given, {})
    except yaml.YAMLError as error:
        raise TraceError(f"it is not YAML: {error}") from error
    except ValueError as error:  # a number or a date that is none, or `_weight`
        raise TraceError(f"it cannot be used: {error}") from error
    except RecursionError:
        raise TraceError("it is nested too deeply") from None
    try:
        file = _File.model_validate(given)
    except ValidationError as error:
        raise TraceError(_said(error)) from error
    changes = sorted(_each("queues", file.queues, QueueItem.queues), key=lambda change: change.at)
    nodes = tuple(_each("nodes", file.nodes, NodeItem.nodes))
    arrivals: dict[Uid, Arrival] = {}
    for arrival in _each("jobs", file.jobs, lambda item: item.jobs(file.seed)):
        if arrival.job.uid in arrivals:
            raise TraceError(f"jobs: {arrival.job.uid} is there twice")
        arrivals[arrival.job.uid] = arrival
        if len(arrivals) > JOBS_MAX:
            raise TraceError(f"jobs: there are more than {JOBS_MAX}")
    names = dict.fromkeys([*file.namespaces, *(arrival.job.namespace for arrival in arrivals.values())])
    namespaces = tuple(
        LabelledNamespace(
            Namespace(name), tuple(sorted({**file.namespaces.get(name, {}), NAME_OF_A_NAMESPACE: name}.items()))
        )
        for name in names
    )
    in_order = sorted(arrivals.values(), key=lambda arrival: arrival.at)
    return Trace(tuple(changes), tuple(in_order), nodes, namespaces)


def _weight(value: Any, known: dict[int, int | None]) -> int:
    """How many values it is with its aliases written out; `known` by id, None while it is being counted.

    Raises ValueError if they are too many, or if it is a part of itself."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) in known:
        if (weight := known[id(value)]) is None:
            raise ValueError("an alias stands within what it stands for")
        return weight
    known[id(value)] = None
    parts = value.values() if isinstance(value, dict) else value
    weight = known[id(value)] = 1 + sum(_weight(part, known) for part in parts)
    if weight > _VALUES_MAX:
        raise ValueError(f"its aliases stand for more than {_VALUES_MAX} values")
    return weight


def _each(where: str, items: Iterable[Any], made: Any) -> Iterator[Any]:
    for index, item in enumerate(items):
        try:
            yield from made(item)
        except ValidationError as error:
            raise TraceError(_said(error, f"{where}[{index}]")) from error
        except ValueError as error:
            raise TraceError(f"{where}[{index}]: {error}") from error


def _said(error: ValidationError, where: str = "") -> str:
    first = error.errors(include_url=False)[0]
    path = where
    for part in first["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    message = "unknown field" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
    return f"{path}: {message}" if path else message


def _numbers(several: Mapping[str, int] | None) -> Iterator[dict[str, int]]:
    names = list(several or ())
    if math.prod((several or {}).values()) > JOBS_MAX:
        raise ValueError(f"for: these are more than {JOBS_MAX}")
    for numbers in product(*(range(1, (several or {})[name] + 1) for name in names)):
        yield dict(zip(names, numbers, strict=True))


def _filled(value: Any, numbers: Mapping[str, int]) -> Any:
    if isinstance(value, str):
        for name, number in numbers.items():
            value = value.replace("{" + name + "}", str(number))
        return value
    if isinstance(value, list):
        return [_filled(item, numbers) for item in value]
    if isinstance(value, dict):
        return {_filled(key, numbers): _filled(item, numbers) for key, item in value.items()}
    return value


def _created(manifest: dict[str, Any], uid: str) -> dict[str, Any]:
    given = {"uid": uid, "resourceVersion": "1", "generation": 1}
    return {**manifest, "metadata": {**manifest["metadata"], **given}}
