"""The networks that are compared for a set of images."""

import dataclasses
import math
from typing import Literal

from kfp_vision.components.shared.architectures.input_size import size_of_area
from kfp_vision.components.shared.architectures.zoo import ARCHITECTURES, choose_input
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.recipe.document import Recipe, Setting

__all__ = ["Candidate", "frozen_candidates", "from_scratch"]

# Sides over that of the images up to which they are enlarged (`make bench-frozen_sides`), and the
# smaller sides beside the largest useful one.
_ENLARGEMENT, _SHARES, _STEP = 4, (0.5, 0.7, 1.0), 16


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A network at a size, and what of it learns.

    Attributes:
        architecture: Name of the zoo.
        height, width: In pixels.
        trainable: `head` for a frozen network, else `all`.
    """

    architecture: str
    height: int
    width: int
    trainable: Literal["all", "head"]

    @property
    def name(self) -> str:
        """Tells it from the others."""
        return f"{self.architecture}-{self.height}x{self.width}-{self.trainable}"

    def in_recipe(self, recipe: Recipe) -> Recipe:
        """Returns the recipe with this network; what a user has set is the same by now."""
        values = {
            "architecture": self.architecture,
            "image_size": [self.height, self.width],
            "trainable": self.trainable,
        }
        return recipe.with_settings(
            "model", {name: Setting(value, "candidate") for name, value in values.items()}
        )


def frozen_candidates(
    info: DatasetInfo, architecture: str, image_size: list[int] | None
) -> list[Candidate]:
    """Returns a frozen network at up to three sizes, the smallest first.

    Args:
        info: Of the dataset; its images keep their shape.
        architecture: A pretrained network of the zoo.
        image_size: The user's [height, width]; None for none.
    """
    row = ARCHITECTURES[architecture]
    if image_size:
        return [Candidate(architecture, image_size[0], image_size[1], "head")]
    useful = min(row.auto_size, _ENLARGEMENT * math.sqrt(info.median_height * info.median_width))
    sides = {max(row.min_size, _STEP * round(share * useful / _STEP)) for share in _SHARES}
    sizes = [
        size_of_area(info.median_height, info.median_width, side, row.min_size)
        for side in sorted(sides)
    ]
    return [Candidate(architecture, *size, "head") for size in sizes]


def from_scratch(info: DatasetInfo, image_size: list[int] | None) -> Candidate:
    """Returns the network that needs no pretraining, at the size of the images."""
    name, height, width = choose_input("auto", info.median_height, info.median_width, info.channels)
    if image_size:
        height, width = image_size
    return Candidate(name, height, width, "all")
