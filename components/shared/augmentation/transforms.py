"""The table of transforms: what a magnitude in [0, 1] means for each of them.

A parameter is `identity + sign * magnitude * (extreme - identity)`; magnitude 0 is the identity,
exactly. Magnitudes of a batch are [B, T], one column for each entry of `PIXEL_TRANSFORMS`.
"""

import dataclasses
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    # The report reads the table, and needs no framework.
    import tensorflow as tf

__all__ = ["PIXEL_TRANSFORMS", "TRANSFORMS", "Transform", "parameters"]

Kind = Literal["geometry", "tone", "colour", "filter", "erase", "mixing"]


@dataclasses.dataclass(frozen=True)
class Transform:
    """One line of the table.

    Attributes:
        kind: The part of the engine that applies it.
        meaning: What the parameter is, with its unit.
        extreme: The parameter at magnitude 1.
        identity: The parameter at magnitude 0.
        signed: The direction is drawn for every image, both equally likely.
        chance: It is on or off for an image; the magnitude is the probability of on.
    """

    kind: Kind
    meaning: str
    extreme: float = 1.0
    identity: float = 0.0
    signed: bool = False
    chance: bool = False


# The extremes are the widest published ranges (TrivialAugment, Müller and Hutter, 2021,
# arXiv:2103.10158, table 6), but for rotation (any angle) and translation (half the image: at
# more, most objects are gone).
TRANSFORMS: dict[str, Transform] = {
    "horizontal_flip": Transform("geometry", "left and right swapped", chance=True),
    "vertical_flip": Transform("geometry", "top and bottom swapped", chance=True),
    # Half a turn is a horizontal and a vertical flip; a quarter never undoes them.
    "rot90": Transform("geometry", "a quarter turn", chance=True, signed=True),
    "rotate": Transform("geometry", "degrees", 180.0, signed=True),
    "shear_x": Transform("geometry", "pixels a row", 0.99, signed=True),
    "shear_y": Transform("geometry", "pixels a column", 0.99, signed=True),
    "translate_x": Transform("geometry", "share of the width", 0.5, signed=True),
    "translate_y": Transform("geometry", "share of the height", 0.5, signed=True),
    "zoom_in": Transform("geometry", "octaves: objects twice as large at 1"),
    "zoom_out": Transform("geometry", "octaves: objects half as large at 1"),
    "auto_contrast": Transform("tone", "share of the stretched image"),
    "equalize": Transform("tone", "share of the equalised image"),
    "brightness": Transform("colour", "factor", 1.99, 1.0, signed=True),
    "contrast": Transform("colour", "factor", 1.99, 1.0, signed=True),
    "saturation": Transform("colour", "factor of the saturation", 1.99, 1.0, signed=True),
    "hue": Transform("colour", "turns of the colour circle", 0.5, signed=True),
    "solarize": Transform("colour", "threshold above which pixels are inverted", 0.0, 256.0),
    "invert": Transform("colour", "negative", chance=True),
    "posterize": Transform("colour", "bits kept", 2.0, 8.0),
    "sharpness": Transform("filter", "factor of the detail", 1.99, 1.0, signed=True),
    "blur": Transform("filter", "standard deviation, percent of the short side"),
    "erase": Transform("erase", "side of the box, share of the image's", 0.5),
    "mixup": Transform("mixing", "pixels averaged with another image's", chance=True),
    "cutmix": Transform("mixing", "a box pasted from another image", chance=True),
    "mosaic": Transform("mixing", "four images at half their size in one", chance=True),
}

PIXEL_TRANSFORMS = tuple(
    name for name, transform in TRANSFORMS.items() if transform.kind != "mixing"
)


def parameters(magnitudes: "tf.Tensor", signs: "tf.Tensor") -> dict[str, "tf.Tensor"]:
    """Returns the parameters [B] of each pixel transform.

    Args:
        magnitudes: [B, T] in [0, 1]; 0 or 1 for those that are on or off.
        signs: [B, T], -1 or 1; read for the signed ones only.
    """
    values = {}
    for index, name in enumerate(PIXEL_TRANSFORMS):
        transform = TRANSFORMS[name]
        change = magnitudes[:, index] * (transform.extreme - transform.identity)
        values[name] = transform.identity + (
            signs[:, index] * change if transform.signed else change
        )
    return values
