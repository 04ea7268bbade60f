"""What a candidate of the beam means: a policy, and hyperparameters that replace the recipe's."""

import dataclasses
from collections.abc import Callable, Sequence

from kfp_vision.components.shared.augmentation.policy import (
    IDENTITY,
    Branch,
    Mixing,
    Operation,
    Policy,
)
from kfp_vision.components.trial_search import known_policies as published
from kfp_vision.components.trial_search.beam import Candidate
from kfp_vision.components.trial_search.techniques import (
    PUBLISHED,
    REGULARISERS,
    SEVERAL_OPERATIONS,
    Technique,
)

__all__ = ["Regularisation", "read_candidate"]

# How often an operation of a policy is none.
_IDENTITY_SHARE = 0.3
_MIXING = ("mixup", "cutmix")
_PUBLISHED: dict[str, Callable[[], Policy]] = {name: getattr(published, name) for name in PUBLISHED}


@dataclasses.dataclass(frozen=True)
class Regularisation:
    """What a training is given.

    Attributes:
        policy: Of the augmentation.
        changes: Hyperparameter -> value, those of `REGULARISERS` that differ from the recipe.
    """

    policy: Policy
    changes: dict[str, float]


def read_candidate(candidate: Candidate, techniques: Sequence[Technique]) -> Regularisation:
    """Returns the policy and the hyperparameters of a candidate.

    One operation or several are drawn for each image from the union of the groups, each with 30 %
    identity; groups that are for every image come besides. A published policy is on alone, and is
    taken as it is.
    """
    levels = dict(candidate.levels)
    named = [each for each in techniques if each.name in levels]
    chosen = {each.name: each.levels[levels[each.name]] for each in named}
    for name in PUBLISHED:
        if name in chosen:
            return Regularisation(_PUBLISHED[name](), {})
    changes = {name: chosen.pop(name) for name in REGULARISERS if name in chosen}
    probabilities = {f"{name}_probability": chosen.pop(name) for name in _MIXING if name in chosen}
    draws = chosen.pop(SEVERAL_OPERATIONS, 1)
    # Together they take every image where both are on.
    total = max(1.0, sum(probabilities.values()))
    mixing = Mixing(**{name: value / total for name, value in probabilities.items()})
    always, union = (
        [
            Operation(**operation)
            for each in named
            if each.name in chosen and each.always == every_image
            for operation in chosen[each.name]
            if operation["transform"] not in candidate.without
        ]
        for every_image in (True, False)
    )
    branches = IDENTITY.branches
    if union:
        share = (1 - _IDENTITY_SHARE) / len(union)
        branches = (
            Branch((), _IDENTITY_SHARE),
            *(Branch((each,), share) for each in union),
        )
    policy = Policy(branches, tuple(always), draws=(draws, draws), mixing=mixing)
    return Regularisation(policy, changes)
