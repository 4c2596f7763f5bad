"""Answers that do not come at once: from a server that speaks TLS and then says nothing more, and in pieces."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import aiohttp
import pytest

from taskjob.kube.http import KubeHttp, read_at_most
from taskjob_cluster.credentials import ensure_certificate, write_kubeconfig


@contextmanager
def a_mute_server(folder: Path) -> Iterator[Path]:
    """It answers one request with the beginning of a stream, and reads nothing more. Yields a kubeconfig."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    ensure_certificate(certificate, key, common_name="mute")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    over = threading.Event()

    def serve(listening: socket.socket) -> None:
        accepted, _ = listening.accept()
        with context.wrap_socket(accepted, server_side=True) as connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n")
            over.wait(30)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(30)
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        kubeconfig = folder / "kubeconfig"
        server = f"https://127.0.0.1:{listening.getsockname()[1]}"
        write_kubeconfig(kubeconfig, name="mute", server=server, token="t", ca_file=certificate)
        try:
            yield kubeconfig
        finally:
            over.set()
            thread.join()


def test_a_stream_that_is_left_before_its_end_leaves_no_connection_to_a_server_that_does_not_answer(
    tmp_path: Path,
) -> None:
    async def look(kubeconfig: Path) -> bytes:
        async with (
            await KubeHttp.connect(kubeconfig) as http,
            http.stream("/x", verb="watch", resource="x", query={}, silence_seconds=20) as response,
        ):
            return await response.content.readline()

    gc.collect()  # what others left is not ours
    with a_mute_server(tmp_path) as kubeconfig, warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert asyncio.run(look(kubeconfig)) == b"{}\n"
        gc.collect()
    assert [str(each.message) for each in seen] == []


class Arriving:
    """A body of which each read finds one piece more, as `aiohttp.StreamReader` has it."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    async def read(self, number: int) -> bytes:
        piece = self._pieces.pop(0) if number and self._pieces else b""
        if len(piece) > number:
            self._pieces.insert(0, piece[number:])
        return piece[:number]


@pytest.mark.parametrize(("limit", "read"), [(100, b"{}, of which half came later"), (10, b"{}, of whi"), (2, b"{}")])
async def test_a_body_that_comes_in_pieces_is_read_whole_and_no_further_than_its_limit(limit: int, read: bytes) -> None:
    content = cast(aiohttp.StreamReader, Arriving(b"{}", b", of which ", b"half came later"))
    assert await read_at_most(content, limit) == read
