"""Which of the named namespaces may be followed: with one that is removed goes our Role in it, and its lists and
watches are refused from then on. The others must not wait for it.

Which ones are followed is settled when the process starts; it ends, to start anew, when that has changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NoReturn

from taskjob.kube.http import KubeHttp, NoAnswerError
from taskjob.kube.lists import ListError
from taskjob.kube.schema import GROUP, VERSION

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 60.0
_SURE_SECONDS: Final = 2.0
"""An API server that has just started refuses for some milliseconds what it allows."""
_ANSWER_SECONDS: Final = 10.0
_START_SECONDS: Final = 15.0
"""For all questions at the start, while probes are not answered yet."""


class NamespacesChangedError(Exception):
    """Other namespaces may be followed than those that are."""


async def refused(http: KubeHttp, namespaces: Collection[str]) -> dict[str, str]:
    """Of these namespaces those whose TaskJobs or pods may not be listed, each with the API server's words.

    Raises `ListError` if it does not tell of each.
    """
    found: dict[str, str] = {}
    for namespace in namespaces:
        for resource, group in (("taskjobs", f"/apis/{GROUP}/{VERSION}"), ("pods", "/api/v1")):
            path = f"{group}/namespaces/{namespace}/{resource}"
            query = {"limit": "1"}
            try:
                reply = await http.request(
                    "GET", path, verb="list", resource=resource, query=query, timeout_seconds=_ANSWER_SECONDS
                )
            except NoAnswerError as error:
                raise ListError(f"{resource} cannot be listed: {error}") from error
            if reply.code == 403:
                found[namespace] = reply.message
            elif not reply.ok:
                raise ListError(f"{resource} cannot be listed: {reply.message}", reply.code)
    return found


async def permitted(http: KubeHttp, namespaces: Sequence[str]) -> tuple[str, ...]:
    """Those of several namespaces that may be followed; all where the API server does not tell soon or allows none."""
    left_out: Mapping[str, str] = {}
    if len(namespaces) > 1:
        try:
            async with asyncio.timeout(_START_SECONDS):
                left_out = await _surely_refused(http, namespaces)
        except (ListError, TimeoutError) as error:
            log.warning("all named namespaces are followed, it is not known yet whether they may be: %s", error)
    if len(left_out) == len(namespaces):
        return tuple(namespaces)
    for namespace, why in left_out.items():
        log.warning('namespace "%s" is left out until it may be listed: %s', namespace, why)
    return tuple(namespace for namespace in namespaces if namespace not in left_out)


async def _surely_refused(http: KubeHttp, namespaces: Collection[str]) -> dict[str, str]:
    """Those that are refused now and a moment later. Raises `ListError`."""
    first = await refused(http, namespaces)
    if not first:
        return first
    await asyncio.sleep(_SURE_SECONDS)
    return {name: why for name, why in (await refused(http, namespaces)).items() if name in first}


async def until_changed(
    http: KubeHttp, namespaces: Collection[str], followed: Collection[str], every_seconds: float = LOOK_SECONDS
) -> NoReturn:
    """Look now and then. Raises `NamespacesChangedError` once of `namespaces` others than `followed` may be listed."""
    left_out = set(namespaces) - set(followed)
    while True:
        await asyncio.sleep(every_seconds)
        try:
            now = await _surely_refused(http, namespaces)
        except ListError:
            continue  # whoever lists in earnest tells of it
        if now.keys() == left_out or len(now) == len(namespaces):
            continue
        lost = [
            f'namespace "{name}" may not be listed any more: {why}' for name, why in now.items() if name not in left_out
        ]
        back = [f'namespace "{name}" may be listed again' for name in left_out - now.keys()]
        raise NamespacesChangedError("; ".join(lost + back) + "; the next start follows those that may be listed")
