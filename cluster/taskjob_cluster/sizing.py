"""How much of this machine a local cluster may use, read from psutil.

The figures are made from three readings (cores, memory in all, memory available), so that they can be tested
without the machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import psutil

MIB = 1024 * 1024
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Machine:
    """What the machine has. Memory in bytes."""

    cores: int
    memory: int
    memory_available: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the cluster takes of it.

    `reserved_milli_cpu` and `reserved_memory` (bytes) are kept back from pods on the real node for the control plane,
    which runs on the same machine; `parallelism` is how many pods kwok advances at a time.
    """

    reserved_milli_cpu: int
    reserved_memory: int
    max_pods: int
    kwok_nodes: int
    parallelism: int


def this_machine() -> Machine:
    """The machine as psutil sees it (affinity and cgroup limits of the CPU set included)."""
    memory = psutil.virtual_memory()
    affinity = getattr(psutil.Process(), "cpu_affinity", None)  # not on macOS
    cores = len(affinity()) if affinity else psutil.cpu_count() or 1
    return Machine(cores=cores, memory=memory.total, memory_available=memory.available)


def sizes(machine: Machine) -> Sizes:
    """Divide a machine between the control plane and its pods.

    The control plane gets a quarter of the cores (at least a quarter of one, so that on one core pods keep most of
    it) and the memory that others use already plus 2 GiB, but never more than three quarters. A pod of a
    development cluster takes about 64 MiB with its sandbox, which bounds how many fit.
    """
    reserved_milli_cpu = max(250, machine.cores * 250)
    in_use = machine.memory - machine.memory_available
    reserved_memory = min(in_use + 2 * GIB, machine.memory * 3 // 4)
    for_pods = machine.memory - reserved_memory
    return Sizes(
        reserved_milli_cpu=reserved_milli_cpu,
        reserved_memory=reserved_memory // MIB * MIB,
        max_pods=max(20, min(250, for_pods // (64 * MIB))),
        kwok_nodes=max(2, min(20, 2 * machine.cores)),
        parallelism=max(16, 8 * machine.cores),
    )
