"""Judges a log that was kept against what the container wrote: byte by byte, up to marked cuts and gaps."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

_MARK = re.compile(rb"\[taskjobs: (?:(\d+) bytes are left out here|something (?:is|may be) missing)[^\n]*\]\n")


@dataclass(frozen=True)
class Verdict:
    """In bytes: what differs, what was cut out (by the mark's own words), and what else is missing."""

    wrong: int
    cut: int
    gap: int
    marks: int
    said: tuple[str, ...] = field(default=(), compare=False)  # what the marks say


def judge(kept: bytes, written: bytes) -> Verdict:
    """What became of `written`. Every piece between marks must be a piece of it, in order; the first must be its
    beginning and the last its end, unless a mark stands there; a cut must have the size that it says."""
    pieces: list[bytes] = []
    cuts: list[int | None] = []  # before the piece of that number; -1: no mark
    begin = 0
    for mark in _MARK.finditer(kept):
        pieces.append(kept[begin : mark.start()])
        cuts.append(int(mark[1]) if mark[1] else None)
        begin = mark.end()
    pieces.append(kept[begin:])
    wrong = cut = gap = at = 0
    for n, whole in enumerate(pieces):
        piece = whole
        marked = n > 0
        ends_marked = n < len(cuts)
        found = written.find(piece, at) if marked and piece else at
        if not marked and not written.startswith(piece) and ends_marked and written.startswith(piece[:-1]):
            piece = piece[:-1]  # a line end put before the mark
        if found < 0 or not written.startswith(piece, found):
            wrong += len(piece)
            continue
        size = cuts[n - 1] if marked else 0
        if size is None:
            gap += found - at
        elif piece or not ends_marked:
            wrong += abs(found - at - size)
            cut += size
        at = found + len(piece)
    if at < len(written):
        if cuts and not pieces[-1]:
            gap += len(written) - at
        else:
            wrong += len(written) - at
    said = tuple(mark[0].decode(errors="replace").strip() for mark in _MARK.finditer(kept))
    return Verdict(wrong, cut, gap, len(cuts), said)


def tell(figure: str, value: float, unit: str, target: float) -> None:
    """One figure as one JSON object on a line."""
    met = value <= target
    print(json.dumps({"figure": figure, "value": value, "unit": unit, "target": target, "met": met}), flush=True)
