"""The recipe's section `data`: what is done about imbalance, and the metric that decides."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np

from kfp_vision.components.data_profiling.balance import (
    MAX_IMBALANCE,
    class_weights,
    imbalance_ratio,
)
from kfp_vision.components.shared.recipe.document import Recipe, Setting, Source
from kfp_vision.components.shared.recipe.teachers import Deployed
from kfp_vision.components.shared.recipe.unlabeled import Arm
from kfp_vision.components.shared.tasks import TASKS, TaskFacts
from kfp_vision.components.shared.tasks.choices import check_positive_class, check_primary_metric

__all__ = ["with_data_settings"]


def with_data_settings(
    recipe: Recipe,
    task: str,
    classes: Sequence[str],
    counts: np.ndarray,
    beta: float,
    positive_class: str,
    use_validation_for_training: bool,
    pretrain: str,
    self_train: str,
    distill: str,
    teachers: int,
    deploy: str,
) -> Recipe:
    """Returns the recipe with its section `data`; what a user has set stays.

    It holds `class_weights`, `primary_metric`, `positive_class`, `use_validation_for_training`,
    `pretrain`, `self_train`, `distill`, `teachers` and `deploy`.

    Args:
        recipe: What a user or an earlier run has set.
        task: A key of `TASKS`.
        classes: Class names, C of them.
        counts: int [C], training images of each class.
        beta: See `balance.effective_number`.
        positive_class: The user's; empty for the recipe's, or the rarer class.
        use_validation_for_training: The user's.
        pretrain: The user's.
        self_train: The user's.
        distill: The user's.
        teachers: The user's.
        deploy: The user's.

    Raises:
        ValueError: The user's class weights are not one a class, no metric of the task is called
            as the user's primary metric, or no class as the positive one; or the task or nobody
            knows what the recipe says of pretraining, self-training, teachers or distillation.
    """
    evidence = {
        "imbalance_ratio": round(imbalance_ratio(counts), 3),
        "max_imbalance_ratio": MAX_IMBALANCE,
        "train_counts": dict(zip(classes, counts.tolist(), strict=True)),
    }
    recipe = recipe.with_settings(
        "data", {"class_weights": _weights(TASKS[task], counts, beta, evidence)}
    )
    weights = recipe.value("data", "class_weights")
    if weights is not None and not TASKS[task].weighted_metric:
        raise ValueError(
            f"`data.class_weights` of the recipe must be null for a {task} task: "
            f"{TASKS[task].unweighted_reason} Received: {weights}"
        )
    if weights is not None and len(weights) != len(classes):
        raise ValueError(
            f"`data.class_weights` of the recipe must be one number a class ({len(classes)}) or "
            f"null. Received: {weights}"
        )
    metric = _primary_metric(TASKS[task], is_weighted=weights is not None, evidence=evidence)
    recipe = recipe.with_settings("data", {"primary_metric": metric})
    check_primary_metric(task, recipe.value("data", "primary_metric"))
    if positive_class:
        wanted = Setting(positive_class, "pipeline parameter", source="user")
        recipe = recipe.with_settings("data", {"positive_class": wanted})
    joined = Setting(use_validation_for_training, "pipeline parameter", source="default")
    if use_validation_for_training:
        joined = dataclasses.replace(joined, source="user")
    arms = {
        name: _arm(name, task, value, default, off)
        for name, value, default, off in (
            ("pretrain", pretrain, "auto", "never"),
            ("self_train", self_train, "auto", "never"),
            ("distill", distill, "auto", "never"),
            ("teachers", teachers, 0, 0),
            ("deploy", deploy, "model", "model"),
        )
    }
    recipe = recipe.with_settings("data", {"use_validation_for_training": joined, **arms})
    _check_arms(recipe, task)
    held = recipe.get("data", "positive_class")
    users = held if held and held.source == "user" else None
    return recipe.with_settings(
        "data", {"positive_class": _positive_class(users, task, classes, counts)}
    )


def _arm(name: str, task: str, value: Any, default: Any, off: Any) -> Setting:
    """Returns the setting of what is learned beside the training, or in place of it."""
    if not TASKS[task].is_spatial:
        source: Source = "default" if value == default else "user"
        return Setting(value, "pipeline parameter", source=source)
    if value not in (default, off):
        raise ValueError(
            f"`{name}` must be left out for a {task} task: it is for labels of whole images. "
            f"Received: {value!r}"
        )
    return Setting(off, "off: it is for labels of whole images", source="default")


def _check_arms(recipe: Recipe, task: str) -> None:
    """Refuses what an earlier recipe says of them and this run cannot do."""
    rules = {
        **dict.fromkeys(("pretrain", "self_train", "distill"), get_args(Arm)),
        "deploy": get_args(Deployed),
    }
    values = {name: recipe.value("data", name) for name in (*rules, "teachers")}
    broken = [name for name, choices in rules.items() if values[name] not in choices]
    if type(values["teachers"]) is not int or values["teachers"] < 0:
        broken.append("teachers")
    if broken:
        raise ValueError(
            f"`data.{broken[0]}` of the recipe must be one of "
            f"{rules.get(broken[0], 'the numbers from 0 on')}. Received: {values[broken[0]]!r}"
        )
    wanted = [name for name, value in values.items() if value not in ("never", "model", 0)]
    if TASKS[task].is_spatial and wanted:
        raise ValueError(
            f"`data.{wanted[0]}` of the recipe must be left out for a {task} task: it is for "
            f"labels of whole images. Received: {values[wanted[0]]!r}"
        )


def _weights(
    task: TaskFacts, counts: np.ndarray, beta: float, evidence: Mapping[str, object]
) -> Setting:
    if not task.weighted_metric:
        return Setting(None, f"No weights: {task.unweighted_reason}", evidence, "default")
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


def _primary_metric(
    task: TaskFacts, *, is_weighted: bool, evidence: Mapping[str, object]
) -> Setting:
    if not task.weighted_metric:
        return Setting(task.metrics[0], task.reason, evidence, "default")
    if is_weighted:
        return Setting(
            task.weighted_metric,
            "The loss is weighted so that small classes count: so does the metric.",
            evidence,
        )
    return Setting(task.metrics[0], task.reason, evidence)


def _positive_class(
    users: Setting | None, task: str, classes: Sequence[str], counts: np.ndarray
) -> Setting:
    """Returns the user's setting with its evidence, or the rarer class where there is none."""
    if users:
        check_positive_class(task, classes, users.value)
    if not TASKS[task].has_positive_class:
        return Setting(None, "No positive class: the metrics are of all classes.", source="default")
    setting = users or Setting(
        classes[1] if counts[1] <= counts[0] else classes[0],
        "The rarer class of the training images; of equally many, the second one.",
        source="default",
    )
    share = counts[list(classes).index(setting.value)] / counts.sum()
    return dataclasses.replace(setting, evidence={"train_share": round(float(share), 6)})
