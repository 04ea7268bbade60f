"""What a user may choose for a task: its positive class, and the metric that decides."""

from collections.abc import Collection
from typing import Any

from kfp_vision.components.shared.tasks import TASKS

__all__ = ["check_positive_class", "check_primary_metric"]


def check_positive_class(task: str, classes: Collection[str], positive: Any) -> None:
    """Refuses a positive class of a task without one, or that is no class.

    Args:
        task: A key of `TASKS`.
        classes: Names of all classes.
        positive: The choice; None for none.

    Raises:
        ValueError: It is refused.
    """
    if positive is not None and not TASKS[task].has_positive_class:
        raise ValueError(
            f"`positive_class` must not be set for a {task} task, whose metrics are of all "
            f"classes. Received: {positive!r}. Leave it out."
        )
    if TASKS[task].has_positive_class and positive not in classes:
        raise ValueError(
            f"`positive_class` must be one of the classes {sorted(classes)}. Received: {positive!r}"
        )


def check_primary_metric(task: str, metric: Any) -> None:
    """Refuses a metric that cannot decide.

    Args:
        task: A key of `TASKS`.
        metric: The choice.

    Raises:
        ValueError: It is refused.
    """
    if metric not in TASKS[task].metrics:
        raise ValueError(
            f"`data.primary_metric` of the recipe must be one of {list(TASKS[task].metrics)} for a "
            f"{task} task. Received: {metric!r}"
        )
