"""The CEL rules of the CRDs: what types and bounds cannot say, each with the field that it blames.

What one TaskJob must be in itself is checked by the models too (`taskjob.resources.taskjob`); what may change, and the
fence around the status, only the API server can judge.

Every rule is asked again with every write, status writes included, and each look at a field copies the schemas of all
fields beside it. So a rule stands on the field itself where it needs no other, and asks first what mostly settles it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from taskjob.resources.taskjob import (
    EITHER_IN_OR_NOT_IN,
    NAME_LENGTH,
    NOT_BESIDE_TEMPLATE,
    NOT_ITSELF,
    ONE_POD,
    RESTART_NEVER,
)
from taskjob.resources.taskqueue import IN_A_COHORT, ONE_QUOTA, VALUES
from taskjob.resources.words import NAME_MAX, QUEUE_NAME_MAX, TERMINAL_PHASES, Phase

Path = tuple[str, ...]
SHORT_FORM: Final = ("command", "args", "env", "resources")
FIXED_ONCE_STARTED: Final = ("template", "image", *SHORT_FORM, "queue", "dependsOn", "retry", "concurrency")
"""Fields of a spec that belong to what has begun. Cancel, suspend, priority, the times and what is kept may change."""

NEWER_LEADER: Final = "a newer leader of the operator has written this status: it may not be lowered"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `at` is the schema node that it stands on, as field names; `field` the path below that it blames.

    `message_expression` is CEL for a message that depends on the object; `message` stands where it fails.
    """

    expression: str
    message: str
    at: Path = ()
    field: str = ""
    message_expression: str = ""

    def schema(self) -> dict[str, Any]:
        """As an entry of `x-kubernetes-validations`."""
        entry = {"rule": self.expression, "message": self.message}
        if self.message_expression:
            entry["messageExpression"] = self.message_expression
        if self.field:
            entry["fieldPath"] = self.field
        return entry


def taskjob_rules() -> Iterator[Rule]:
    """The rules of a TaskJob."""
    yield Rule(f"size(self.metadata.name) <= {NAME_MAX}", NAME_LENGTH, field=".metadata.name")
    yield Rule(
        # What the schema requires may be missing all the same, in what was written past it: a rule that fails over
        # it would refuse the status that reports it.
        "!self.?spec.?dependsOn.hasValue() || self.spec.dependsOn.all(d, !has(d.name) || d.name != self.metadata.name)",
        NOT_ITSELF,
        field=".spec.dependsOn",
    )
    yield Rule("has(self.template) != has(self.image)", ONE_POD, at=("spec",))
    for name in SHORT_FORM:
        yield Rule(f"!has(self.{name}) || !has(self.template)", NOT_BESIDE_TEMPLATE, at=("spec",), field=f".{name}")
    yield Rule(
        'self == "Never"',
        RESTART_NEVER,
        at=("spec", "template", "spec", "restartPolicy"),
    )
    yield _one_of_both(("spec", "retry"))
    yield Rule(
        "!oldSelf.?cancel.orValue(false) || self.?cancel.orValue(false) "
        "|| self.?rerun.orValue(0) > oldSelf.?rerun.orValue(0)",
        "cannot be taken back: make a new TaskJob, or raise 'rerun' in the same change",
        at=("spec",),
        field=".cancel",
    )
    yield Rule("self >= oldSelf", "counts runs: it never falls", at=("spec", "rerun"))  # 0 by default, never absent
    yield Rule(
        "!self.?cancel.orValue(false) || self.?rerun.orValue(0) == oldSelf.?rerun.orValue(0)",
        "a cancelled job runs again only with cancel: false in the same change",
        at=("spec",),
        field=".rerun",
    )
    yield _fixed_once_started()
    # On the status itself, which is always there: the CRD's default stands in for one that is taken away.
    yield Rule("self >= oldSelf", NEWER_LEADER, at=("status", "epoch"))
    yield Rule("has(self.epoch) || oldSelf.?epoch.orValue(0) == 0", NEWER_LEADER, at=("status",), field=".epoch")
    terminal = ", ".join(f'"{phase}"' for phase in TERMINAL_PHASES)
    yield Rule(
        f'!(oldSelf.?phase.orValue("") in [{terminal}]) || (has(self.phase) && self.phase == oldSelf.phase) '
        "|| self.?run.orValue(0) > oldSelf.?run.orValue(0)",
        "the job has ended: its phase changes only with a greater run",
        at=("status",),
        field=".phase",
    )


def _one_of_both(retry: Path) -> Rule:
    return Rule(
        "has(self.__in__) != has(self.notIn)",  # `in` is a word of CEL
        EITHER_IN_OR_NOT_IN,
        at=(*retry, "rules", "*", "exitCodes"),
    )


def _fixed_once_started() -> Rule:
    """One rule for all fields, although it can then only blame `spec` and names the field in its message.

    A rule for each field cost 1.5 ms of the API server's CPU for every status write (a write without rules: 2 ms).
    What a struct holds is copied at each look into it, so a status write ends as early as can be: at the phase, or at
    the number of the transition, which only a write of the status can change (and that leaves the spec as it is).
    """
    same = {
        # not `self.spec.?x == oldSelf.spec.?x`: that does not fit the cost budget
        name: f"has({now}) == has({before}) && (!has({now}) || {now} == {before})"
        for name in FIXED_ONCE_STARTED
        for now, before in [(f"self.spec.{name}", f"oldSelf.spec.{name}")]
    }
    *first, last = same
    changed = " : ".join([*(f'!({same[name]}) ? "{name}"' for name in first), f'"{last}"'])
    return Rule(
        f'oldSelf.?status.?phase.orValue("{Phase.PENDING}") == "{Phase.PENDING}" '
        "|| self.?status.?transition != oldSelf.?status.?transition "
        f"|| self.spec == oldSelf.spec || ({' && '.join(f'({equal})' for equal in same.values())})",
        f"what has started may not change: make a new TaskJob (fixed are {', '.join(FIXED_ONCE_STARTED)})",
        field=".spec",
        message_expression=f'"spec." + ({changed}) + " may not change once the job has started: make a new TaskJob"',
    )


def taskqueue_rules() -> Iterator[Rule]:
    """The rules of a TaskQueue."""
    yield Rule(
        "self == oldSelf",
        "cannot change, since two installations would act on the same jobs: make a new TaskQueue",
        at=("spec", "controllerName"),
    )
    yield Rule(
        "!has(self.quotaFromNodes) || !has(self.quota) || size(self.quota) == 0",
        ONE_QUOTA,
        at=("spec",),
        field=".quotaFromNodes",
    )
    yield _one_of_both(("spec", "defaults", "retry"))
    yield Rule(
        '(self.operator in ["In", "NotIn"]) == (has(self.values) && size(self.values) > 0)',
        VALUES,
        at=("spec", "namespaceSelector", "matchExpressions", "*"),
        field=".values",
    )
    for name in ("borrowingLimit", "lendingLimit"):
        yield Rule(f"has(self.cohort) || !has(self.{name})", IN_A_COHORT, at=("spec",), field=f".{name}")
    yield Rule(
        f"size(self.metadata.name) <= {QUEUE_NAME_MAX}",
        f"a TaskQueue's name has at most {QUEUE_NAME_MAX} characters",
        field=".metadata.name",
    )
