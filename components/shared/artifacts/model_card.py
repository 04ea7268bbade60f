"""`model.json` beside an exported model: what one has to know to use it without this package."""

import dataclasses

from kfp_vision.components.shared.datasets.sixteen_bit import FULL_WHITE

__all__ = ["ModelCard"]


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """`model.json` beside an exported model.

    Attributes:
        task: A key of `shared.tasks.TASKS`.
        classes: Class names; the position is the output.
        image_size: `[height, width]` in pixels.
        channels: 1 or 3.
        white_level: The value of 16-bit pixels that becomes 255.
        keypoint_names: Of the keypoints of every object, in order; empty for other tasks.
        least_score: From which on objects are named, where the F1 of the validation images was
            highest; None for tasks without objects.
        failed: File or folder -> why it failed its comparison with Keras: it is not to be used.
        input, output: What goes in and comes out, for people.
    """

    task: str
    classes: list[str]
    image_size: list[int]
    channels: int
    white_level: int = FULL_WHITE
    input: str = "float32 pixels 0..255, [batch, height, width, channels]"
    output: str = "calibrated probabilities, [batch, classes]"
    keypoint_names: list[str] = dataclasses.field(default_factory=list)
    least_score: float | None = None
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
