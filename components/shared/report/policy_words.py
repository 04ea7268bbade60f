"""An augmentation policy as people read it, from the JSON values that a recipe holds."""

from collections.abc import Iterable, Mapping
from typing import Any

from kfp_vision.components.shared.augmentation.transforms import TRANSFORMS
from kfp_vision.components.shared.report.figures import label, number, percent

__all__ = ["policy_words"]

_PARTS = {"branches", "always", "draws", "mixing"}


def policy_words(policy: Any) -> list[str]:
    """Returns what a policy does to an image, a sentence each; none of what is no policy.

    Args:
        policy: As `Policy.to_json` has it, or any other value of a recipe.
    """
    if not isinstance(policy, Mapping) or not policy.keys() >= _PARTS:
        return []
    sentences = []
    if policy["always"]:
        sentences.append(f"Every image: {_in_words(policy['always'])}.")
    branches = policy["branches"]
    nothing = sum(each["weight"] for each in branches if not each["operations"])
    share = 1 - nothing / sum(each["weight"] for each in branches)
    if drawn := [operation for each in branches for operation in each["operations"]]:
        low, high = policy["draws"]
        times = f"{low} to {high}" if low < high else str(high)
        if low == high == 1:
            whom = "Every image" if share == 1 else f"{percent(share)} of the images"
        else:
            chance = "" if share == 1 else f" with a probability of {percent(share)}"
            whom = f"Every image, {times} times{chance}"
        sentences.append(f"{whom}: one of {_in_words(drawn)}.")
    for key, mixed in policy["mixing"].items():
        name, _, kind = key.partition("_")
        if kind == "probability" and mixed:
            sentences.append(f"{label(name)}: {percent(mixed)} of the images.")
    return sentences


def _in_words(operations: Iterable[Mapping[str, Any]]) -> str:
    """Returns each transform once, with the greatest magnitude that it is given."""
    greatest: dict[str, float] = {}
    for each in operations:
        greatest[each["transform"]] = max(greatest.get(each["transform"], 0.0), each["high"])
    return ", ".join(
        f"{label(name).lower()} (with probability {number(high, 2)})"
        if TRANSFORMS[name].chance
        else f"{label(name).lower()} up to {number(high, 2)}"
        for name, high in greatest.items()
    )
