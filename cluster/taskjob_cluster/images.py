"""Container images made on this machine, since no registry need be reachable: docker-archive tars, cached by content.

| image | what is in it |
|---|---|
| `docker.io/taskjobs/pause:dev` | a static busybox that sleeps: the sandbox of every pod |
| `docker.io/taskjobs/busybox:dev` | a static busybox with its commands |
| `docker.io/taskjobs/python:dev` | this machine's Python, its standard library (without tests and Tk), and busybox |

Other images come from wherever the caller makes them (`docker save`, `buildah push`).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import re
import stat
import subprocess
import sys
import sysconfig
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from .debian import ensure_packages
from .errors import ClusterError
from .locks import file_lock
from .paths import cache_directory
from .progress import Progress

PAUSE: Final = "docker.io/taskjobs/pause:dev"
BUSYBOX: Final = "docker.io/taskjobs/busybox:dev"
PYTHON: Final = "docker.io/taskjobs/python:dev"

_RECIPE = "4"  # part of every key: raise it when what goes into an image changes
_PREFIX = "usr/local"
_LEFT_OUT = re.compile(
    r"(^|/)(site-packages|dist-packages|test|tests|idlelib|tkinter|turtledemo|lib2to3|ensurepip|config-[^/]*)(/|$)"
    r"|(^|/)_tkinter\.|\.opt-[12]\.pyc$|\.a$"
)
_USERS = "root:x:0:0:root:/root:/bin/sh\nnonroot:x:65532:65532:nonroot:/tmp:/bin/sh\n"
_GROUPS = "root:x:0:\nnonroot:x:65532:\n"


def archive(image: str, on_progress: Progress = print) -> Path:
    """The docker-archive tar of one of our images, made where the cache has it not.

    Raises ClusterError for an image that this tool does not make, and when a Debian package is missing.
    """
    if image not in _MAKERS:
        raise ClusterError(f"image {image!r} is not one that can be made here ({', '.join(_MAKERS)}); give a tar of it")
    key, configuration, fill = _MAKERS[image]()
    name = image.rsplit("/", 1)[1].replace(":", "-")
    folder = cache_directory() / "images"
    place = folder / f"{name}-{key}.tar"
    with file_lock(folder / ".lock"):
        if not place.exists():
            began = time.monotonic()
            on_progress(f"making the image {image}")
            for old in folder.glob(f"{name}-*.tar"):
                old.unlink()
            _write(place, image, configuration, fill)
            size = place.stat().st_size / 1e6
            on_progress(f"made the image {image}: {size:.0f} MB in {time.monotonic() - began:.1f} s")
    return place


def saved_by_docker(image: str) -> Path:
    """A tar of an image that a Docker engine has, by `docker save`. Raises ClusterError with the engine's words."""
    folder = cache_directory() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"docker-{hashlib.sha256(image.encode()).hexdigest()[:12]}.tar"
    done = subprocess.run(["docker", "save", "--output", place, image], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"docker save {image}: {done.stderr.strip()}")
    return place


Fill = Callable[["Layer"], None]
Recipe = tuple[str, dict[str, object], Fill]


class Layer:
    """One layer: a root file system that grows in a tar, owned by root, folders open to every user."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._folders: set[str] = set()

    def folder(self, name: str, mode: int = 0o755) -> None:
        """Add a folder and those above it, once."""
        name = name.strip("/")
        if not name or name in self._folders:
            return
        self.folder(os.path.dirname(name))
        self._folders.add(name)
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        self._tar.addfile(entry)

    def file(self, source: Path, name: str) -> None:
        """Add a file with its content, its time (compiled Python modules are checked by it) and its x bits."""
        self.folder(os.path.dirname(name))
        found = source.stat()
        entry = tarfile.TarInfo(name.strip("/"))
        entry.size, entry.mtime = found.st_size, int(found.st_mtime)
        entry.mode = 0o755 if found.st_mode & stat.S_IXUSR else 0o644
        with source.open("rb") as content:
            self._tar.addfile(entry, content)

    def text(self, name: str, content: str) -> None:
        """Add a small file."""
        self.folder(os.path.dirname(name))
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content.encode()), 0o644
        self._tar.addfile(entry, io.BytesIO(content.encode()))

    def link(self, name: str, target: str) -> None:
        """Add a symbolic link."""
        self.folder(os.path.dirname(name))
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = tarfile.SYMTYPE, target
        self._tar.addfile(entry)


def _pause() -> Recipe:
    busybox = ensure_packages(["busybox"])["busybox"]

    def fill(layer: Layer) -> None:
        layer.file(busybox, "bin/busybox")

    return _key(busybox), {"Entrypoint": ["/bin/busybox", "sleep", "2000000000"]}, fill


def _busybox() -> Recipe:
    busybox = ensure_packages(["busybox"])["busybox"]
    return _key(busybox), {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]}, lambda layer: _fill_busybox(layer, busybox)


def _fill_busybox(layer: Layer, busybox: Path) -> None:
    layer.file(busybox, "bin/busybox")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        if applet != "busybox":
            layer.link(f"bin/{applet}", "busybox")
    layer.folder("tmp", 0o1777)
    layer.folder("root")
    layer.text("etc/passwd", _USERS)
    layer.text("etc/group", _GROUPS)


def _python() -> Recipe:
    busybox = ensure_packages(["busybox"])["busybox"]
    interpreter = Path(os.path.realpath(sys.executable))
    library = Path(sysconfig.get_path("stdlib"))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"

    def fill(layer: Layer) -> None:
        _fill_busybox(layer, busybox)
        layer.file(interpreter, f"{_PREFIX}/bin/{version}")
        for name in ("python3", "python"):
            layer.link(f"{_PREFIX}/bin/{name}", version)
        binaries = [interpreter]
        for source, inside in _standard_library(library):
            layer.file(source, f"{_PREFIX}/lib/{version}/{inside}")
            if source.suffix == ".so":
                binaries.append(source)
        # The interpreter finds its library from where it itself stands; the shared libraries keep their places.
        for source in sorted(_shared_libraries(binaries)):
            layer.file(source, str(source))

    folders = sorted({str(found.parent) for found in _shared_libraries([interpreter])})
    configuration: dict[str, object] = {
        "Cmd": ["python3"],
        "Env": [f"PATH=/{_PREFIX}/bin:/bin", f"LD_LIBRARY_PATH={':'.join(folders)}", "PYTHONDONTWRITEBYTECODE=1"],
    }
    return _key(busybox, interpreter, library / "os.py"), configuration, fill


def _standard_library(root: Path) -> Iterator[tuple[Path, str]]:
    for folder, names, files in os.walk(root):
        inside = os.path.relpath(folder, root)
        names[:] = sorted(name for name in names if not _LEFT_OUT.search(os.path.normpath(f"{inside}/{name}")))
        for file in sorted(files):
            source = Path(folder) / file
            relative = os.path.normpath(f"{inside}/{file}")
            if not _LEFT_OUT.search(relative) and source.is_file():
                yield source, relative


def _shared_libraries(binaries: list[Path]) -> set[Path]:
    """What the loader would take for these, the loader itself included. `ldd` prints `name => path (address)`."""
    done = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True, check=False)
    if missing := re.findall(r"^\s*(\S+) => not found", done.stdout, re.MULTILINE):
        raise ClusterError(f"this machine's Python lacks shared libraries: {', '.join(sorted(set(missing)))}")
    return {Path(found) for found in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", done.stdout, re.MULTILINE)}


def _key(*sources: Path) -> str:
    """A key of the content, from the size and time of what it is made of and the version of the recipe."""
    facts = [(str(source), source.stat().st_size, source.stat().st_mtime_ns) for source in sources]
    return hashlib.sha256(repr((_RECIPE, facts)).encode()).hexdigest()[:12]


def _write(place: Path, image: str, configuration: dict[str, object], fill: Fill) -> None:
    layer, scratch = place.with_suffix(".layer"), place.with_suffix(".tmp")
    try:
        with tarfile.open(layer, "w", format=tarfile.GNU_FORMAT) as tar:
            fill(Layer(tar))
        with layer.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        described = {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": configuration,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
        config = json.dumps(described).encode()
        config_name = f"{hashlib.sha256(config).hexdigest()}.json"
        manifest = [{"Config": config_name, "RepoTags": [image], "Layers": ["layer.tar"]}]
        with tarfile.open(scratch, "w") as tar:
            tar.add(layer, "layer.tar")
            for name, content_bytes in ((config_name, config), ("manifest.json", json.dumps(manifest).encode())):
                entry = tarfile.TarInfo(name)
                entry.size = len(content_bytes)
                tar.addfile(entry, io.BytesIO(content_bytes))
        scratch.replace(place)
    finally:
        layer.unlink(missing_ok=True)
        scratch.unlink(missing_ok=True)


_MAKERS: Final[dict[str, Callable[[], Recipe]]] = {PAUSE: _pause, BUSYBOX: _busybox, PYTHON: _python}
NAMES: Final = tuple(_MAKERS)
