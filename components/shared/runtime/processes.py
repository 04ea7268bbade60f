"""The process of a task."""

import os
import time

import psutil

__all__ = ["end_stage", "stage_seconds", "usable_cpus"]

# When stages of this process ended: a task may hold several, one after the other.
_ENDS: list[float] = []


def stage_seconds() -> float:
    """Returns the seconds of the stage that this process is at.

    The first stage begins with the process, imports included; the next one where `end_stage` says.
    """
    began: float = _ENDS[-1] if _ENDS else psutil.Process().create_time()
    return time.time() - began


def end_stage() -> float:
    """Returns the seconds of the stage that ends here."""
    seconds = stage_seconds()
    _ENDS[:] = [time.time()]
    return seconds


def usable_cpus() -> list[int]:
    """Returns the numbers of the CPUs that this process may use: a container may have a few."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
