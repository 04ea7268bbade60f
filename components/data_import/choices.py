"""What a user has chosen, compared with what a listing tells before any image is read."""

from typing import Any

from kfp_vision.components.data_import.classes import detect_task
from kfp_vision.components.data_import.other_tasks import check_offered
from kfp_vision.components.data_import.samples import Listing
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.tasks.choices import check_positive_class, check_primary_metric

__all__ = ["check_choices", "known_task"]


def known_task(listing: Listing, task: str) -> str:
    """Returns the task of a source, as far as it is known; empty where the images decide.

    Args:
        listing: Of the source.
        task: A key of `TASKS`, or `auto`.

    Raises:
        ValueError: The source is not for the task.
    """
    if listing.task:
        check_offered(listing, task)
        return listing.task if task == "auto" else task
    named = {name for labels in listing.label_sets for name in labels}
    is_multilabel = any(len(labels) != 1 for labels in listing.label_sets)
    # Of a class without a file that is called like an image nothing may be left.
    if is_multilabel or len(named) > 2 or (len(named) == 2 and listing.classes <= named):
        return detect_task(listing.label_sets, task)
    return ""


def check_choices(listing: Listing, task: str, positive_class: str, recipe: Recipe | None) -> None:
    """Refuses what no image can make right.

    Args:
        listing: Of the source.
        task: A key of `TASKS`, or `auto`.
        positive_class: The user's; empty for that of the recipe.
        recipe: What the run starts from; None for nothing.

    Raises:
        ValueError: The source is not for the task, or the task has no such positive class or
            metric.
    """
    known = known_task(listing, task)
    positive = positive_class or _users(recipe, "positive_class")
    if positive is not None and (known or listing.classes):
        # Of classes alone: those of two are asked for when there are two.
        check_positive_class(known or "binary", listing.classes, positive)
    metric = _users(recipe, "primary_metric")
    if known and metric is not None:
        check_primary_metric(known, metric)


def _users(recipe: Recipe | None, name: str) -> Any:
    """Returns what the user has set in the section `data` of a recipe; None for nothing."""
    setting = recipe.get("data", name) if recipe else None
    return setting.value if setting and setting.source == "user" else None
