"""What the beam decides about: augmentation groups, mixing and the strength of regularisation.

A technique is a name and values, one per level. They are plain JSON values, so that a round is
proposed without a framework that trains.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "MIXING_PROBABILITY",
    "PUBLISHED",
    "REGULARISERS",
    "SEVERAL_OPERATIONS",
    "Technique",
    "read_techniques",
]

MIXING_PROBABILITY = 0.5
# Policies that are tried as they were published, alone.
PUBLISHED = ("trivial_augment", "rand_augment")
# How many operations of the groups an image gets, instead of one.
SEVERAL_OPERATIONS, _NUMBERS = "several_operations", (2, 4)
# Hyperparameter -> the values tried beside that of the recipe.
REGULARISERS: dict[str, tuple[float, ...]] = {
    "label_smoothing": (0.0, 0.2),
    "dropout": (0.0, 0.4),
    "stochastic_depth": (0.1,),
    "weight_decay": (5.0,),
}
# What is tried first where not everything can be; last what trials like more than trainings do.
_ORDER = (
    "horizontal_flip",
    "shift",
    "geometry",
    "trivial_augment",
    "colour",
    "vertical_flip",
    "rot90",
    "detail",
    "dropout",
    "mixup",
    "cutmix",
    "rand_augment",
)


@dataclasses.dataclass(frozen=True)
class Technique:
    """One thing that is on at a level, or off.

    Attributes:
        name: `geometry`, `horizontal_flip`, `cutmix`, `trivial_augment`, `label_smoothing`, ...
        levels: From weak to strong: lists of operations, the name of a published policy, a
            probability, or the value of a hyperparameter.
        always: Every image gets all operations of the level; else one of them or none, or a few.
        needs: Names of others without which it means nothing; empty for most.
    """

    name: str
    levels: tuple[Any, ...]
    always: bool = False
    needs: tuple[str, ...] = ()


def read_techniques(
    groups: Sequence[Mapping[str, Any]], regularisers: Mapping[str, float]
) -> list[Technique]:
    """Returns all techniques, what is worth most first.

    Args:
        groups: Of `AugmentationTable`.
        regularisers: Those that the model has -> their values in the recipe.
    """
    found = [Technique(group["name"], tuple(group["levels"]), group["always"]) for group in groups]
    families = tuple(each.name for each in found if not each.always)
    if families:
        found.append(Technique(SEVERAL_OPERATIONS, _NUMBERS, needs=families))
    found += [Technique(name, (MIXING_PROBABILITY,)) for name in ("mixup", "cutmix")]
    found += [Technique(name, (name,)) for name in PUBLISHED]
    for name, values in REGULARISERS.items():
        if name in regularisers:
            scale = regularisers[name] if name == "weight_decay" else 1.0
            levels = tuple(scale * value for value in values if scale * value != regularisers[name])
            found.append(Technique(name, levels))
    rank = {name: place for place, name in enumerate(_ORDER)}
    return sorted(found, key=lambda each: rank.get(each.name, len(rank)))
