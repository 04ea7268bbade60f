"""What the trials decide about: augmentation, mixing and the strength of regularisation.

Techniques are plain values, so that trials are proposed without a framework that trains.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from kfp_vision.components.shared.artifacts.augmentation_table import Group
from kfp_vision.components.shared.artifacts.search_result import BASELINE, Candidate

__all__ = [
    "CUSTOMARY",
    "PUBLISHED",
    "REGULARISERS",
    "SEVERAL_OPERATIONS",
    "Technique",
    "is_compatible",
    "read_techniques",
    "screening_order",
]

# Policies that are taken as they were published; no other family is beside them.
PUBLISHED = ("trivial_augment", "rand_augment")
# How many operations of the families an image gets, instead of one.
SEVERAL_OPERATIONS, _NUMBERS = "several_operations", (2.0, 4.0)
_MIXING_PROBABILITY = 0.5
# Hyperparameter -> the values tried beside that of the recipe; of the decay, multiples of it.
REGULARISERS: dict[str, tuple[float, ...]] = {
    "label_smoothing": (0.0, 0.2),
    "dropout": (0.0, 0.4),
    "stochastic_depth": (0.1,),
    "weight_decay": (5.0,),
}
# What photographs are customarily trained with: flip and crop.
CUSTOMARY = ("horizontal_flip", "shift")
# What is tried after it: the techniques that matter on unusual sets before RandAugment, which is
# rarely better than TrivialAugment.
_BESIDE = ("geometry", "colour", "vertical_flip")
_ALONE = (
    "trivial_augment",
    "detail",
    "rot90",
    "dropout",
    "mosaic",
    "mixup",
    "cutmix",
    "label_smoothing",
)


@dataclasses.dataclass(frozen=True)
class Technique:
    """One thing that is on at a level, or off.

    Attributes:
        name: `geometry`, `horizontal_flip`, `cutmix`, `trivial_augment`, `label_smoothing`, ...
        levels: From weak to strong: transform -> greatest magnitude, or a probability, a number
            of operations or the value of a hyperparameter.
        family: Whether an image gets one operation of the level or none; else all of them.
    """

    name: str
    levels: tuple[Mapping[str, float] | float, ...]
    family: bool = False

    @property
    def strongest(self) -> tuple[str, int]:
        """Name and last level."""
        return self.name, len(self.levels) - 1

    def words(self) -> list[str]:
        """Returns the levels in words."""
        return [
            ", ".join(f"{name} {high:.2f}" for name, high in level.items())
            if isinstance(level, Mapping)
            else f"{level:g}"
            for level in self.levels
        ]


def read_techniques(
    groups: Sequence[Group], regularisers: Mapping[str, float], mixing: Sequence[str]
) -> dict[str, Technique]:
    """Returns all techniques by name.

    Args:
        groups: Groups of `AugmentationTable`.
        regularisers: Hyperparameters that the model has -> their values in the recipe.
        mixing: Ways to mix images that the task defines.
    """
    found = [Technique(each.name, tuple(each.levels), not each.always) for each in groups]
    if any(each.family for each in found):
        found.append(Technique(SEVERAL_OPERATIONS, _NUMBERS))
    found += [Technique(name, (1.0,)) for name in PUBLISHED]
    found += [Technique(name, (_MIXING_PROBABILITY,)) for name in mixing]
    for name, values in REGULARISERS.items():
        if name in regularisers:
            scale = regularisers[name] if name == "weight_decay" else 1.0
            levels = tuple(scale * value for value in values if scale * value != regularisers[name])
            found.append(Technique(name, levels))
    return {each.name: each for each in found}


def is_compatible(candidate: Candidate, techniques: Mapping[str, Technique]) -> bool:
    """Returns whether the techniques of a candidate mean something together."""
    names = {name for name, _ in candidate.levels}
    families = any(techniques[name].family for name in names)
    published = len(names.intersection(PUBLISHED))
    several = SEVERAL_OPERATIONS in names
    return published + families <= 1 and (families or not several)


def screening_order(
    techniques: Mapping[str, Technique], revealed: Sequence[str] = ()
) -> list[Candidate]:
    """Returns what is tried first, from what is known to what is rarely of use.

    The baseline; flip and crop, together and alone; what the measurement has revealed;
    TrivialAugment with flip and crop; the families and vertical flips; RandAugment with flip and
    crop; the others alone. All are at their strongest levels, then follow the weaker ones.

    Args:
        techniques: By name.
        revealed: Names of techniques under which the checkpoint knows more of held-out images, as
            where those are turned and the training images are not.
    """

    def strongest(*names: str) -> Candidate:
        held = [techniques[name].strongest for name in names if name in techniques]
        return BASELINE.adding(*held)

    trivial, random = (strongest(*CUSTOMARY, name) for name in PUBLISHED)
    alone = sorted(
        (name for name in techniques if name != SEVERAL_OPERATIONS),
        key=lambda name: _ALONE.index(name) if name in _ALONE else len(_ALONE),
    )
    found = [
        BASELINE,
        strongest(*CUSTOMARY),
        *(strongest(name) for name in CUSTOMARY[::-1]),
        *(strongest(name) for name in revealed),
        trivial,
        *(strongest(name) for name in _BESIDE),
        random,
        *(strongest(name) for name in alone),
    ]
    found += [
        BASELINE.adding((name, level))
        for name in alone
        for level in reversed(range(len(techniques[name].levels) - 1))
    ]
    return list(dict.fromkeys(found))
