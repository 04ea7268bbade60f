"""The recipe of the network that was chosen."""

from collections.abc import Mapping, Sequence
from typing import Any

from kfp_vision.components.network_choice.candidates import Candidate
from kfp_vision.components.network_choice.comparing import Compared
from kfp_vision.components.network_choice.stage_report import describe_candidate
from kfp_vision.components.shared.architectures.names import is_user_model
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.network_choice import CandidateResult
from kfp_vision.components.shared.augmentation.known_policies import flip_and_crop
from kfp_vision.components.shared.recipe.context import fixed_facts
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.hyperparameters import SECTION, learn, resolve
from kfp_vision.components.shared.recipe.initial_weights import PRETRAINED
from kfp_vision.components.shared.recipe.policies import AUGMENTATION, DEFAULT_POLICY
from kfp_vision.components.shared.runtime.identity import architecture_digest

__all__ = ["learned_recipe", "with_model"]


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
