"""The process of a task."""

import time

import psutil

__all__ = ["process_seconds"]


def process_seconds() -> float:
    """Returns the seconds since this process was started, imports included."""
    started: float = psutil.Process().create_time()
    return time.time() - started
