"""Takes what must not be stored out of logs, before anything of them leaves the memory. Pure.

Patterns are matched within lines. Of a line that comes in pieces its last bytes are held back, since a match may begin
in them; a match that reaches into what has not come yet takes the rest of its line with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

OVERLAP_BYTES: Final = 16_384
"""In a line that comes in pieces, matches up to this long are found."""

REDACTED: Final = b"[redacted]"
_REST: Final = b"[redacted to the end of the line]"
_NOTHING: Final = re.compile(rb"(?!)")


def compile_patterns(patterns: Sequence[str]) -> re.Pattern[bytes] | None:
    """One pattern of all (`config` has checked each); None if there are none."""
    return re.compile(b"|".join(b"(?:" + pattern.encode() + b")" for pattern in patterns)) if patterns else None


def redact_line(pattern: re.Pattern[bytes] | None, line: str) -> str:
    """A line that stands elsewhere than in a log, without what must not be stored."""
    return line if pattern is None else pattern.sub(REDACTED, line.encode()).decode(errors="replace")


class Redactor:
    """For one container's log. `held` bytes of the line that is under way have not been given out yet."""

    def __init__(self, pattern: re.Pattern[bytes] | None, *, masking: bool = False) -> None:
        self._pattern = _NOTHING if pattern is None else pattern
        self._carry = b""
        self.masking = masking  # the rest of the line is taken out
        self.count = 0

    @property
    def held(self) -> int:
        """So many bytes that were fed have not come out."""
        return len(self._carry)

    def feed(self, body: bytes, *, line_ends: bool) -> bytes:
        """The same without what must not be stored. `body` is whole lines, or a part of one; `line_ends` says
        whether a line end is its last byte."""
        if self._pattern is _NOTHING:
            return body
        if line_ends and not self._carry and not self.masking:
            return b"\n".join([self._clean(line) for line in body.split(b"\n")])
        line = self._carry + body
        self._carry = b""
        if self.masking:
            self.masking = not line_ends
            return b"\n" if line_ends else b""
        if line_ends:
            return self._clean(line[:-1]) + b"\n"
        return self._part(line)

    def finish(self) -> bytes:
        """What was held back: nothing more will come."""
        line, self._carry = self._carry, b""
        return self._clean(line) if line else b""

    def _clean(self, line: bytes) -> bytes:
        cleaned, count = self._pattern.subn(REDACTED, line)
        self.count += count
        return cleaned

    def _part(self, line: bytes) -> bytes:
        safe = max(len(line) - OVERLAP_BYTES, 0)
        out: list[bytes] = []
        done = 0
        for match in self._pattern.finditer(line):
            if match.end() == len(line):  # how far it goes, the next piece would say
                if match.start() >= safe:
                    safe = match.start()
                    break
                self.count += 1
                self.masking = True
                return b"".join((*out, line[done : match.start()], _REST))
            if match.start() >= safe:
                break
            self.count += 1
            out += [line[done : match.start()], REDACTED]
            done = match.end()
        end = max(safe, done)
        self._carry = line[end:]
        return b"".join((*out, line[done:end]))
