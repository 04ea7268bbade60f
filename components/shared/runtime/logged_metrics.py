"""Metrics on their way to the Kubeflow page: a backend refuses a task that logs a NaN."""

import math
from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["log_metrics"]


class _Metrics(Protocol):
    def log_metric(self, metric: str, value: float) -> None: ...


def log_metrics(metrics: _Metrics, values: Mapping[str, Any]) -> None:
    """Logs the finite ones of some metrics, and prints the names of the others.

    Args:
        metrics: A `dsl.Metrics` artifact.
        values: Name -> number, or None where it is not defined.
    """
    missing = []
    for name, value in values.items():
        if value is None or not math.isfinite(value):
            missing.append(f"{name} ({value})")
        else:
            metrics.log_metric(name, float(value))
    if missing:
        print(f"Not logged, because they are not defined: {', '.join(missing)}")
