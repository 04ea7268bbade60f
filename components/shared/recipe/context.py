"""What learned settings hold for: one is used again only where it was learned.

A learned setting carries `Setting.context`, the facts of the training it was learned for: data,
network, size of the images, optimizer, batch size, learning rate. The next training that starts
from the recipe compares them with its own.
"""

from collections.abc import Mapping
from typing import Any

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.initial_weights import weights_of_name
from kfp_vision.components.shared.runtime.identity import architecture_digest

__all__ = ["differences", "explain_dropped", "fits", "fixed_facts"]

_NETWORK = ("data", "architecture", "initial_weights", "image_size", "trainable")
_TRAINING = (*_NETWORK, "optimizer")
# Setting -> the facts that it depends on; those that are not named here depend on `_TRAINING`.
_DEPENDS = {
    "policy": _NETWORK,
    "default_policy": _NETWORK,
    "learning_rate": (*_TRAINING, "batch_size"),
    "epochs": (*_TRAINING, "batch_size"),
    "weight_decay": (*_TRAINING, "batch_size", "learning_rate"),
}


def fixed_facts(recipe: Recipe, info: DatasetInfo) -> dict[str, Any]:
    """Returns the facts that no stage changes; those of the section `training` are its values.

    Args:
        recipe: With a complete section `model`.
        info: Of the dataset; its fingerprint covers which images are in which split.

    Raises:
        StorageError: The model file cannot be reached.
    """
    return {
        "data": info.fingerprint,
        "train_images": info.splits["train"],
        "architecture": architecture_digest(recipe.value("model", "architecture")),
        "initial_weights": recipe.value("model", "initial_weights"),
        "image_size": list(recipe.value("model", "image_size")),
        "trainable": recipe.value("model", "trainable"),
    }


def differences(name: str, setting: Setting, facts: Mapping[str, Any]) -> list[str]:
    """Returns the facts that a setting depends on and that differ from its context."""
    depends = _DEPENDS.get(name, _TRAINING)
    # Recipes of earlier versions say nothing of what trains: everything did, as the name says.
    name_then = setting.context.get("architecture", "")
    before = {"trainable": "all", "initial_weights": weights_of_name(name_then)}
    there, here = {**before, **setting.context}, {**before, **facts}
    return [fact for fact in depends if there.get(fact) != here.get(fact)]


def fits(name: str, setting: Setting, facts: Mapping[str, Any]) -> bool:
    """Returns whether a setting may be used.

    Settings of the user and defaults always may; one that was learned or follows a rule where its
    context agrees with `facts`, and never without a context.
    """
    if not setting.is_for_context:
        return True
    return bool(setting.context) and not differences(name, setting, facts)


def explain_dropped(before: Recipe, after: Recipe, facts: Mapping[str, Any]) -> list[str]:
    """Returns a sentence for every learned setting of `before` that does not fit `after`.

    Args:
        before: What the run starts from.
        after: The same, complete.
        facts: Those of `after`, with optimizer, batch size and learning rate.
    """
    return [
        f"`{name}` of the recipe that the run starts from ({_short(setting.value)}) is not used: "
        f"{_reason(name, setting, facts)}. It is learned anew, or follows the default."
        for section in ("training", "augmentation")
        for name, setting in before.sections.get(section, {}).items()
        if after.get(section, name) != setting and not fits(name, setting, facts)
    ]


def _reason(name: str, setting: Setting, facts: Mapping[str, Any]) -> str:
    if not setting.context:
        return "it does not say what it was learned on"
    others = differences(name, setting, facts)
    return f"it was learned with {' and '.join(_other(each, setting, facts) for each in others)}"


def _other(fact: str, setting: Setting, facts: Mapping[str, Any]) -> str:
    there, here = setting.context.get(fact), facts.get(fact)
    if fact == "data":
        # The fingerprints tell a reader nothing. Splits that are made follow the seed.
        there, here = setting.context.get("train_images"), facts.get("train_images")
        return f"other data or another split ({there} training images, here {here})"
    other = "other" if fact == "initial_weights" else "another"
    return f"{other} {fact.replace('_', ' ')} ({_short(there)}, here {_short(here)})"


def _short(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
