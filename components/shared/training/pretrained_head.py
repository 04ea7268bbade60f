"""The head of a pretrained network, fitted to its features before anything else learns.

A random head would send gradients through the network that undo what it knows (Kumar et al., 2022,
arXiv:2202.10054, section 3).
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from kfp_vision.components.shared.architectures.frozen_features import open_backbone
from kfp_vision.components.shared.architectures.multiply_adds import count_multiply_adds
from kfp_vision.components.shared.architectures.zoo import keeps_head
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.datasets.image_features import read_features
from kfp_vision.components.shared.datasets.store import open_split
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.initial_weights import starts_pretrained
from kfp_vision.components.shared.tasks import task_of
from kfp_vision.components.shared.tasks.baselines import Samples
from kfp_vision.components.shared.tasks.frozen_baseline import LinearHead, fit_head
from kfp_vision.components.shared.tasks.linear_cost import fit_multiply_adds
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = [
    "fits_head",
    "head_multiply_adds",
    "head_rows",
    "most_head_images",
    "read_samples",
    "set_head",
    "start_from_features",
]

_HEAD = "logits"
# Features of more images take gigabytes and minutes, and hardly change a linear head.
_MAX_IMAGES = 20_000
# Of all features in float32; a fit holds them three times. A map that is flattened, of 7 x 7 x 1280
# features, leaves 1,070 images.
_MAX_BYTES = 2**28
# Of a large network fewer images: its multiply-adds in two to five minutes of two idle cores.
_MAX_MULTIPLY_ADDS, _ENOUGH_IMAGES = 8e12, 1000


def fits_head(recipe: Recipe, info: DatasetInfo) -> bool:
    """Returns whether a training starts from a head that is fitted to features.

    That of a pretrained network does, where it is one layer on features of the whole image; a model
    file that has the classes of the task keeps its own.

    Args:
        recipe: Complete.
        info: Of the dataset.
    """
    name, task = recipe.value("model", "architecture"), task_of(info)
    if task.is_spatial:
        return False
    return starts_pretrained(recipe) and not keeps_head(name, task, len(info.classes))


def head_rows(rows: np.ndarray, model: keras.Model) -> np.ndarray:
    """Returns the rows [N], or some of them in their order, always the same.

    Args:
        rows: Of all images.
        model: As of `most_head_images`.
    """
    limit = most_head_images(model)
    if len(rows) <= limit:
        return rows
    chosen = np.random.default_rng(0).choice(len(rows), limit, replace=False)
    drawn: np.ndarray = rows[np.sort(chosen)]
    return drawn


def most_head_images(model: keras.Model) -> int:
    """Returns how many images a head is fitted to, at most.

    20,000 of a network of 4e8 multiply-adds an image and less; fewer of one that costs more, of a
    head of many classes, or of so many features that they would fill the memory.

    Args:
        model: Of `build_model`; its last layer is the head.
    """
    cost = count_multiply_adds(model) + head_multiply_adds(model)
    affordable = int(_MAX_MULTIPLY_ADDS / max(cost, 1))
    image_bytes: int = np.dtype(np.float32).itemsize * model.layers[-1].input.shape[-1]
    most = min(_MAX_IMAGES, _MAX_BYTES // image_bytes)
    return max(1, min(most, max(_ENOUGH_IMAGES, affordable)))


def head_multiply_adds(model: keras.Model) -> int:
    """Returns what an image costs in the fit of a head.

    Args:
        model: Of `build_model`; its last layer is the head.
    """
    head = model.layers[-1]
    return fit_multiply_adds(head.input.shape[-1], head.output.shape[-1])


def read_samples(
    recipe: Recipe,
    info: DatasetInfo,
    dataset_dir: Path,
    split: str,
    rows: np.ndarray,
    cache_dir: Path | None,
    is_shuffled: bool = False,
) -> Samples:
    """Returns the features of some images by the network of a recipe, and their labels.

    Args:
        recipe: Complete; its network is a pretrained one.
        info: Of the dataset.
        dataset_dir: Folder of the dataset.
        split: As of `store.open_split`.
        rows: Which images, int [N].
        cache_dir: As of `read_features`.
        is_shuffled: As of `FrozenBackbone`.
    """
    height, width = recipe.value("model", "image_size")
    backbone = open_backbone(recipe.value("model", "architecture"), is_shuffled)
    features = read_features(
        backbone, dataset_dir, split, rows, (height, width), info.channels, cache_dir
    )
    table = open_split(dataset_dir, split)
    targets = task_of(info).open_targets(table, (height, width), len(info.classes))
    return Samples(features, targets(rows)["label"])


def start_from_features(
    trainer: Trainer,
    recipe: Recipe,
    info: DatasetInfo,
    dataset_dir: Path,
    rows: np.ndarray,
    cache_dir: Path | None,
    split: str = "train",
) -> LinearHead:
    """Gives a trainer of a pretrained network the head that fits the features of some images.

    The head is returned, too.

    Args:
        trainer: Has not taken a step.
        recipe: As of `read_samples`; every class counts the same where it has class weights.
        info: Of the dataset.
        dataset_dir: Folder of the dataset.
        rows: Images of the split, int [N], those of `head_rows`; folds of them choose the penalty.
        cache_dir: As of `read_features`.
        split: As of `store.open_split`.
    """
    samples = read_samples(recipe, info, dataset_dir, split, rows, cache_dir)
    balanced = recipe.value("data", "class_weights") is not None
    head = fit_head(samples, None, len(info.classes), balanced)
    set_head(trainer.model, head)
    trainer.restart_average()
    return head


def set_head(model: Any, head: LinearHead) -> None:
    """Assigns kernel and bias of the last layer of a model of `build_model`."""
    layer = model.get_layer(_HEAD)
    layer.kernel.assign(head.kernel)
    layer.bias.assign(head.bias)
