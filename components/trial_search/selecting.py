"""After the last round: accepts the best candidate or nothing, and writes it into the recipe."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kfp_vision.components.shared.artifacts.augmentation_table import AugmentationTable
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.artifacts.search_result import ROUNDS, TrialSummary
from kfp_vision.components.shared.recipe.context import fixed_facts
from kfp_vision.components.shared.recipe.document import Recipe, Setting, read_recipe, write_recipe
from kfp_vision.components.shared.recipe.hyperparameters import SECTION, learn, resolve
from kfp_vision.components.shared.report.records import write_stage_report
from kfp_vision.components.shared.runtime.disk import explains_full_disk
from kfp_vision.components.shared.search.plan import LEAST_CONFIRMING, SearchPlan, plan_search
from kfp_vision.components.trial_search.beam import (
    LEAST_SHARE,
    PLAIN,
    Candidate,
    Gain,
    Trial,
    decide,
    presume,
    standard_error,
)
from kfp_vision.components.trial_search.proposing import merge_results
from kfp_vision.components.trial_search.stage_report import read_examples, search_report
from kfp_vision.components.trial_search.techniques import Technique, read_techniques

__all__ = ["select_policy"]

_METHOD = "beam over short trials from a common checkpoint, by held-out loss"


@explains_full_disk("output_dir")
def select_policy(
    dataset_dir: Path,
    recipe_path: Path,
    table_dir: Path,
    results: Sequence[str],
    output_dir: Path,
    seed: int,
) -> TrialSummary:
    """Writes `search.json`, `recipe.json` and `cost.json` (of all rounds).

    Args:
        dataset_dir: The `dataset` artifact.
        recipe_path: The complete recipe.
        table_dir: What the stage augmentation_search wrote.
        results: What the workers of the last round returned.
        output_dir: Is created.
        seed: Of the search.

    Raises:
        ValueError: Not even the plain training could be tried.
    """
    started = time.monotonic()
    output_dir.mkdir(parents=True, exist_ok=True)
    started_from = recipe = read_recipe(recipe_path)
    table = read_json(AugmentationTable, table_dir / "table.json")
    summary, seconds, seen = TrialSummary(skipped=table.skipped), 0.0, 0
    if not table.skipped:
        trials = merge_results(results)
        info = read_json(DatasetInfo, dataset_dir / "dataset.json")
        plan = plan_search(recipe, info)
        techniques = read_techniques(table.groups, table.regularisers)
        gain = presume(trials, seed) if plan.is_brief else decide(trials)
        summary = _summarise(gain, trials, plan, techniques, seed)
        seconds = sum(trial.seconds for trial in trials)
        num_confirmed = sum(trial.round == ROUNDS[-1] for trial in trials)
        seen = plan.images_of(len(trials), num_confirmed)
        if trials:
            evidence = {"confirmed": summary.confirmed, "trials": len(trials)}
            nothing = Setting(None, f"{_METHOD}: {summary.decision}", evidence)
            recipe = learn(recipe, "augmentation", {"policy": nothing}, fixed_facts(recipe, info))
        if gain is not None and gain.accepted:
            recipe, summary, more = _learn(
                dataset_dir, info, recipe, summary, plan, gain.candidate, techniques, seed
            )
            seen += more
    write_recipe(recipe, output_dir / "recipe.json")
    write_json(summary, output_dir / "search.json")
    examples = read_examples(table_dir)
    primary = recipe.value("data", "primary_metric")
    report = search_report(
        summary, table, examples, started_from, recipe, primary, table.images_seen + seen
    )
    write_stage_report(report, output_dir)
    seconds += time.monotonic() - started
    write_json(StageCost("search_trials", seconds, seen), output_dir / COST_FILE)
    return summary


def _summarise(
    gain: Gain | None,
    trials: Sequence[Trial],
    plan: SearchPlan,
    techniques: Sequence[Technique],
    seed: int,
) -> TrialSummary:
    plain = next((trial for trial in trials if trial.key == (PLAIN, seed)), None)
    if plain is not None and plain.loss is None:
        raise ValueError(
            "The trial without any technique must stay finite. "
            f"Received: {plain.error}. Lower `learning_rate`."
        )
    return TrialSummary(
        decision=_presumption(gain, plan) if plan.is_brief else _decision(gain, trials, plan),
        accepted=gain is not None and gain.accepted,
        notes=_notes(trials, plan),
        plan=dataclasses.asdict(plan),
        techniques=[
            {"name": each.name, "levels": [_in_words(level) for level in each.levels]}
            for each in techniques
        ],
        trials=[trial.to_json() for trial in trials],
        confirmed={} if gain is None or plan.is_brief else _confirmed(gain),
        steps=[] if gain is None else _steps(gain, trials, seed),
    )


def _notes(trials: Sequence[Trial], plan: SearchPlan) -> list[str]:
    notes = []
    if lost := [trial for trial in trials if trial.out_of_memory]:
        names = ", ".join(dict.fromkeys(_name(trial.candidate) for trial in lost))
        notes.append(
            f"{len(lost)} of {len(trials)} trials ran out of memory, once more when alone in it, "
            f"which says nothing of what they tried: {names}."
        )
    if trials and 0 < plan.num_confirming < plan.num_scored:
        notes.append(
            f"Only {plan.num_held_out:,} images are held out: {plan.num_scored:,} to choose by and "
            f"{plan.num_confirming:,} to confirm the choice, so that only large gains are told "
            "from chance."
        )
    return notes


def _name(candidate: Candidate) -> str:
    parts = [name.replace("_", " ") for name, _ in candidate.levels]
    return " + ".join([*parts, *(f"without {each}" for each in candidate.without)]) or "plain"


def _decision(gain: Gain | None, trials: Sequence[Trial], plan: SearchPlan) -> str:
    if not trials:
        return "0.6 of the cost of a plain training leave too few trials: nothing changes."
    if gain is None and any(trial.round == ROUNDS[-1] for trial in trials):
        return "A trial with fresh seeds failed: nothing changes."
    if gain is None:
        return (
            f"None of {len(trials)} trials gained {LEAST_SHARE:.0%} of the loss of the plain "
            "one: nothing changes."
        )
    found = (
        f"The best of {len(trials)} trials lowers the loss of {plan.num_confirming:,} images that "
        f"chose nothing by {gain.gain:.4f} nats over {gain.num_pairs} fresh seeds (standard error "
        f"{gain.error:.4f}; chance alone reaches {gain.threshold:.4f} once in forty times)"
    )
    return found + (": it is used." if gain.accepted else ": nothing changes.")


def _presumption(gain: Gain | None, plan: SearchPlan) -> str:
    found = "A training as short as this pays for trials that only tell what does harm"
    if plan.few_images:
        found = (
            f"Only {plan.num_held_out} images are held out, too few to choose by some and confirm "
            f"by {LEAST_CONFIRMING} others, so that trials only tell what does harm"
        )
    if gain is None or not gain.accepted:
        return f"{found}, and what is customary does: nothing changes."
    names = " and ".join(name for name, _ in gain.candidate.levels)
    return (
        f"{found}; what is customary for photographs does none and is used: {names} "
        f"({gain.gain:.4f} nats off the held-out loss, standard error {gain.error:.4f})."
    )


def _in_words(level: Any) -> str:
    if not isinstance(level, list):
        return str(level)
    return ", ".join(f"{each['transform']} {each['high']:.2f}" for each in level)


def _confirmed(gain: Gain) -> dict[str, Any]:
    values = dataclasses.asdict(gain)
    values.pop("accepted")
    return {**values, "candidate": Trial(ROUNDS[-1], gain.candidate, 0).to_json()["candidate"]}


def _steps(gain: Gain, trials: Sequence[Trial], seed: int) -> list[dict[str, Any]]:
    """Returns what each technique gains over those before it, the best first."""
    losses = {trial.candidate: trial.losses for trial in trials if trial.seed == seed}
    levels = dict(gain.candidate.levels)

    def alone(name: str) -> float:
        held = losses.get(PLAIN.adding(name, levels[name]))
        return float(np.mean(held)) if held else float("inf")

    rows, held = [], PLAIN
    for name in sorted(levels, key=alone):
        before, held = held, held.adding(name, levels[name])
        rows.append({"name": name, "level": levels[name]} | _difference(losses, before, held))
    for transform in gain.candidate.without:
        before, held = held, Candidate(held.levels, (*held.without, transform))
        row = {"name": f"without {transform}", "level": 0}
        rows.append(row | _difference(losses, before, held))
    return rows


def _difference(
    losses: Mapping[Candidate, tuple[float, ...]], before: Candidate, after: Candidate
) -> dict[str, Any]:
    pair = [losses.get(each) for each in (before, after)]
    if not all(pair):
        return {"gain": None, "error": None}
    gains = np.subtract(*map(np.array, pair))
    return {"gain": float(gains.mean()), "error": float(standard_error(gains[None]))}


def _learn(
    dataset_dir: Path,
    info: DatasetInfo,
    recipe: Recipe,
    summary: TrialSummary,
    plan: SearchPlan,
    candidate: Candidate,
    techniques: Sequence[Technique],
    seed: int,
) -> tuple[Recipe, TrialSummary, int]:
    """Returns recipe and summary with what was accepted, and how many images its length took."""
    # Imported here: a search that changes nothing must not start the framework.
    from kfp_vision.components.shared.augmentation.policy import IDENTITY
    from kfp_vision.components.shared.training.setup import build_trainer, open_split
    from kfp_vision.components.trial_search.lengthening import measure_lengthening
    from kfp_vision.components.trial_search.regularisation import read_candidate

    found = read_candidate(candidate, techniques)
    evidence = {
        "confirmed": summary.confirmed,
        "steps": summary.steps,
        "trials": len(summary.trials),
    }
    changed = {
        name: Setting(value, _METHOD, {"before": recipe.value(SECTION, name), **evidence})
        for name, value in found.changes.items()
    }
    facts = fixed_facts(recipe, info)
    recipe = learn(recipe, SECTION, changed, facts)
    if found.policy == IDENTITY:
        return recipe, summary, 0
    policy = Setting(found.policy.to_json(), _METHOD, evidence)
    recipe = learn(recipe, "augmentation", {"policy": policy}, facts)
    trainer, _, _ = build_trainer(recipe, info, seed, IDENTITY, ema_momentum=0.0)
    measured = measure_lengthening(
        trainer,
        open_split(dataset_dir, "train", recipe),
        found.policy,
        plan.peak_rate,
        plan.batch_size,
        plan.steps,
        seed,
    )
    lengths = [recipe.get(SECTION, name) for name in ("epochs", "steps")]
    # A length that the user has set is the user's.
    if all(setting is None or setting.source != "user" for setting in lengths):
        longer = _lengthened(recipe, measured.factor, dataclasses.asdict(measured))
        recipe = learn(recipe, SECTION, {"epochs": longer}, facts)
        recipe = resolve(recipe, {}, info.splits["train"], facts)
    summary = dataclasses.replace(summary, lengthening=dataclasses.asdict(measured))
    return recipe, summary, 2 * plan.steps * plan.batch_size


def _lengthened(recipe: Recipe, factor: float, measured: dict[str, Any]) -> Setting:
    held = recipe.sections[SECTION]["epochs"]
    curves = ("plain_losses", "policy_losses")
    return Setting(
        held.value * factor,
        f"{held.method}; longer by what the policy costs in steps to the same training loss",
        {
            **held.evidence,
            "epochs_without_policy": held.value,
            "lengthening": {key: value for key, value in measured.items() if key not in curves},
        },
    )
