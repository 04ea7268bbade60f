"""Published policies, as policies of this engine.

Magnitudes are turned from the papers' units into shares of the ranges in transforms.py. Common
deviations: operations take effect in the engine's order, a transform drawn twice for an image is
applied once, translations stop at half the image, and what comes in repeats the border.
"""

from typing import Literal

from kfp_vision.components.shared.augmentation.policy import Branch, Operation, Policy

__all__ = [
    "AUTO_AUGMENT",
    "augmix",
    "auto_augment",
    "flip_and_crop",
    "rand_augment",
    "trivial_augment",
]

# What level 10 of AutoAugment is here; None for those without a level.
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
    "invert": None,
}
_RAND_AUGMENT = [name for name in _FULL_LEVEL if name != "invert"]
_AUGMIX = [
    name
    for name in _RAND_AUGMENT
    if name not in ("brightness", "saturation", "contrast", "sharpness")
]

# Two operations a line, each a transform, its probability and its level of 10.
# Cubuk et al., 2019, arXiv:1805.09501, tables 7 to 9.
AUTO_AUGMENT = {
    "cifar10": """
        invert 0.1 0 contrast 0.2 6
        rotate 0.7 2 translate_x 0.3 9
        sharpness 0.8 1 sharpness 0.9 3
        shear_y 0.5 8 translate_y 0.7 9
        auto_contrast 0.5 0 equalize 0.9 0
        shear_y 0.2 7 posterize 0.3 7
        saturation 0.4 3 brightness 0.6 7
        sharpness 0.3 9 brightness 0.7 9
        equalize 0.6 0 equalize 0.5 0
        contrast 0.6 7 sharpness 0.6 5
        saturation 0.7 7 translate_x 0.5 8
        equalize 0.3 0 auto_contrast 0.4 0
        translate_y 0.4 3 sharpness 0.2 6
        brightness 0.9 6 saturation 0.2 8
        solarize 0.5 2 invert 0.0 0
        equalize 0.2 0 auto_contrast 0.6 0
        equalize 0.2 0 equalize 0.6 0
        saturation 0.9 9 equalize 0.6 0
        auto_contrast 0.8 0 solarize 0.2 8
        brightness 0.1 3 saturation 0.7 0
        solarize 0.4 5 auto_contrast 0.9 0
        translate_y 0.9 9 translate_y 0.7 9
        auto_contrast 0.9 0 solarize 0.8 3
        equalize 0.8 0 invert 0.1 0
        translate_y 0.7 9 auto_contrast 0.9 0""",
    "svhn": """
        shear_x 0.9 4 invert 0.2 0
        shear_y 0.9 8 invert 0.7 0
        equalize 0.6 0 solarize 0.6 6
        invert 0.9 0 equalize 0.6 0
        equalize 0.6 0 rotate 0.9 3
        shear_x 0.9 4 auto_contrast 0.8 0
        shear_y 0.9 8 invert 0.4 0
        shear_y 0.9 5 solarize 0.2 6
        invert 0.9 0 auto_contrast 0.8 0
        equalize 0.6 0 rotate 0.9 3
        shear_x 0.9 4 solarize 0.3 3
        shear_y 0.8 8 invert 0.7 0
        equalize 0.9 0 translate_y 0.6 6
        invert 0.9 0 equalize 0.6 0
        contrast 0.3 3 rotate 0.8 4
        invert 0.8 0 translate_y 0.0 2
        shear_y 0.7 6 solarize 0.4 8
        invert 0.6 0 rotate 0.8 4
        shear_y 0.3 7 translate_x 0.9 3
        shear_x 0.1 6 invert 0.6 0
        solarize 0.7 2 translate_y 0.6 7
        shear_y 0.8 4 invert 0.8 0
        shear_x 0.7 9 translate_y 0.8 3
        shear_y 0.8 5 auto_contrast 0.7 0
        shear_x 0.7 2 invert 0.1 0""",
    "imagenet": """
        posterize 0.4 8 rotate 0.6 9
        solarize 0.6 5 auto_contrast 0.6 0
        equalize 0.8 0 equalize 0.6 0
        posterize 0.6 7 posterize 0.6 6
        equalize 0.4 0 solarize 0.2 4
        equalize 0.4 0 rotate 0.8 8
        solarize 0.6 3 equalize 0.6 0
        posterize 0.8 5 equalize 1.0 0
        rotate 0.2 3 solarize 0.6 8
        equalize 0.6 0 posterize 0.4 6
        rotate 0.8 8 saturation 0.4 0
        rotate 0.4 9 equalize 0.6 0
        equalize 0.0 0 equalize 0.8 0
        invert 0.6 0 equalize 1.0 0
        saturation 0.6 4 contrast 1.0 8
        rotate 0.8 8 saturation 1.0 2
        saturation 0.8 8 solarize 0.8 7
        sharpness 0.4 7 invert 0.6 0
        shear_x 0.6 5 equalize 1.0 0
        saturation 0.4 0 equalize 0.6 0
        equalize 0.4 0 solarize 0.2 4
        solarize 0.6 5 auto_contrast 0.6 0
        invert 0.6 0 equalize 1.0 0
        saturation 0.6 4 contrast 1.0 8
        equalize 0.8 0 equalize 0.6 0""",
}


def _at_level(transform: str, level: float, probability: float = 1.0) -> Operation:
    """Returns an operation of AutoAugment's at a level of 0 to 10."""
    full = _FULL_LEVEL[transform]
    magnitude = 1.0 if full is None else full * level / 10.0
    return Operation(transform, magnitude, magnitude, probability)


def flip_and_crop(shift: float = 0.125) -> Policy:
    """Returns a horizontal flip of half of the images and shifts by up to `shift` of the sides.

    4 pixels of 32 are the CIFAR baseline (He et al., 2016, arXiv:1512.03385, section 4.2).
    """
    move = 2.0 * shift
    operations = (
        Operation("horizontal_flip", 0.5, 0.5),
        Operation("translate_x", 0.0, move),
        Operation("translate_y", 0.0, move),
    )
    return Policy(always=operations)


def rand_augment(num_operations: int = 2, level: float = 9.0) -> Policy:
    """Returns N operations, each any of 13 or none, all at one level of 0 to 10.

    Reference: Cubuk et al., 2020, arXiv:1909.13719.
    """
    branches = tuple(Branch((_at_level(name, level),)) for name in _RAND_AUGMENT)
    return Policy((Branch(()), *branches), draws=(num_operations, num_operations))


def trivial_augment() -> Policy:
    """Returns one operation, any of 13 or none, at any magnitude: the "wide" space.

    Reference: Müller and Hutter, 2021, arXiv:2103.10158, algorithm 1 and table 6.
    """
    widest = {"rotate": 135.0 / 180.0, "auto_contrast": 1.0, "equalize": 1.0}
    branches = (
        Branch((Operation(name, 1.0 if full is None else 0.0, widest.get(name, 1.0)),))
        for name, full in _FULL_LEVEL.items()
        if name != "invert"
    )
    return Policy((Branch(()), *branches))


def auto_augment(dataset: Literal["cifar10", "svhn", "imagenet"]) -> Policy:
    """Returns the 25 published pairs of operations; its authors flip and crop before, cut after."""
    branches = []
    for line in AUTO_AUGMENT[dataset].strip().splitlines():
        words = line.split()
        pairs = (words[:3], words[3:])
        branches.append(Branch(tuple(_at_level(name, float(m), float(p)) for name, p, m in pairs)))
    return Policy(tuple(branches))


def augmix(severity: float = 3.0) -> Policy:
    """Returns three chains of one to three operations, averaged with the image.

    The Jensen-Shannon term of its loss is left out: it needs three passes through the model.

    Reference: Hendrycks et al., 2020, arXiv:1912.02781, algorithm 1.
    """
    branches = []
    for name in _AUGMIX:
        low, high = _at_level(name, 0.1), _at_level(name, severity)
        branches.append(Branch((Operation(name, low.low, high.high),)))
    return Policy(tuple(branches), draws=(1, 3), chains=3)
