"""A policy: which transforms, how strong and how often, as data.

It is validated when made, goes to and from plain JSON (recipe.json), and becomes tensors whose
shapes do not depend on it, so that a compiled training step serves every policy.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.stats
import tensorflow as tf

from kfp_vision.components.shared.augmentation.transforms import PIXEL_TRANSFORMS

__all__ = [
    "IDENTITY",
    "MAX_DRAWS",
    "Branch",
    "Mixing",
    "Operation",
    "Policy",
    "policy_tensors",
]

MAX_BRANCHES, MAX_OPERATIONS, MAX_DRAWS = 256, 5, 4
_NUM_QUANTILES = 257


def _check_range(name: str, low: float, high: float) -> None:
    if not 0.0 <= low <= high <= 1.0:
        raise ValueError(f"`{name}` must lie in [0, 1], in order. Received: {low}, {high}")


@dataclasses.dataclass(frozen=True)
class Operation:
    """A transform that is applied with a probability, at a magnitude drawn uniformly.

    Attributes:
        transform: A name of `PIXEL_TRANSFORMS`.
        low: Least magnitude.
        high: Greatest magnitude; those that are on or off take it as the chance of on.
        probability: Probability of the operation as a whole.
    """

    transform: str
    low: float
    high: float
    probability: float = 1.0

    def __post_init__(self) -> None:
        """Refuses what is not in the table or out of range."""
        if self.transform not in PIXEL_TRANSFORMS:
            raise ValueError(
                f"`transform` must be one of {PIXEL_TRANSFORMS}. Received: {self.transform!r}"
            )
        _check_range("low, high", self.low, self.high)
        _check_range("probability", 0.0, self.probability)


@dataclasses.dataclass(frozen=True)
class Branch:
    """Operations that are drawn together, and how often relative to the other branches."""

    operations: tuple[Operation, ...]
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuses a negative weight and too many operations."""
        if self.weight < 0.0:
            raise ValueError(f"`weight` must not be negative. Received: {self.weight}")
        if len(self.operations) > MAX_OPERATIONS:
            raise ValueError(
                f"A branch has at most {MAX_OPERATIONS} operations. "
                f"Received: {len(self.operations)}"
            )


@dataclasses.dataclass(frozen=True)
class Mixing:
    """The share of images that each is applied to, and of two of them the Beta(alpha, alpha)."""

    mixup_probability: float = 0.0
    mixup_alpha: float = 0.2
    cutmix_probability: float = 0.0
    cutmix_alpha: float = 1.0
    mosaic_probability: float = 0.0

    def __post_init__(self) -> None:
        """Refuses probabilities that are none and alphas that are not positive."""
        total = sum(self.probabilities.values())
        for name, probability in self.probabilities.items():
            _check_range(f"{name}_probability, sum of all", probability, total)
        if min(self.mixup_alpha, self.cutmix_alpha) <= 0.0:
            raise ValueError(
                "`mixup_alpha` and `cutmix_alpha` must be positive. "
                f"Received: {self.mixup_alpha}, {self.cutmix_alpha}"
            )

    @property
    def probabilities(self) -> dict[str, float]:
        """How of mixing -> share of the images; an image is mixed in one way at most."""
        return {
            "mixup": self.mixup_probability,
            "cutmix": self.cutmix_probability,
            "mosaic": self.mosaic_probability,
        }


@dataclasses.dataclass(frozen=True)
class Policy:
    """What happens to an image: `always`, then one branch in each of some draws, then mixing.

    Operations take effect in the order of the engine, not of the policy. A transform that is
    drawn twice for an image is applied once, at the greater magnitude.

    Attributes:
        branches: One is drawn by weight; a branch without operations is the identity.
        always: Operations on every image, such as flip and crop.
        draws: Least and greatest number of branches drawn for an image.
        mixing: With other images, after everything else.
    """

    branches: tuple[Branch, ...] = (Branch(()),)
    always: tuple[Operation, ...] = ()
    draws: tuple[int, int] = (1, 1)
    mixing: Mixing = Mixing()

    def __post_init__(self) -> None:
        """Refuses what does not fit into the tensors and weights that sum to nothing."""
        if not 0 < len(self.branches) <= MAX_BRANCHES:
            raise ValueError(
                f"A policy has 1 to {MAX_BRANCHES} branches. Received: {len(self.branches)}"
            )
        if sum(branch.weight for branch in self.branches) <= 0.0:
            raise ValueError("Some branch must have a positive weight. Received: none")
        if len(self.always) > MAX_OPERATIONS:
            raise ValueError(
                f"`always` has at most {MAX_OPERATIONS} operations. Received: {len(self.always)}"
            )
        low, high = self.draws
        if not 0 <= low <= high <= MAX_DRAWS:
            raise ValueError(
                f"`draws` must lie in 0..{MAX_DRAWS}, in order. Received: {self.draws}"
            )

    def to_json(self) -> dict[str, Any]:
        """Returns the policy as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Policy":
        """Returns the policy that `to_json` wrote, before or after a trip through a file.

        Raises:
            ValueError: It is not a valid policy, or has a key that policies do not have.
        """
        unknown = values.keys() - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise ValueError(
                "A policy must have the keys `branches`, `always`, `draws` and `mixing` only. "
                f"Received also: {', '.join(sorted(unknown))}"
            )
        low, high = values["draws"]
        return cls(
            branches=tuple(
                Branch(_operations(branch["operations"]), branch["weight"])
                for branch in values["branches"]
            ),
            always=_operations(values["always"]),
            draws=(low, high),
            mixing=Mixing(**values["mixing"]),
        )


IDENTITY = Policy()


def _operations(values: list[dict[str, Any]]) -> tuple[Operation, ...]:
    return tuple(Operation(**value) for value in values)


def policy_tensors(policy: Policy) -> dict[str, tf.Tensor]:
    """Returns the policy as tensors, of the same shapes and types for every policy.

    Operations are float32 or int32 [branches + 1, operations] padded with identities; the last
    row is `always`. `branch_ends` [branches] are cumulative probabilities. `mixing_ends` [3] are
    those of MixUp, CutMix and mosaic, `mixing_quantiles` [2, Q] Beta quantiles of the first two.
    """
    shape = (MAX_BRANCHES + 1, MAX_OPERATIONS)
    transforms = np.zeros(shape, "int32")
    low, high, probability = (np.zeros(shape, "float32") for _ in range(3))
    rows = [branch.operations for branch in policy.branches]
    rows += [()] * (MAX_BRANCHES - len(rows)) + [policy.always]
    for row, operations in enumerate(rows):
        for column, operation in enumerate(operations):
            transforms[row, column] = PIXEL_TRANSFORMS.index(operation.transform)
            low[row, column], high[row, column] = operation.low, operation.high
            probability[row, column] = operation.probability
    weights = np.zeros(MAX_BRANCHES)
    weights[: len(policy.branches)] = [branch.weight for branch in policy.branches]
    mixing = policy.mixing
    # Sampled by their quantiles, because XLA has no gamma sampler.
    points = np.linspace(0.0, 1.0, _NUM_QUANTILES)
    quantiles = [
        scipy.stats.beta.ppf(points, alpha, alpha)
        for alpha in (mixing.mixup_alpha, mixing.cutmix_alpha)
    ]
    ends = np.cumsum(list(mixing.probabilities.values()))
    values = {
        "transforms": transforms,
        "low": low,
        "high": high,
        "probability": probability,
        "branch_ends": np.cumsum(weights / weights.sum()).astype("float32"),
        "draws": np.array(policy.draws, "int32"),
        "mixing_ends": ends.astype("float32"),
        "mixing_quantiles": np.array(quantiles, "float32"),
    }
    return {name: tf.constant(value) for name, value in values.items()}
