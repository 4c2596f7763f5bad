"""What a kubelet and a containerd change on the machine outside the cluster's folder, noted before and put back after.

The kubelet sets three kernel parameters, Services a fourth, and kubelet and containerd make folders at fixed paths.
Clusters side by side share them: a second one takes over the first one's note, and the last to go puts things back.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from .paths import clusters_directory
from .records import Record

_NOTE = "machine.json"
_PARAMETERS = ("kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory", "net/ipv4/ip_forward")
# The innermost first, as they are removed.
_FOLDERS = (
    "/run/containerd/s",
    "/run/containerd",
    "/var/lib/cni/results",
    "/var/lib/cni",
    "/var/lib/kubelet/device-plugins",
    "/var/lib/kubelet",
    "/var/log/containers",
)
_DEVICE_PLUGINS_SOCKET = Path("/var/lib/kubelet/device-plugins/kubelet.sock")


def remember(record: Record) -> None:
    """Note the machine's state, once, before the node's first component starts."""
    place = record.directory / _NOTE
    if place.exists():
        return
    others = _other_notes(record)
    place.write_text(others[0].read_text() if others else json.dumps(_observe()))


def restore(record: Record) -> None:
    """Put back what was noted, unless another cluster's node still needs it. Folders go only when they are empty."""
    place = record.directory / _NOTE
    if not place.exists() or _other_notes(record):
        return
    noted = json.loads(place.read_text())
    for name, value in noted["parameters"].items():
        with suppress(OSError):
            Path("/proc/sys", name).write_text(value)
    if str(_DEVICE_PLUGINS_SOCKET.parent) in noted["absent"]:
        _DEVICE_PLUGINS_SOCKET.unlink(missing_ok=True)
    for folder in noted["absent"]:
        with suppress(OSError):
            Path(folder).rmdir()


def _observe() -> dict[str, object]:
    parameters = {}
    for name in _PARAMETERS:
        with suppress(OSError):
            parameters[name] = Path("/proc/sys", name).read_text()
    return {"parameters": parameters, "absent": [name for name in _FOLDERS if not Path(name).exists()]}


def _other_notes(record: Record) -> list[Path]:
    return [note for note in clusters_directory().glob(f"*/{_NOTE}") if note.parent != record.directory]
