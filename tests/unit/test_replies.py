"""Answers of the API server: which are a definite no, and which may be asked again."""

from __future__ import annotations

import json

import pytest

from taskjob.kube.http import Reply


def a_reply(code: int, message: str = "") -> Reply:
    return Reply(code, json.dumps({"kind": "Status", "message": message, "code": code}).encode())


@pytest.mark.parametrize(
    "message",
    [
        "etcdserver: request is too large",
        "rpc error: code = ResourceExhausted desc = trying to send message larger than max (2097424 vs. 2097152)",
    ],
)
def test_what_etcd_will_never_take_is_a_definite_no_though_the_code_is_500(message: str) -> None:
    assert not a_reply(500, message).unsettled


@pytest.mark.parametrize("code", [401, 408, 429, 500, 503, 504])
def test_other_troubles_of_the_server_leave_it_open(code: int) -> None:
    assert a_reply(code, "etcdserver: request timed out").unsettled


@pytest.mark.parametrize("code", [400, 403, 404, 409, 413, 422])
def test_a_refusal_is_definite(code: int) -> None:
    assert not a_reply(code).unsettled
