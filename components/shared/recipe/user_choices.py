"""What a user may set of model and training, whichever stage asks."""

import dataclasses
import math
from typing import Any

__all__ = ["UserChoices"]


@dataclasses.dataclass(frozen=True)
class UserChoices:
    """What a user may set of model and training; 0 and `auto` leave it to the recipe.

    Attributes:
        architecture: A name of the zoo, the URI of a `.keras` file, or `auto`.
        image_size: Height and width in pixels; 0 follows the data.
        batch_size, learning_rate, epochs, optimizer: Override the recipe.
        seed: Of the weights, the order of the images and dropout.
    """

    architecture: str = "auto"
    image_size: int = 0
    batch_size: int = 0
    learning_rate: float = 0.0
    epochs: int = 0
    optimizer: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses sizes and rates that are negative or not finite."""
        for name, value in vars(self).items():
            if isinstance(value, int | float) and not 0 <= value < math.inf:
                raise ValueError(
                    f"`{name}` must not be negative (0 leaves it to kfp-vision) and must be "
                    f"finite. Received: {value}"
                )

    def hyperparameters(self) -> dict[str, Any]:
        """Returns the hyperparameters that the user has set."""
        names = ("batch_size", "learning_rate", "epochs", "optimizer")
        given = {name: getattr(self, name) for name in names}
        return {name: value for name, value in given.items() if value not in (0, "auto")}
