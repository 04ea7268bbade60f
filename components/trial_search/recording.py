"""After the last round: what the trials found, and what of it goes into the recipe."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kfp_vision.components.shared.artifacts.augmentation_table import SearchPlan
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.artifacts.search_result import (
    BASELINE,
    ROUNDS,
    Candidate,
    Confirmed,
    SearchResult,
    Step,
    Trial,
)
from kfp_vision.components.shared.recipe.context import fixed_facts
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.hyperparameters import SECTION, learn, resolve
from kfp_vision.components.trial_search.deciding import confirm, standard_error
from kfp_vision.components.trial_search.techniques import Technique

__all__ = ["STEP_MULTIPLIER", "record_policy", "summarise"]

_METHOD = "short trials from a common checkpoint, by calibrated held-out loss"
# A policy makes the images harder, so that the same training loss takes more steps. Measured, the
# factor was 1.3 to 5.6 and grew along the training; 1.5 times the length added 0.9 to 3.1 points.
STEP_MULTIPLIER = 1.5


def summarise(
    trials: Sequence[Trial], plan: SearchPlan, techniques: Mapping[str, Technique]
) -> SearchResult:
    """Returns what the trials found.

    Raises:
        ValueError: Not even the baseline could be trained.
    """
    first = next(each for each in trials if each.candidate == BASELINE)
    if first.loss is None:
        raise ValueError(
            "The trial of the baseline must stay finite. "
            f"Received: {first.error}. Lower `learning_rate`."
        )
    confirmed = confirm(trials)
    return SearchResult(
        decision=_decision(confirmed, trials, plan),
        notes=_notes(trials, plan),
        techniques={name: each.words() for name, each in techniques.items()},
        trials=list(trials),
        confirmed=confirmed,
        steps=[] if confirmed is None else _steps(confirmed.candidate, trials),
    )


def _decision(confirmed: Confirmed | None, trials: Sequence[Trial], plan: SearchPlan) -> str:
    if confirmed is None and any(trial.round == ROUNDS[-1] for trial in trials):
        return "A trial of the confirmation failed: nothing changes."
    if confirmed is None:
        return f"None of {len(trials)} trials is better than the baseline: nothing changes."
    return (
        f"The best of {len(trials)} trials lowers the loss of {plan.num_confirming:,} held-out "
        f"images that selection never saw by {confirmed.gain:.4f} nats over {confirmed.num_seeds} "
        f"fresh seeds (standard error {confirmed.error:.4f}, significant above "
        f"{confirmed.threshold:.4f}): "
        + ("it is used." if confirmed.accepted else "nothing changes.")
    )


def _notes(trials: Sequence[Trial], plan: SearchPlan) -> list[str]:
    notes = []
    if lost := [trial for trial in trials if trial.out_of_memory]:
        names = ", ".join(dict.fromkeys(_name(trial.candidate) for trial in lost))
        notes.append(
            f"{len(lost)} of {len(trials)} trials ran out of memory, once more when alone in it, "
            f"which says nothing of what they tried: {names}."
        )
    if plan.num_confirming < plan.num_scored:
        notes.append(
            f"Only {plan.num_held_out:,} images are held out: {plan.num_scored:,} to choose by and "
            f"{plan.num_confirming:,} to confirm the choice, so that only large differences show."
        )
    return notes


def _name(candidate: Candidate) -> str:
    parts = [name.replace("_", " ") for name, _ in candidate.levels]
    return " + ".join([*parts, *(f"without {each}" for each in candidate.without)]) or "baseline"


def _steps(chosen: Candidate, trials: Sequence[Trial]) -> list[Step]:
    """Returns what each technique gains over those before it, the best alone first."""
    first = [trial for trial in trials if trial.seed == trials[0].seed]
    losses = {trial.candidate: trial.losses for trial in first if trial.losses}

    def alone(pair: tuple[str, int]) -> float:
        return float(np.mean(losses.get(BASELINE.adding(pair), (np.inf,))))

    steps, before = [], BASELINE
    for name, level in sorted(chosen.levels, key=alone):
        after = before.adding((name, level))
        steps.append(Step(name, level, *_gain(losses, before, after)))
        before = after
    for transform in chosen.without:
        after = Candidate(before.levels, (*before.without, transform))
        steps.append(Step(f"without {transform}", 0, *_gain(losses, before, after)))
        before = after
    return steps


def _gain(
    losses: Mapping[Candidate, tuple[float, ...]], before: Candidate, after: Candidate
) -> tuple[float | None, float | None]:
    """Returns gain and standard error; None where one of the two was not tried."""
    if not {before, after} <= losses.keys():
        return None, None
    gains = np.subtract(losses[before], losses[after])
    return float(gains.mean()), standard_error(gains[None])


def record_policy(
    dataset_dir: Path, recipe: Recipe, result: SearchResult, techniques: Mapping[str, Technique]
) -> Recipe:
    """Returns the recipe with the policy and the hyperparameters that were accepted.

    With a policy the training gets longer, unless the user has set its length.
    """
    info = read_json(DatasetInfo, dataset_dir / "dataset.json")
    facts = fixed_facts(recipe, info)
    evidence: dict[str, Any] = {"trials": len(result.trials)}
    if result.confirmed is None or not result.confirmed.accepted:
        nothing = Setting(None, f"{_METHOD}: {result.decision}", evidence)
        return learn(recipe, "augmentation", {"policy": nothing}, facts)
    # Imported here: a search that changes nothing must not start the framework.
    from kfp_vision.components.shared.augmentation.policy import IDENTITY
    from kfp_vision.components.trial_search.regularisation import read_candidate

    found = read_candidate(result.confirmed.candidate, techniques)
    evidence |= {
        "confirmed": dataclasses.asdict(result.confirmed),
        "steps": [dataclasses.asdict(step) for step in result.steps],
    }
    changed = {
        name: Setting(value, _METHOD, {"before": recipe.value(SECTION, name), **evidence})
        for name, value in found.changes.items()
    }
    recipe = learn(recipe, SECTION, changed, facts)
    policy = None if found.policy == IDENTITY else found.policy.to_json()
    recipe = learn(recipe, "augmentation", {"policy": Setting(policy, _METHOD, evidence)}, facts)
    lengths = [recipe.get(SECTION, name) for name in ("epochs", "steps")]
    if policy is None or any(each is not None and each.source == "user" for each in lengths):
        return recipe
    recipe = learn(recipe, SECTION, {"epochs": _longer(recipe)}, facts)
    return resolve(recipe, {}, info.splits["train"], facts)


def _longer(recipe: Recipe) -> Setting:
    held = recipe.sections[SECTION]["epochs"]
    return Setting(
        held.value * STEP_MULTIPLIER,
        f"{held.method}; times {STEP_MULTIPLIER} with a policy",
        {
            **held.evidence,
            "epochs_without_policy": held.value,
            "step_multiplier": STEP_MULTIPLIER,
        },
    )
