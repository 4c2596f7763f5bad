"""Builds the cluster's programs from Go modules, once for each version, into the cache.

Kubernetes cannot be installed by `go install pkg@version`, because its go.mod replaces the staging modules by
folders. So each module is built from a go.mod of our own that requires it and, for Kubernetes, replaces each
`./staging` line by the published module of the same release. Each module has a go.mod of its own, so that their
dependencies cannot pull each other's versions.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import debian
from .components import COMPONENTS, GO, Component, Module
from .errors import ClusterError
from .paths import cache_directory
from .progress import Progress

HEARTBEAT_SECONDS = 30
USUAL_GO = "/usr/local/go/bin/go"
_STAGING = re.compile(r"^\s*(?:replace\s+)?(k8s\.io/[\w-]+)\s+=>\s+\./staging/", re.MULTILINE)
_GO_DIRECTIVE = re.compile(r"^go\s+([\d.]+)", re.MULTILINE)


def ensure(names: Iterable[str], on_progress: Progress = print) -> dict[str, Path]:
    """The paths of the named programs, built first where the cache has them not.

    `KUBEBUILDER_ASSETS` (the envtest convention) is used for etcd, kube-apiserver and kubectl where it has them.
    Raises ClusterError when Go is missing or too old, or when a build fails (with the end of its output).
    """
    wanted = [COMPONENTS[name] for name in names]
    found = {component.name: path for component in wanted if (path := find(component))}
    missing = [component for component in wanted if component.name not in found]
    if missing:
        go = _go(on_progress)
        with _build_lock(on_progress):
            for component in missing:
                # Another builder may have made it while this one waited for the lock.
                found[component.name] = find(component) or _build(go, component, on_progress)
    return found


def find(component: Component) -> Path | None:
    """The program where it already exists: the envtest assets first, then the cache; None when it must be built."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and component.in_envtest_assets and os.access(Path(assets) / component.name, os.X_OK):
        return Path(assets) / component.name
    cached = binary_directory() / component.key / component.name
    return cached if os.access(cached, os.X_OK) else None


def binary_directory() -> Path:
    """The folder that has one folder for each program and version."""
    return cache_directory() / "bin"


def staging_modules(go_mod: str) -> list[str]:
    """The modules that a go.mod of Kubernetes replaces by folders of its own tree.

    >>> staging_modules("replace (\\n\\tk8s.io/api => ./staging/src/k8s.io/api\\n)")
    ['k8s.io/api']
    """
    return _STAGING.findall(go_mod)


def compose_go_mod(module: Module, original: str) -> str:
    """Our go.mod for building `module`, whose own go.mod is `original`."""
    directive = _GO_DIRECTIVE.search(original)
    lines = [
        f"module taskjobs.dev/build/{module.path}",
        f"go {directive.group(1) if directive else '1.24'}",
        f"require {module.path} {module.version}",
    ]
    if module.published_staging:
        # The staging module of Kubernetes v1.N.M is published as v0.N.M.
        published = "v0." + module.version.removeprefix("v").split(".", 1)[1]
        lines += [f"replace {name} => {name} {published}" for name in staging_modules(original)]
    return "\n".join(lines) + "\n"


def _build(go: str, component: Component, on_progress: Progress) -> Path:
    began = time.monotonic()
    module = component.module
    on_progress(f"building {component.name} {component.version} from its Go module (the first time only)")
    root = binary_directory()
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".building-{component.name}-", dir=root) as scratch:
        work = Path(scratch)
        original = _download(go, module, work)
        _require_go(go, original, component)
        (work / "go.mod").write_text(compose_go_mod(module, original))
        made = work / "out" / component.name
        made.parent.mkdir()
        flags = " ".join(("-s", "-w", *module.link_flags))
        command = [go, "build", "-mod=mod", "-buildvcs=false", f"-ldflags={flags}", "-o", str(made), component.package]
        _run_with_heartbeat(command, work, component, began, on_progress)
        (made.parent / "build.json").write_text(
            json.dumps({"module": module.path, "version": module.version, "package": component.package}) + "\n"
        )
        place = root / component.key
        if place.exists():  # a folder without the program in it: left by someone's hand
            shutil.rmtree(place)
        made.parent.rename(place)
    on_progress(f"built {component.name} {component.version} in {time.monotonic() - began:.0f} s")
    return root / component.key / component.name


def _download(go: str, module: Module, work: Path) -> str:
    """The text of the module's own go.mod; the module itself is in Go's module cache afterwards."""
    done = subprocess.run(
        [go, "mod", "download", "-json", f"{module.path}@{module.version}"],
        cwd=work,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ClusterError(
            f"the Go module {module.path}@{module.version} could not be downloaded:\n"
            f"{_tail(done.stdout + done.stderr)}\nIs the Go module proxy reachable (`go env GOPROXY`)?"
        )
    return Path(json.loads(done.stdout)["GoMod"]).read_text()


def _run_with_heartbeat(
    command: list[str], work: Path, component: Component, began: float, on_progress: Progress
) -> None:
    output = work / "build.log"
    with output.open("wb") as log:
        running = subprocess.Popen(command, cwd=work, env=_environment(), stdout=log, stderr=subprocess.STDOUT)
        try:
            while True:
                try:
                    status = running.wait(timeout=HEARTBEAT_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    on_progress(f"  still building {component.name}: {time.monotonic() - began:.0f} s")
        except BaseException:
            running.terminate()
            running.wait(timeout=30)
            raise
    if status != 0:
        raise ClusterError(
            f"`{' '.join(command[:2])}` of {component.package} {component.version} failed:\n"
            + _tail(output.read_text(errors="replace"))
        )


def _environment() -> dict[str, str]:
    # Static programs: they run on whatever libc the machine has. A workspace file of the caller must not interfere.
    return {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}


def _go(on_progress: Progress) -> str:
    """The Go command: on the PATH, where its own archive puts it, or from Debian when that is new enough."""
    if found := shutil.which("go") or (USUAL_GO if os.access(USUAL_GO, os.X_OK) else None):
        return found
    offered = debian.candidate_version("golang-go")
    if os.geteuid() == 0 and offered is not None and _numbers(offered) >= _numbers(GO):
        on_progress(f"installing Go {offered}: apt-get install golang-go")
        debian.install(["golang-go"])
        if found := shutil.which("go"):
            return found
    aside = f" (Debian here offers {offered})" if offered else ""
    raise ClusterError(
        "Go is not installed, and the cluster's programs (etcd, kube-apiserver, ...) are built from Go modules.\n"
        f"Install Go {GO} or newer{aside}: https://go.dev/doc/install, into /usr/local/go or onto the PATH;\n"
        "or set KUBEBUILDER_ASSETS to a folder that holds etcd, kube-apiserver and kubectl (provider 'apiserver')."
    )


def _require_go(go: str, go_mod: str, component: Component) -> None:
    directive = _GO_DIRECTIVE.search(go_mod)
    if not directive:
        return
    said = subprocess.run(
        [go, "env", "GOVERSION", "GOTOOLCHAIN"], env=_environment(), capture_output=True, text=True, check=True
    ).stdout.split()
    have = said[0].removeprefix("go").split("-")[0]
    fetches_toolchains = len(said) > 1 and said[1] != "local"
    if _numbers(have) < _numbers(directive.group(1)) and not fetches_toolchains:
        raise ClusterError(
            f"{component.name} {component.version} needs Go {directive.group(1)} or newer; {go} is {have}.\n"
            f"Install Go {directive.group(1)} (https://go.dev/doc/install), or let Go fetch it: GOTOOLCHAIN=auto."
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


@contextmanager
def _build_lock(on_progress: Progress) -> Iterator[None]:
    """One builder at a time on a machine: two would do the same work twice on the same cores."""
    root = binary_directory()
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_progress("another build of the cluster's programs is running: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _tail(text: str, lines: int = 30) -> str:
    return "\n".join(text.rstrip().splitlines()[-lines:])
