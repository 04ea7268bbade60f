"""From a dataset and a recipe to everything a training needs: model, images, trainer."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np

from kfp_vision.components.shared.architectures.zoo import (
    build_model,
    choose_input,
    keeps_head,
    optional_regularisers,
)
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.augmentation.policy import Policy
from kfp_vision.components.shared.datasets import store
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.datasets.labelled import LabelledImages, open_labelled
from kfp_vision.components.shared.recipe import hyperparameters
from kfp_vision.components.shared.recipe.context import fits, fixed_facts
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.hyperparameters import SECTION, Hyperparameters
from kfp_vision.components.shared.recipe.initial_weights import (
    check_initial_weights,
    default_initial_weights,
    starts_pretrained,
)
from kfp_vision.components.shared.recipe.policies import AUGMENTATION, policy_setting
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.runtime.seeds import seed_word
from kfp_vision.components.shared.tasks import Task, task_of
from kfp_vision.components.shared.tasks.protocol import TeachableTask
from kfp_vision.components.shared.training.precision import (
    choose_precision,
    find_accelerator,
    set_precision,
)
from kfp_vision.components.shared.training.replicas import node_strategy
from kfp_vision.components.shared.training.soft_targets import TaughtTask, Teaching
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = [
    "build_trainer",
    "complete_recipe",
    "example_targets",
    "image_shape",
    "open_split",
    "recipe_class_weights",
    "recipe_policy",
]


def complete_recipe(recipe: Recipe, info: DatasetInfo, choices: UserChoices) -> Recipe:
    """Returns the recipe with complete sections `model` and `training`.

    Defaults of an earlier run are made anew, because they followed its data, and what was learned
    on other data or for another training is left out. Regularisation that the architecture has no
    place for is off, unless the user has set it: then `build_trainer` refuses it.

    Raises:
        ValueError: A setting is of the wrong type, there is no such architecture, or the loss of
            the task has no label smoothing.
        StorageError: The model file cannot be reached.
    """
    chosen: dict[str, Setting] = {}
    if choices.architecture != "auto":
        chosen["architecture"] = Setting(choices.architecture, "pipeline parameter", source="user")
    if choices.image_size:
        size = [choices.image_size, choices.image_size]
        chosen["image_size"] = Setting(size, "pipeline parameter", source="user")
    held = recipe.with_settings("model", chosen).sections["model"]
    model = {name: setting for name, setting in held.items() if setting.source != "default"}
    wanted = model.get("architecture")
    name, height, width = choose_input(
        "auto" if wanted is None else wanted.value,
        info.median_height,
        info.median_width,
        info.channels,
    )
    evidence = {"median_height": info.median_height, "median_width": info.median_width}
    rules = {
        "architecture": Setting(name, "by image size", evidence, "default"),
        "initial_weights": default_initial_weights(name),
        "image_size": Setting(
            [height, width],
            "from the training images, within what the architecture takes",
            evidence,
            "default",
        ),
        "trainable": Setting("all", "every layer learns", source="default"),
    }
    recipe = Recipe({**recipe.sections, "model": {**rules, **model}})
    check_initial_weights(recipe)
    _check_trainable(recipe, info)
    facts = fixed_facts(recipe, info)
    if AUGMENTATION in recipe.sections:
        policies = recipe.sections[AUGMENTATION]
        fitting = {name: each for name, each in policies.items() if fits(name, each, facts)}
        recipe = Recipe({**recipe.sections, AUGMENTATION: fitting})
    overrides = choices.hyperparameters()
    recipe = hyperparameters.resolve(recipe, overrides, info.splits["train"], facts)
    task = task_of(info)
    found = optional_regularisers(recipe.value("model", "architecture"), task, len(info.classes))
    off = Setting(0.0, "off: the architecture has no place for it", source="default")
    no_place = sorted({"dropout", "stochastic_depth"} - found)
    recipe = recipe.with_settings(SECTION, dict.fromkeys(no_place, off))
    if "label_smoothing" not in task.techniques:
        off = Setting(0.0, f"off: the loss of {info.task} has no place for it", source="default")
        recipe = recipe.with_settings(SECTION, {"label_smoothing": off})
        if held := recipe.value(SECTION, "label_smoothing"):
            raise ValueError(
                f"`label_smoothing` must be 0 for a {info.task} task, whose loss has no place for "
                f"it. Received: {held}"
            )
    return recipe


def _check_trainable(recipe: Recipe, info: DatasetInfo) -> None:
    trainable, name = recipe.value("model", "trainable"), recipe.value("model", "architecture")
    if trainable == "all":
        return
    task = task_of(info)
    own_head = keeps_head(name, task, len(info.classes))
    if trainable == "head" and task.is_spatial:
        raise ValueError(
            f"`model.trainable` of the recipe must be `all` for a {info.task} task, whose head is "
            "of several layers. Received: 'head'"
        )
    if trainable != "head" or own_head or not starts_pretrained(recipe):
        weights = recipe.value("model", "initial_weights")
        raise ValueError(
            "`model.trainable` of the recipe must be `all`, or `head` for a network with "
            "pretrained `model.initial_weights` and a new head. "
            f"Received: {trainable!r} for `architecture` {name}, whose weights are {weights} and "
            f"whose head is {'its own' if own_head else 'new'}"
        )


def _check_mixing(policy: Policy, task: Task) -> None:
    shares = policy.mixing.probabilities
    if undefined := [
        name for name, share in shares.items() if share and name not in task.techniques
    ]:
        raise ValueError(
            f"The policy of a {task.name} task must mix images as the task defines it, by "
            f"{' or '.join(sorted(task.techniques & shares.keys()))}. "
            f"Received: {', '.join(undefined)}"
        )


def build_trainer(
    recipe: Recipe,
    info: DatasetInfo,
    seed: int,
    policy: Policy | None = None,
    teaching: Teaching | None = None,
    kind: Callable[..., Trainer] = Trainer,
    **changes: Any,
) -> tuple[Trainer, Task, Hyperparameters]:
    """Returns a trainer with the model of a complete recipe, its task and its settings.

    It trains on all GPUs of the machine, or on as many as get two images of a batch.

    Args:
        recipe: What `complete_recipe` returned.
        info: Of the dataset.
        seed: Of the weights, dropout and augmentation.
        policy: Of the augmentation; None for none.
        teaching: By a teacher; the batches then have its outputs. None for labels alone.
        kind: Of trainer; takes what `Trainer` does.
        changes: Settings that replace those of the recipe.

    Raises:
        ValueError: The policy mixes images in a way that the task does not define.
    """
    positive = recipe.get("data", "positive_class")
    task = task_of(info, positive.value if positive else None)
    if policy is not None:
        _check_mixing(policy, task)
    settings = dataclasses.replace(hyperparameters.from_recipe(recipe), **changes)
    keras.utils.set_random_seed(seed_word(seed))
    with node_strategy(settings.batch_size).scope():
        model = build_model(
            recipe.value("model", "architecture"),
            task,
            image_shape(recipe, info),
            len(info.classes),
            dropout=settings.dropout,
            stochastic_depth=settings.stochastic_depth,
            frozen_norms=starts_pretrained(recipe),
        )
        set_precision(model, choose_precision(settings.precision, *find_accelerator()))
        learned = TaughtTask(cast(TeachableTask, task), teaching) if teaching else task
        trainer = kind(model, learned, settings, recipe_class_weights(recipe), policy, seed)
    return trainer, task, settings


def recipe_class_weights(recipe: Recipe) -> np.ndarray | None:
    """Returns how much an image counts by its class, float32 [C]; None where all count the same.

    In the loss of a training, and in what judges it.
    """
    weights = recipe.value("data", "class_weights")
    return None if weights is None else np.asarray(weights, np.float32)


def recipe_policy(recipe: Recipe) -> Policy | None:
    """Returns the augmentation policy of a recipe, or None where it has none.

    Raises:
        ValueError: It is not a valid policy.
    """
    setting = policy_setting(recipe)
    if setting is None or setting.value is None:
        return None
    try:
        return Policy.from_json(setting.value)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"`augmentation.policy` must be what a search wrote. Received: {setting.value!r} "
            f"({error})"
        ) from error


def open_split(
    dataset_dir: Path, split: str, recipe: Recipe, cache: ImageCache | None = None
) -> LabelledImages:
    """Opens a split of the dataset at the size that the recipe names."""
    info = read_json(DatasetInfo, dataset_dir / "dataset.json")
    shape = image_shape(recipe, info)
    task = task_of(info)
    return open_labelled(dataset_dir, split, shape, task, len(info.classes), cache=cache)


def example_targets(dataset_dir: Path, recipe: Recipe, count: int) -> dict[str, np.ndarray]:
    """Returns the targets of `count` training images, repeated where there are fewer."""
    info = read_json(DatasetInfo, dataset_dir / "dataset.json")
    table = store.open_split(dataset_dir, "train")
    size = image_shape(recipe, info)[:2]
    read = task_of(info).open_targets(table, size, len(info.classes))
    return read(np.arange(count) % table.num_rows)


def image_shape(recipe: Recipe, info: DatasetInfo) -> tuple[int, int, int]:
    """Returns (height, width, channels) of what the network of a recipe takes."""
    height, width = recipe.value("model", "image_size")
    return height, width, info.channels
