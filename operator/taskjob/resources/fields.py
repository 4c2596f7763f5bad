"""The kinds of values that the resources are made of, and the common behaviour of their models."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StrictBool,
    StrictInt,
    ValidationError,
)
from pydantic import WithJsonSchema as Shown
from pydantic.alias_generators import to_camel
from pydantic_core import InitErrorDetails, PydanticCustomError

from taskjob.resources.pod_template import QUANTITY_PATTERN
from taskjob.resources.words import (
    CAMEL_CASE,
    DNS_LABEL,
    DNS_SUBDOMAIN,
    INT32_MAX,
    MESSAGE_MAX,
    NAME_MAX,
    PRIORITY_MAX,
    QUEUE_NAME_MAX,
    ConditionStatus,
    Priority,
)

_QUANTITY_MAX: Final = 64


class Part(BaseModel):
    """A part of an object: camelCase in manifests, snake_case in Python; an unknown field is an error that names it."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class ObservedPart(Part):
    """A part of a status: a field that a newer operator wrote is passed over."""

    model_config = ConfigDict(extra="ignore")


def _check_quantity(value: object) -> str | int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and len(value) <= _QUANTITY_MAX and re.fullmatch(QUANTITY_PATTERN, value):
        return value
    raise ValueError('write a quantity as Kubernetes has them, such as 2, "500m", "1.5" or "64Mi"; not negative')


Quantity = Annotated[
    str | int,
    PlainValidator(_check_quantity, json_schema_input_type=str | int),
    Shown({"x-kubernetes-int-or-string": True, "minimum": 0, "maxLength": _QUANTITY_MAX, "pattern": QUANTITY_PATTERN}),
]
"""An amount of a resource as people write it: a whole number, or a string such as `500m` or `64Mi`."""


def _check_amounts(amounts: dict[str, Any]) -> dict[str, Any]:
    for name in amounts:
        if not 1 <= len(name) <= 317:  # 253 of the domain, a slash, 63 of the name
            raise ValueError(f"{name!r} is not the name of a resource, such as cpu, memory or nvidia.com/gpu")
    return amounts


def _check_label_keys(labels: dict[str, Any]) -> dict[str, Any]:
    for key in labels:
        if not 1 <= len(key) <= 317:
            raise ValueError(f"{key!r} is not the key of a label")
    return labels


Amounts = Annotated[dict[str, Quantity], Field(max_length=64), AfterValidator(_check_amounts)]
"""Amounts by the name of the resource."""


def _check_priority(value: object) -> str | int:
    if isinstance(value, int) and not isinstance(value, bool) and -PRIORITY_MAX <= value <= PRIORITY_MAX:
        return value
    if isinstance(value, str) and value in tuple(Priority):
        return Priority(value)
    raise ValueError(f"write {', '.join(Priority)}, or a whole number between -{PRIORITY_MAX} and {PRIORITY_MAX}")


PriorityOrNumber = Annotated[
    str | int,
    PlainValidator(_check_priority, json_schema_input_type=str | int),
    Shown(
        {
            "x-kubernetes-int-or-string": True,
            "minimum": -PRIORITY_MAX,
            "maximum": PRIORITY_MAX,
            "maxLength": 16,
            "pattern": f"^({'|'.join(Priority)})$",
        }
    ),
]
"""A name, or a number on the same scale."""

JobName = Annotated[str, Field(min_length=1, max_length=NAME_MAX, pattern=DNS_SUBDOMAIN)]
QueueName = Annotated[str, Field(min_length=1, max_length=QUEUE_NAME_MAX, pattern=DNS_SUBDOMAIN)]
CohortName = Annotated[str, Field(min_length=1, max_length=QUEUE_NAME_MAX, pattern=DNS_SUBDOMAIN)]
ControllerName = Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]
LabelsToHave = Annotated[
    dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=64), AfterValidator(_check_label_keys)
]
"""Labels that a node or a namespace must have, by key."""
Switch = StrictBool
Count = Annotated[StrictInt, Field(ge=0, le=INT32_MAX)]
Generation = Annotated[StrictInt, Field(ge=0)]
"""A metadata.generation: 64 bits in the Kubernetes API."""
ExitCode = Annotated[StrictInt, Field(ge=-INT32_MAX - 1, le=INT32_MAX)]
Seconds = Annotated[StrictInt, Field(ge=0, le=INT32_MAX)]
PositiveSeconds = Annotated[StrictInt, Field(ge=1, le=INT32_MAX)]
Reason = Annotated[str, Field(max_length=256)]
Message = Annotated[str, Field(max_length=MESSAGE_MAX)]
Instant = AwareDatetime
"""RFC 3339, with its offset."""


class Condition(ObservedPart):
    """One observation, with the standard fields of a Kubernetes condition."""

    type: Annotated[str, Field(max_length=316)] = Field(description="What is observed, in CamelCase.")
    status: ConditionStatus = Field(description="Whether it holds: True, False or Unknown.")
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=CAMEL_CASE)] = Field(
        description="Why, as one CamelCase word for programs."
    )
    message: Message = Field(description="Why, as a sentence for people; may be empty.")
    last_transition_time: Instant = Field(description="When its status last changed.")
    observed_generation: Generation | None = Field(
        None, description="The metadata.generation that it was observed from."
    )


Conditions = Annotated[
    list[Condition],
    Field(
        max_length=32,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    ),
]


class Metadata(BaseModel):
    """The object's metadata: what a client may want to say; the API server judges the rest."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="allow", frozen=True)

    name: str | None = Field(None, description="The object's name.")
    generate_name: str | None = Field(None, description="The beginning of a name that the API server completes.")
    namespace: str | None = Field(None, description="The namespace; absent: that of the request.")
    labels: dict[str, str] | None = Field(None, description="Labels, for selection.")
    annotations: dict[str, str] | None = Field(None, description="Annotations.")


def wrong_at(where: tuple[str | int, ...], message: str) -> InitErrorDetails:
    """An error of ours, with the path of its field below the model's."""
    return InitErrorDetails(type=PydanticCustomError("rule", "{message}", {"message": message}), loc=where, input=None)


def raise_wrong(model: Part, wrong: list[InitErrorDetails]) -> None:
    """Raise what is wrong, if anything, so that each error keeps its own path below the model's."""
    if wrong:
        raise ValidationError.from_exception_data(type(model).__name__, wrong)
