"""The pod template of a TaskJob, understood once: equal templates share their bytes, charge and faults."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

import msgspec

from taskjob.core.model import Amounts, PodTemplate
from taskjob.core.values import shown
from taskjob.kube.fields import Object, Reader
from taskjob.kube.requests import PodSpec, RequestError, effective_request

TEMPLATES_KEPT: Final = 4096


class Template(NamedTuple):
    """A pod template understood: its JSON, what it is charged, and what is wrong with it (field, why)."""

    body: PodTemplate
    request: Amounts
    problem: tuple[str, str] | None


_templates: OrderedDict[bytes, Template] = OrderedDict()
"""Templates seen lately, so that equal ones share one object and are understood once; the least recent goes first."""

_encode = msgspec.json.Encoder(order="deterministic").encode


class _TemplateMeta(msgspec.Struct, frozen=True):
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _TemplateShape(msgspec.Struct, frozen=True):
    metadata: _TemplateMeta | None = None
    spec: PodSpec | None = None


def read_template(spec: Object, read: Reader) -> Template:
    """The pod template of a TaskJob's spec, or what its short form means; what is wrong is a complaint."""
    given, image = spec.get("template"), spec.get("image")
    where = "spec.template."
    if given is not None and image is not None:
        read.complain("spec.template", "is given beside spec.image: one of both is needed")
    if given is None:
        if not isinstance(image, str) or not image:
            read.complain("spec.image", f"{shown(image)} is not an image" if image is not None else "is missing")
            return _NO_TEMPLATE
        container: dict[str, object] = {"name": "main", "image": image}
        for field in ("command", "args", "env", "resources"):
            value = spec.get(field)
            if value is not None:
                container[field] = value
        given, where = {"spec": {"containers": [container]}}, "spec."
    elif not isinstance(given, dict):
        read.complain("spec.template", f"{shown(given)} is not an object")
        return _NO_TEMPLATE
    try:
        body = _encode(given)
    except (TypeError, ValueError, RecursionError) as error:
        read.complain("spec.template", f"cannot be written as JSON: {error}")
        return _NO_TEMPLATE
    template = _templates.get(body)
    if template is None:
        template = _templates[body] = _understand(PodTemplate(body), given)
        if len(_templates) > TEMPLATES_KEPT:
            _templates.popitem(last=False)
    else:
        _templates.move_to_end(body)
    if template.problem is not None:
        field, why = template.problem
        if where == "spec.":  # the short form has no containers to speak of
            field = field.removeprefix("spec.containers[0].")
        read.complain(where + field, why)
    return template


_ONE_POD: Final[Amounts] = (("pods", 1),)
_NO_TEMPLATE: Final = Template(PodTemplate(b"{}"), _ONE_POD, None)


def _understand(body: PodTemplate, template: Object) -> Template:
    try:
        spec = msgspec.convert(template, _TemplateShape).spec or PodSpec()
    except msgspec.ValidationError as error:
        why, _, path = str(error).partition(" - at `$.")
        return Template(body, _ONE_POD, (path.rstrip("`"), why))
    if not spec.containers:
        return Template(body, _ONE_POD, ("spec.containers", "is missing"))
    try:
        request = effective_request(spec.containers or (), spec.init_containers or (), spec.resources, spec.overhead)
    except RequestError as error:
        field, _, why = str(error).partition(": ")
        return Template(body, _ONE_POD, ("spec." + field, why))
    return Template(body, request, None)
