"""Published policies, as policies of this engine.

Magnitudes are turned from the papers' units into shares of the ranges in transforms.py. Common
deviations: operations take effect in the engine's order, a transform drawn twice for an image is
applied once, translations stop at half the image, and what comes in repeats the border.
"""

from kfp_vision.components.shared.augmentation.policy import Branch, Operation, Policy

__all__ = ["flip_and_crop", "rand_augment", "shifts", "trivial_augment"]

# Level 10 of RandAugment as a magnitude; None for transforms without a level.
_FULL_LEVEL: dict[str, float | None] = {
    "shear_x": 0.3 / 0.99,
    "shear_y": 0.3 / 0.99,
    "translate_x": 150.0 / 331.0 / 0.5,
    "translate_y": 150.0 / 331.0 / 0.5,
    "rotate": 30.0 / 180.0,
    "brightness": 0.9 / 0.99,
    "saturation": 0.9 / 0.99,
    "contrast": 0.9 / 0.99,
    "sharpness": 0.9 / 0.99,
    "posterize": 4.0 / 6.0,
    "solarize": 1.0,
    "auto_contrast": None,
    "equalize": None,
}


def shifts(shift: float = 0.125) -> Policy:
    """Returns shifts by up to `shift` of the sides: no label depends on where an object is."""
    move = 2.0 * shift
    return Policy(always=(Operation("translate_x", 0.0, move), Operation("translate_y", 0.0, move)))


def flip_and_crop(shift: float = 0.125) -> Policy:
    """Returns a horizontal flip of half of the images and shifts by up to `shift` of the sides.

    4 pixels of 32 are the CIFAR baseline (He et al., 2016, arXiv:1512.03385, section 4.2).
    """
    flip = Operation("horizontal_flip", 0.5, 0.5)
    return Policy(always=(flip, *shifts(shift).always))


def rand_augment(num_operations: int = 2, level: float = 9.0) -> Policy:
    """Returns N operations, each any of 13 or none, all at one level of 0 to 10.

    Reference: Cubuk et al., 2020, arXiv:1909.13719.
    """
    magnitudes = {
        name: 1.0 if full is None else full * level / 10.0 for name, full in _FULL_LEVEL.items()
    }
    branches = (Branch((Operation(name, at, at),)) for name, at in magnitudes.items())
    return Policy((Branch(()), *branches), draws=(num_operations, num_operations))


def trivial_augment() -> Policy:
    """Returns one operation, any of 13 or none, at any magnitude: the "wide" space.

    Reference: Müller and Hutter, 2021, arXiv:2103.10158, algorithm 1 and table 6.
    """
    widest = {"rotate": 135.0 / 180.0, "auto_contrast": 1.0, "equalize": 1.0}
    branches = (
        Branch((Operation(name, 1.0 if full is None else 0.0, widest.get(name, 1.0)),))
        for name, full in _FULL_LEVEL.items()
    )
    return Policy((Branch(()), *branches))
