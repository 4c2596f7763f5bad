"""Logs to rows of history and back. Pure. Bodies and times are compressed here, and nowhere else."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from taskjob.core.model import AttemptId
from taskjob.history.rows import Row, clean_text
from taskjob.ports import KeptLog, Log, LogGap

_LEVEL: Final = 3  # of zlib: half the time of the default for a tenth more bytes, on logs
_LOG_COLUMNS: Final = 17
_CHUNK_COLUMNS: Final = 9

_encode_gaps = msgspec.json.Encoder().encode
_decode_gaps = msgspec.json.Decoder(tuple[LogGap, ...]).decode


def log_columns(logs: Iterable[Log]) -> list[list[Any]]:
    """The parameters of `flush_logs`, one list a column; nothing if there are no logs."""
    merged = _merged(logs)
    if not merged:
        return []
    chunks = [(*_key(log), c.n, pack(c.body), pack(c.times), len(c.body)) for log in merged for c in log.chunks]
    return [
        *_columns([_log_row(log) for log in merged], _LOG_COLUMNS),
        *_columns(chunks, _CHUNK_COLUMNS),
    ]


def _columns(found: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*found, strict=True)] if found else [[] for _ in range(width)]


def _merged(logs: Iterable[Log]) -> list[Log]:
    """One record for each container: the last word, with the chunks of those before it that still count."""
    merged: dict[tuple[AttemptId, str], Log] = {}
    for log in logs:
        key = (log.attempt, log.container)
        before = merged.get(key)
        if before is None:
            merged[key] = log
        elif not before.complete or (before.size == 0 and log.size > 0):
            chunks = {chunk.n: chunk for chunk in (*before.chunks, *log.chunks)}
            counts = [c for n, c in chunks.items() if n < log.head or log.tail <= n < log.number]
            merged[key] = replace(log, chunks=tuple(counts))
    return list(merged.values())


def _log_row(log: Log) -> tuple[Any, ...]:
    return (
        *_key(log),
        pack(log.body),
        pack(log.times),
        log.size,
        log.cut_bytes,
        clean_text(log.note),
        log.main,
        log.complete,
        log.number,
        log.head,
        log.tail,
        _encode_gaps(log.gaps).decode().replace("\\u0000", ""),
        log.resume,
    )


def _key(log: Log) -> tuple[Any, ...]:
    return (*log.attempt, clean_text(log.container))


def pack(body: bytes) -> bytes:
    """Compressed."""
    return zlib.compress(body, _LEVEL)


def unpack(packed: bytes) -> bytes:
    """As it was; a column that an earlier release did not know is empty."""
    return zlib.decompress(packed) if packed else b""


def gaps(text: str) -> tuple[LogGap, ...]:
    """The column `gaps`."""
    return _decode_gaps(text)


def kept_log(attempt: AttemptId, row: Row) -> KeptLog:
    """A row of `kept_logs`."""
    log = Log(
        attempt,
        row["container"],
        unpack(row["body"]),
        row["size"],
        row["cut_bytes"],
        row["note"],
        times=unpack(row["times"]),
        main=row["main"],
        complete=row["complete"],
        number=row["number"],
        head=row["head"],
        tail=row["tail"],
        gaps=gaps(row["gaps"]),
        resume=row["resume"],
    )
    return KeptLog(log, tuple(zip(row["numbers"], row["sizes"], strict=True)))
