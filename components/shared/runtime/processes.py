"""The process of a task."""

import os
import time

import psutil

__all__ = ["process_seconds", "usable_cpus"]


def process_seconds() -> float:
    """Returns the seconds since this process was started, imports included."""
    started: float = psutil.Process().create_time()
    return time.time() - started


def usable_cpus() -> list[int]:
    """Returns the numbers of the CPUs that this process may use: a container may have a few."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
