"""The recipe of the network that was chosen."""

from collections.abc import Mapping, Sequence
from typing import Any

from kfp_vision.components.network_choice.candidates import Candidate
from kfp_vision.components.network_choice.comparing import Compared
from kfp_vision.components.network_choice.stage_report import describe_candidate
from kfp_vision.components.shared.architectures.names import is_user_model
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.network_choice import CandidateResult
from kfp_vision.components.shared.augmentation.known_policies import flip_and_crop, shifts
from kfp_vision.components.shared.recipe.context import fixed_facts
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.hyperparameters import SECTION, learn, resolve
from kfp_vision.components.shared.recipe.initial_weights import PRETRAINED
from kfp_vision.components.shared.recipe.policies import AUGMENTATION, DEFAULT_POLICY
from kfp_vision.components.shared.runtime.identity import architecture_digest

__all__ = ["dense_recipe", "learned_recipe", "with_model"]

# Of a fine-tuned network with a new head of several layers, which has much to learn and of which
# every image teaches much: small batches, a rate for the head, and many passes over few images.
_DENSE_BATCH, _DENSE_RATE, _DENSE_IMAGES, _DENSE_EPOCHS = 16, 3e-3, 30_000, (12, 80)
# Fewer are too short to learn by heart, and augmented images take longer to learn.
_AUGMENTED_EPOCHS = 16


def learned_recipe(
    chosen: Compared, info: DatasetInfo, results: Sequence[CandidateResult], planned_images: float
) -> Recipe:
    """Returns the recipe with the choice and, for a fine-tuned network, its length."""
    candidate = chosen.candidate
    evidence = {
        f"{each.architecture}, {each.image_size[1]} x {each.image_size[0]} px, "
        f"{describe_candidate(each)}": {
            "projected_loss": each.projected,
            "behind": each.behind,
        }
        for each in results
    }
    method = (
        "lowest projected loss on held-out images after short trainings; of those within one "
        "standard error, the cheapest in inference; a fine-tuned network counts as no worse than "
        "the frozen one that it starts from where 100 validation images can tell"
    )
    recipe = with_model(chosen.recipe, info, candidate, method, evidence)
    if candidate.trainable == "head" or candidate.initial_weights != PRETRAINED:
        return recipe
    epochs = Setting(
        planned_images / info.splits["train"],
        "those of a pretrained network, or what the time allows at the measured speed",
        {"seconds_per_image": chosen.rounds[-1].seconds_per_image},
    )
    facts = fixed_facts(recipe, info)
    learned = learn(recipe, SECTION, {"epochs": epochs}, facts)
    recipe = resolve(learned, {}, info.splits["train"], facts)
    found = chosen.augmentation
    if found is None or not found.is_used:
        return recipe
    policy = Setting(
        flip_and_crop().to_json(),
        "flips and shifts, which do no harm to a short training of the fine-tuned network",
        {"change": found.change, "standard_error": found.error},
    )
    return learn(recipe, AUGMENTATION, {DEFAULT_POLICY: policy}, facts)


def dense_recipe(
    recipe: Recipe, info: DatasetInfo, candidate: Candidate, method: str, affordable: float
) -> Recipe:
    """Returns the recipe of a fine-tuned network whose targets lie in the image.

    Args:
        recipe: Complete, of this candidate.
        info: Of the dataset.
        candidate: The network.
        method: Why it was chosen.
        affordable: Epochs that there is time for.
    """
    num_images = info.splits["train"]
    recipe = with_model(recipe, info, candidate, method)
    rule = "default for a new head of several layers on a pretrained network"
    least, most = _DENSE_EPOCHS
    values = {
        "batch_size": max(1, min(_DENSE_BATCH, num_images // 4)),
        "learning_rate": _DENSE_RATE,
        "epochs": float(min(max(_DENSE_IMAGES / num_images, least), most)),
    }
    facts = fixed_facts(recipe, info)
    settings = {name: Setting(value, rule, source="rule") for name, value in values.items()}
    recipe = resolve(learn(recipe, SECTION, settings, facts), {}, num_images, facts)
    epochs = min(affordable, values["epochs"])
    if epochs < _AUGMENTED_EPOCHS:
        return recipe
    # Keypoints that no one has paired may have sides all the same.
    may_flip = not info.keypoint_names or bool(info.keypoint_swaps)
    policy = Setting(
        (flip_and_crop() if may_flip else shifts()).to_json(),
        f"{'flips and shifts' if may_flip else 'shifts'}, for {_AUGMENTED_EPOCHS} epochs and more",
        {"epochs": epochs},
        "rule",
    )
    return learn(recipe, AUGMENTATION, {DEFAULT_POLICY: policy}, facts)


def with_model(
    recipe: Recipe,
    info: DatasetInfo,
    candidate: Candidate,
    method: str,
    evidence: Mapping[str, Any] | None = None,
) -> Recipe:
    """Returns the recipe with a network; what a user has set stays.

    Args:
        recipe: So far.
        info: Of the dataset.
        candidate: The network.
        method: How it was chosen.
        evidence: What was measured for it; None where it follows a rule.
    """
    digest = architecture_digest(candidate.architecture)
    context = {"data": info.fingerprint, "architecture": digest}
    decided = "initial_weights" if is_user_model(candidate.architecture) else "architecture"
    return recipe.with_settings(
        "model",
        {
            name: Setting(
                value,
                method,
                evidence or {} if name == decided else {},
                "rule" if evidence is None else "learned",
                context,
            )
            for name, value in candidate.values.items()
        },
    )
