"""The text that is counted: the source of the standard library of the Python that runs this."""

from __future__ import annotations

import shutil
import sysconfig
from dataclasses import dataclass
from pathlib import Path

NOT_OURS = frozenset({"site-packages", "dist-packages", "__pycache__"})


@dataclass(frozen=True, slots=True)
class Text:
    """The copy of the text: its files and its size in bytes."""

    files: int
    size: int


def standard_library() -> Path:
    """The folder of the standard library."""
    return Path(sysconfig.get_path("stdlib"))


def copy_text(into: Path) -> Text:
    """Copy every source file of the standard library to the same place under `into`."""
    source = standard_library()
    files = size = 0
    for file in sorted(source.rglob("*.py")):
        place = file.relative_to(source)
        if NOT_OURS.isdisjoint(place.parts) and file.is_file():
            copy = into / place
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            files += 1
            size += copy.stat().st_size
    return Text(files, size)
