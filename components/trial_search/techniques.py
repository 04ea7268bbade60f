"""What the beam decides about, one group after the other, and what a state of it means."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from kfp_vision.components.shared.augmentation.policy import Branch, Mixing, Operation, Policy
from kfp_vision.components.shared.augmentation.transforms import TRANSFORMS

__all__ = ["Technique", "read_techniques", "regularisation"]

# Share of the images that a policy leaves as they are.
_IDENTITY_SHARE = 0.3
_MIXING = ("mixup", "cutmix")
_MIXING_PROBABILITY = 0.5
# What is decided first has the most trials; what is not listed comes last.
_ORDER = ("mirror", "geometry", "colour", "cutmix", "detail")


@dataclasses.dataclass(frozen=True)
class Technique:
    """A group of the beam: its name and one value per level.

    Attributes:
        name: `geometry`, `mirror`, `cutmix`, `label_smoothing`, ...
        levels: Lists of operations, or numbers.
    """

    name: str
    levels: tuple[Any, ...]


def read_techniques(groups: Sequence[Mapping[str, Any]], label_smoothing: float) -> list[Technique]:
    """Returns the groups of the table, mixing, and label smoothing, in the order of the beam.

    Args:
        groups: Of `AugmentationTable`.
        label_smoothing: Of the recipe; other values are the levels.
    """
    found = [
        Technique(
            group["name"],
            tuple([Operation(**operation) for operation in level] for level in group["levels"]),
        )
        for group in groups
    ]
    found += [Technique(name, (_MIXING_PROBABILITY,)) for name in _MIXING]
    others = tuple(value for value in (0.0, 0.2) if value != label_smoothing)
    found.append(Technique("label_smoothing", others))
    rank = {name: place for place, name in enumerate(_ORDER)}
    return sorted(found, key=lambda each: rank.get(each.name, len(rank)))


def regularisation(
    state: Mapping[str, int], techniques: Sequence[Technique], label_smoothing: float
) -> tuple[Policy, float]:
    """Returns the policy and the label smoothing of a state of the beam.

    One operation is drawn for each image from the union of the families, with 30 % identity; what
    is on or off happens to half of the images besides.

    Args:
        state: Name -> level; what is absent is off.
        techniques: All of them.
        label_smoothing: Where the state says nothing of it.
    """
    chosen = {each.name: each.levels[state[each.name]] for each in techniques if each.name in state}
    smoothing = chosen.pop("label_smoothing", label_smoothing)
    mixing = Mixing(
        **{f"{name}_probability": chosen.pop(name) for name in _MIXING if name in chosen}
    )
    operations = [operation for level in chosen.values() for operation in level]
    always = [each for each in operations if TRANSFORMS[each.transform].chance]
    union = [each for each in operations if not TRANSFORMS[each.transform].chance]
    branches: tuple[Branch, ...] = (Branch(()),)
    if union:
        share = (1 - _IDENTITY_SHARE) / len(union)
        branches = (
            Branch((), _IDENTITY_SHARE),
            *(Branch((each,), share) for each in union),
        )
    return Policy(branches=branches, always=tuple(always), mixing=mixing), smoothing
