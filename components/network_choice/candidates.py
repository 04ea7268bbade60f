"""The networks that are compared for a set of images."""

import dataclasses
from typing import Any, Literal

from kfp_vision.components.shared.architectures.names import is_user_model
from kfp_vision.components.shared.architectures.zoo import (
    choose_input,
    keeps_head,
    useful_sizes,
)
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.initial_weights import PRETRAINED, RANDOM
from kfp_vision.components.shared.tasks import TASKS, task_of

__all__ = ["Candidate", "LineUp", "from_scratch", "frozen_candidates", "line_up"]


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A network at a size, and what of it learns.

    Attributes:
        architecture: Name of the zoo, or URI of a model file.
        height, width: In pixels.
        trainable: `head` for a frozen network, else `all`.
        initial_weights: `pretrained` for a frozen or a fine-tuned network, else `random`: those of
            a file are the start then, too.
    """

    architecture: str
    height: int
    width: int
    trainable: Literal["all", "head"]
    initial_weights: str = PRETRAINED

    @property
    def name(self) -> str:
        """Tells it from the others."""
        size = f"{self.height}x{self.width}"
        return f"{self.architecture}-{size}-{self.initial_weights}-{self.trainable}"

    @property
    def values(self) -> dict[str, Any]:
        """Settings of the section `model`; architecture and size of a file follow from the file."""
        chosen = {"initial_weights": self.initial_weights, "trainable": self.trainable}
        if is_user_model(self.architecture):
            return chosen
        size = [self.height, self.width]
        return {"architecture": self.architecture, "image_size": size, **chosen}

    def in_recipe(self, recipe: Recipe) -> Recipe:
        """Returns the recipe with this network; what a user has set is the same by now."""
        return recipe.with_settings(
            "model", {name: Setting(value, "candidate") for name, value in self.values.items()}
        )


@dataclasses.dataclass(frozen=True)
class LineUp:
    """What is compared.

    Attributes:
        frozen: A frozen network at its sizes, the smallest first; none where its pooled features
            cannot say what the task asks, or it keeps its head.
        tuned: The same network, fine-tuned; its size counts where there is no frozen one.
        scratch: A network from scratch, or the same model file trained as one; None for none.
    """

    frozen: list[Candidate]
    tuned: Candidate
    scratch: Candidate | None


def line_up(
    info: DatasetInfo, network: str, scratch: str | None, image_size: list[int] | None
) -> LineUp:
    """Returns the candidates.

    A model file that has the classes of the task keeps its head: frozen, nothing of it would learn.
    Where targets lie in the image there is no frozen network, and images keep their size as far as
    the network knows it.

    Args:
        info: Of the dataset.
        network: A pretrained network of the zoo, or the URI of a model file.
        scratch: As of `from_scratch`; None for none.
        image_size: The user's [height, width]; None for none.
    """
    rival = from_scratch(info, scratch, image_size) if scratch else None
    if TASKS[info.task].is_spatial:
        tuned = from_scratch(info, network, image_size)
        return LineUp([], dataclasses.replace(tuned, initial_weights=PRETRAINED), rival)
    frozen = frozen_candidates(info, network, image_size)
    own_head = keeps_head(network, task_of(info), len(info.classes))
    tuned = dataclasses.replace(frozen[-1], trainable="all")
    return LineUp([] if own_head else frozen, tuned, rival)


def frozen_candidates(
    info: DatasetInfo, architecture: str, image_size: list[int] | None
) -> list[Candidate]:
    """Returns a frozen network at up to three sizes, the smallest first.

    Args:
        info: Of the dataset; its images keep their shape.
        architecture: A pretrained network of the zoo, or the URI of a model file, which is looked
            at in one size: its own or that of the images.
        image_size: The user's [height, width]; None for none.
    """
    if is_user_model(architecture):
        alone = from_scratch(info, architecture, image_size)
        return [dataclasses.replace(alone, trainable="head", initial_weights=PRETRAINED)]
    if image_size:
        return [Candidate(architecture, image_size[0], image_size[1], "head")]
    sizes = useful_sizes(architecture, info.median_height, info.median_width)
    return [Candidate(architecture, *size, "head") for size in sizes]


def from_scratch(info: DatasetInfo, architecture: str, image_size: list[int] | None) -> Candidate:
    """Returns a network that is trained as one without pretraining, at the size of the images.

    Args:
        info: Of the dataset.
        architecture: Name of the zoo, `auto`, or the URI of a model file.
        image_size: The user's [height, width]; None for none.
    """
    sides = info.median_height, info.median_width
    name, height, width = choose_input(architecture, *sides, info.channels)
    if image_size:
        height, width = image_size
    return Candidate(name, height, width, "all", RANDOM)
