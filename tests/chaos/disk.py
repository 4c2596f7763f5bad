"""A file system of its own for PostgreSQL's data, which can be made full and given room again."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

_REMOUNT, _DETACH = 32, 2  # MS_REMOUNT, MNT_DETACH
_ROOM: Final = 2 << 30  # bytes; a tmpfs takes memory only for what is in it
_BLOCK: Final = 4096
_NAME: Final = "chaos-disk-"
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A tmpfs at `folder`; without root an ordinary folder, and `why_not` says what is missing."""

    folder: Path
    why_not: str = ""

    def fill(self) -> None:
        """Take all the room that is left, by making the file system as small as what is in it."""
        while True:
            room = os.statvfs(self.folder)
            try:
                _mount(self.folder, _REMOUNT, (room.f_blocks - room.f_bfree) * room.f_frsize)
                return
            except OSError:  # it has grown meanwhile
                continue

    def empty(self) -> None:
        """Give it room again."""
        _mount(self.folder, _REMOUNT, _ROOM)


@contextmanager
def small_disk() -> Iterator[SmallDisk]:
    """Mounted, and unmounted at the end. Removes what killed runs have left mounted."""
    for left in Path("/tmp").glob(f"{_NAME}*"):
        if not psutil.pid_exists(int(left.name.removeprefix(_NAME))):
            _remove(left)
    folder = Path("/tmp", f"{_NAME}{os.getpid()}")
    _remove(folder)
    folder.mkdir(mode=0o755)
    why_not = ""
    try:
        _mount(folder, 0, _ROOM)
    except OSError as error:
        why_not = f"no file system of a limited size can be mounted here: {error.strerror}"
    try:
        yield SmallDisk(folder, why_not)
    finally:
        _remove(folder)


def _mount(folder: Path, flags: int, size: int) -> None:
    options = f"mode=0755,size={max(size, _BLOCK)}".encode()
    if _libc.mount(b"chaos", os.fsencode(folder), b"tmpfs", flags, options) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(folder))


def _remove(folder: Path) -> None:
    _libc.umount2(os.fsencode(folder), _DETACH)
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)
