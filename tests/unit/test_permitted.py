"""Of several named namespaces those that may be listed are followed; one refusal is not believed yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from taskjob.kube.http import KubeHttp, NoAnswerError, Reply
from taskjob.kube.permitted import NamespacesChangedError, permitted, until_changed
from virtual_time import run


class Server:
    """Answers lists; `refuses` says of a namespace and the number of the question whether it is refused."""

    def __init__(self, refuses: Callable[[str, int], bool]) -> None:
        self._refuses = refuses
        self.asked = 0

    async def request(self, _: str, path: str, **__: object) -> Reply:
        self.asked += 1
        await asyncio.sleep(0.01)
        namespace = path.split("/")[-2]
        if self._refuses(namespace, self.asked):
            return Reply(403, b'{"kind": "Status", "message": "forbidden"}')
        return Reply(200, b"{}")


class Silent(Server):
    """Answers nothing, after a while."""

    async def request(self, _: str, path: str, **__: object) -> Reply:
        await asyncio.sleep(9)
        raise NoAnswerError("no answer")


def of(server: Server) -> KubeHttp:
    return cast("KubeHttp", server)


def test_a_namespace_that_is_refused_is_left_out_and_the_others_are_followed() -> None:
    assert run(permitted(of(Server(lambda name, _: name == "gone")), ("a", "gone", "b"))) == ("a", "b")


def test_who_is_refused_only_at_first_is_followed() -> None:
    assert run(permitted(of(Server(lambda _, number: number <= 3)), ("a", "b", "c"))) == ("a", "b", "c")


@pytest.mark.parametrize("server", [Server(lambda *_: True), Silent(lambda *_: False)])
def test_where_nothing_may_be_listed_or_nobody_answers_all_are_followed(server: Server) -> None:
    assert run(permitted(of(server), ("a", "b"))) == ("a", "b")


def test_of_a_single_namespace_nobody_is_asked() -> None:
    server = Server(lambda *_: True)
    assert (run(permitted(of(server), ("a",))), run(permitted(of(server), ())), server.asked) == (("a",), (), 0)


def test_a_change_is_told_by_the_namespaces_that_changed() -> None:
    told = changed(Server(lambda name, _: name in ("left-out", "lost")), ("a", "left-out", "lost"), ("a", "lost"))
    assert told.startswith('namespace "lost" may not be listed any more: forbidden;')
    assert "left-out" not in told
    told = changed(Server(lambda *_: False), ("a", "back"), ("a",))
    assert told.startswith('namespace "back" may be listed again;')


def test_a_refusal_of_a_moment_and_an_api_server_that_refuses_everything_are_no_change() -> None:
    for refuses in (lambda name, number: name == "b" and number < 5, lambda *_: True):
        server = Server(refuses)
        with pytest.raises(TimeoutError):
            changed(server, ("a", "b"), ("a", "b"))
        assert server.asked > 100


def changed(server: Server, namespaces: tuple[str, ...], followed: tuple[str, ...]) -> str:
    """What is told within an hour. Raises `TimeoutError` if nothing is."""

    async def an_hour() -> str:
        async with asyncio.timeout(3600):
            try:
                await until_changed(of(server), namespaces, followed)
            except NamespacesChangedError as told:
                return str(told)

    return run(an_hour())
