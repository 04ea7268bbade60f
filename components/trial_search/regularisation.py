"""What a candidate means: a policy, and hyperparameters that replace the recipe's."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from kfp_vision.components.shared.artifacts.search_result import Candidate
from kfp_vision.components.shared.augmentation import known_policies
from kfp_vision.components.shared.augmentation.policy import (
    IDENTITY,
    Branch,
    Mixing,
    Operation,
    Policy,
)
from kfp_vision.components.shared.augmentation.transforms import TRANSFORMS
from kfp_vision.components.trial_search.techniques import (
    PUBLISHED,
    REGULARISERS,
    SEVERAL_OPERATIONS,
    Technique,
)

__all__ = ["Regularisation", "read_candidate"]

# How often an operation of a family is none.
_IDENTITY_SHARE = 0.3
_PUBLISHED: dict[str, Callable[[], Policy]] = {
    name: getattr(known_policies, name) for name in PUBLISHED
}


@dataclasses.dataclass(frozen=True)
class Regularisation:
    """What a training is given.

    Attributes:
        policy: Augmentation policy.
        changes: Hyperparameter -> value, those of `REGULARISERS` that differ from the recipe.
    """

    policy: Policy
    changes: dict[str, float]


def read_candidate(candidate: Candidate, techniques: Mapping[str, Technique]) -> Regularisation:
    """Returns the policy and the hyperparameters of a candidate.

    One operation or several are drawn for each image from the union of the families, each with
    30 % identity, or from a published policy as its authors do; flips and shifts come besides.

    Raises:
        ValueError: More operations for every image than a policy holds.
    """
    chosen = {name: techniques[name].levels[level] for name, level in candidate.levels}
    numbers = {name: value for name, value in chosen.items() if not isinstance(value, Mapping)}
    always, drawn = (
        [
            operation
            for name, value in chosen.items()
            if isinstance(value, Mapping) and techniques[name].family == family
            for operation in _operations(value, candidate.without)
        ]
        for family in (False, True)
    )
    draws = int(numbers.get(SEVERAL_OPERATIONS, 1))
    policy = Policy(_branches(drawn), tuple(always), draws=(draws, draws), mixing=_mixing(numbers))
    for name in PUBLISHED:
        if name in numbers:
            known = _PUBLISHED[name]()
            policy = dataclasses.replace(policy, branches=known.branches, draws=known.draws)
    return Regularisation(policy, {name: numbers[name] for name in REGULARISERS if name in numbers})


def _operations(magnitudes: Mapping[str, float], without: Iterable[str]) -> list[Operation]:
    """Returns an operation a transform, at any magnitude up to the given one."""
    return [
        Operation(name, high if TRANSFORMS[name].chance else 0.0, high)
        for name, high in magnitudes.items()
        if name not in without
    ]


def _branches(operations: list[Operation]) -> tuple[Branch, ...]:
    if not operations:
        return IDENTITY.branches
    share = (1 - _IDENTITY_SHARE) / len(operations)
    return (Branch((), _IDENTITY_SHARE), *(Branch((each,), share) for each in operations))


def _mixing(numbers: Mapping[str, float]) -> Mixing:
    """Returns the mixing; two of its kinds together take every image."""
    held = {name: numbers[name] for name in Mixing().probabilities if name in numbers}
    total = max(1.0, sum(held.values()))
    return Mixing(**{f"{name}_probability": value / total for name, value in held.items()})
