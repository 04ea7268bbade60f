"""The recipe's section `data`: what is done about imbalance, and the metric that decides."""

from collections.abc import Mapping, Sequence

import numpy as np

from kfp_vision.components.data_profiling.balance import (
    MAX_IMBALANCE,
    class_weights,
    imbalance_ratio,
)
from kfp_vision.components.shared.metrics.scores import PRIMARY_METRICS
from kfp_vision.components.shared.recipe.document import Recipe, Setting

__all__ = ["with_data_settings"]


def with_data_settings(
    recipe: Recipe, task: str, classes: Sequence[str], counts: np.ndarray, beta: float
) -> Recipe:
    """Returns the recipe with `class_weights` and `primary_metric`; what a user has set stays.

    Args:
        recipe: What a user or an earlier run has set.
        task: A key of `TASKS`.
        classes: Class names, C of them.
        counts: int [C], training images of each class.
        beta: See `balance.effective_number`.

    Raises:
        ValueError: The user's class weights are not one a class, or no metric of the task is called
            as the user's primary metric.
    """
    evidence = {
        "imbalance_ratio": round(imbalance_ratio(counts), 3),
        "max_imbalance_ratio": MAX_IMBALANCE,
        "train_counts": dict(zip(classes, counts.tolist(), strict=True)),
    }
    recipe = recipe.with_settings("data", {"class_weights": _weights(task, counts, beta, evidence)})
    weights = recipe.value("data", "class_weights")
    if weights is not None and len(weights) != len(classes):
        raise ValueError(
            f"`data.class_weights` of the recipe must be one number a class ({len(classes)}) or "
            f"null. Received: {weights}"
        )
    metric = _primary_metric(task, is_weighted=weights is not None, evidence=evidence)
    recipe = recipe.with_settings("data", {"primary_metric": metric})
    primary = recipe.value("data", "primary_metric")
    if primary not in PRIMARY_METRICS[task]:
        raise ValueError(
            f"`data.primary_metric` of the recipe must be one of {list(PRIMARY_METRICS[task])} for "
            f"a {task} task. Received: {primary!r}"
        )
    return recipe


def _weights(task: str, counts: np.ndarray, beta: float, evidence: Mapping[str, object]) -> Setting:
    if task == "multilabel":
        return Setting(
            None,
            "No weights: mean average precision ranks the images of each class on their own, and a "
            "weight on the whole class changes no ranking.",
            evidence,
            "default",
        )
    if imbalance_ratio(counts) <= MAX_IMBALANCE:
        return Setting(
            None, f"No weights: the classes differ by less than {MAX_IMBALANCE:g} to 1.", evidence
        )
    weights = [round(weight, 6) for weight in class_weights(counts, beta).tolist()]
    return Setting(
        weights,
        "Inverse to the effective number of samples of the class (Cui et al., 2019), mean 1 over "
        "the training images.",
        {**evidence, "beta": beta},
    )


def _primary_metric(task: str, *, is_weighted: bool, evidence: Mapping[str, object]) -> Setting:
    if task == "multilabel":
        return Setting(
            "mean_average_precision", "Every class counts the same.", evidence, "default"
        )
    if is_weighted:
        return Setting(
            "balanced_accuracy",
            "The loss is weighted so that small classes count: so does the metric.",
            evidence,
        )
    return Setting("accuracy", "The loss is not weighted: every image counts the same.", evidence)
