"""The count outside of the cluster, and the comparison with what the pods printed.

It shares no code with the pods' scripts and goes another way: those find words with a regular expression over parts
of the text, this turns every other character into a space and splits, file by file.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import ascii_letters, digits

_OF_WORDS = (ascii_letters + digits + "_").encode()
_OTHERS_TO_SPACES = bytes(code if code in _OF_WORDS else ord(" ") for code in range(256))


@dataclass(frozen=True, slots=True)
class Figures:
    """What is counted. `top` are the most frequent words with their counts, the most frequent first."""

    words: int
    different: int
    lines: int
    not_ascii: int
    sha256: str
    top: tuple[tuple[str, int], ...]


def count(text: Path, shown: int) -> Figures:
    """Count the words of all files under `text`; `top` has the `shown` most frequent ones."""
    words: Counter[bytes] = Counter()
    lines = not_ascii = 0
    for file in text.rglob("*.py"):
        content = file.read_bytes()
        words.update(found for found in content.translate(_OTHERS_TO_SPACES).split() if found[0] not in digits.encode())
        lines += content.count(b"\n") + (bool(content) and not content.endswith(b"\n"))
        not_ascii += any(code > 127 for code in set(content))
    counts = sorted((word.decode(), number) for word, number in words.items())
    digest = hashlib.sha256()
    for word, number in counts:
        digest.update(f"{word} {number}\n".encode())
    counts.sort(key=lambda entry: -entry[1])  # stable: words of the same count stay in their order
    return Figures(words.total(), len(words), lines, not_ascii, digest.hexdigest(), tuple(counts[:shown]))


def read_report(log: str) -> Figures:
    """The figures that the job `report` printed. Raises ValueError when something is missing in it."""
    head, _, table = log.partition("rank     count  word\n")
    facts = dict(line.split() for line in head.splitlines() if len(line.split()) == 2)
    rows = [line.split() for line in table.splitlines() if line]
    try:
        return Figures(
            words=int(facts["words"]),
            different=int(facts["different-words"]),
            lines=int(facts["lines"]),
            not_ascii=int(facts["not-ascii-files"]),
            sha256=facts["sha256-of-counts"],
            top=tuple((word, int(number)) for _, number, word in rows),
        )
    except KeyError as missing:
        raise ValueError(f"the report has no line {missing}") from None


def differences(reported: Figures, counted: Figures) -> Iterator[str]:
    """Each figure that the report has different from the count outside, as a sentence."""
    for name in ("words", "different", "lines", "not_ascii", "sha256"):
        ours, theirs = getattr(counted, name), getattr(reported, name)
        if ours != theirs:
            yield f"{name}: the report says {theirs}, counted outside are {ours}"
    if len(reported.top) != len(counted.top):
        yield f"the table has {len(reported.top)} rows, not {len(counted.top)}"
    for rank, (theirs, ours) in enumerate(zip(reported.top, counted.top, strict=False), start=1):
        if ours != theirs:
            yield f"rank {rank}: the report says {theirs[0]} ({theirs[1]}), counted outside is {ours[0]} ({ours[1]})"
