"""Finds the policy: a beam over groups of techniques, accepted only where it beats the noise."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from kfp_vision.components.shared.artifacts import (
    COST_FILE,
    AugmentationTable,
    DatasetInfo,
    StageCost,
    TrialSummary,
    read_json,
    write_json,
)
from kfp_vision.components.shared.augmentation.policy import IDENTITY
from kfp_vision.components.shared.progress import Progress
from kfp_vision.components.shared.recipe import Recipe, Setting, read_recipe, write_recipe
from kfp_vision.components.shared.training.checkpoints import read_checkpoint
from kfp_vision.components.shared.training.hyperparameters import SECTION
from kfp_vision.components.shared.training.setup import (
    UserChoices,
    build_trainer,
    complete_recipe,
    open_split,
)
from kfp_vision.components.trial_search.beam import Scored, accept, expand, select
from kfp_vision.components.trial_search.techniques import (
    Technique,
    read_techniques,
    regularisation,
)
from kfp_vision.components.trial_search.trial import TrialRunner

__all__ = ["search_trials"]

_TRIAL_SHARE = 0.03
_MIN_TRIAL_STEPS = 16
_BEAM_WIDTH = 2
_BASELINES = 3
# Share of a plain training that all trials together may see.
_BUDGET = 0.5


def search_trials(
    dataset_dir: Path,
    recipe_path: Path,
    table_dir: Path,
    output_dir: Path,
    checkpoint_dir: Path,
    choices: UserChoices,
) -> TrialSummary:
    """Writes `search.json`, `recipe.json` (section `augmentation`) and `cost.json`.

    Args:
        dataset_dir: The `dataset` artifact.
        recipe_path: The recipe so far.
        table_dir: What the stage augmentation_search wrote.
        output_dir: Is created.
        checkpoint_dir: Outlives a killed task: trials that are in its journal are not repeated.
        choices: The user's wishes.
    """
    started = time.monotonic()
    output_dir.mkdir(parents=True, exist_ok=True)
    table = read_json(AugmentationTable, table_dir / "table.json")
    recipe, summary, seen = read_recipe(recipe_path), TrialSummary(skipped=table.skipped), 0
    if not table.skipped:
        info = read_json(DatasetInfo, dataset_dir / "dataset.json")
        complete = complete_recipe(recipe, info, choices)
        trainer, task, settings = build_trainer(
            complete, info, choices.seed, IDENTITY, ema_momentum=0.0
        )
        theta = read_checkpoint(table_dir / "theta.npz")
        if theta is None:
            raise FileNotFoundError(f"The checkpoint must exist. Received: {table_dir}/theta.npz")
        runner = TrialRunner(
            trainer=trainer,
            task=task,
            start=theta[0],
            train=open_split(dataset_dir, "train", complete),
            validation=open_split(dataset_dir, "validation", complete),
            steps=max(_MIN_TRIAL_STEPS, round(_TRIAL_SHARE * settings.steps)),
            learning_rate=settings.learning_rate,
            batch_size=settings.batch_size,
        )
        techniques = read_techniques(table.groups, settings.label_smoothing)
        plain_images = settings.steps * settings.batch_size
        affordable = int(_BUDGET * plain_images / runner.images_per_trial)
        journal = _Journal(runner, techniques, settings.label_smoothing, checkpoint_dir, affordable)
        summary, best = _search(journal, techniques, choices.seed)
        seen = len(journal.rows) * runner.images_per_trial
        recipe = _learned(recipe, summary, best, techniques, settings.label_smoothing)
    write_recipe(recipe, output_dir / "recipe.json")
    write_json(summary, output_dir / "search.json")
    write_json(StageCost("search_trials", time.monotonic() - started, seen), output_dir / COST_FILE)
    return summary


class _Journal:
    """Runs trials, remembers them, and finds those of a killed attempt on disk."""

    def __init__(
        self,
        runner: TrialRunner,
        techniques: list[Technique],
        label_smoothing: float,
        folder: Path,
        affordable: int,
    ) -> None:
        self._runner, self._techniques = runner, techniques
        self._label_smoothing = label_smoothing
        self._path = folder / "trials.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        self._done = {self._key(row["state"], row["seed"]): row for row in _whole_rows(lines)}
        self.rows: list[dict[str, Any]] = []
        self.affordable = affordable
        self._progress = Progress("trials", affordable, "trials")

    @staticmethod
    def _key(state: dict[str, int], seed: int) -> str:
        return json.dumps([sorted(state.items()), seed])

    def run(self, state: dict[str, int], seed: int, round_name: str) -> float | None:
        """Returns the loss of a state; None when its trial failed."""
        row = self._done.get(self._key(state, seed))
        if row is None:
            began, error = time.monotonic(), ""
            policy, smoothing = regularisation(state, self._techniques, self._label_smoothing)
            loss = self._runner.run(policy, smoothing, seed)
            if loss is None:
                error = "the loss was not finite"
            row = {
                "round": round_name,
                "state": state,
                "seed": seed,
                "loss": loss,
                "seconds": time.monotonic() - began,
                "error": error,
            }
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        self.rows.append(row)
        self._progress.update(min(len(self.rows), self.affordable))
        return row["loss"]


def _whole_rows(lines: list[str]) -> list[dict[str, Any]]:
    rows = []
    for line in lines:
        # A kill may have cut the last line.
        if line.endswith("}"):
            rows.append(json.loads(line))
    return rows


def _search(
    journal: _Journal, techniques: list[Technique], seed: int
) -> tuple[TrialSummary, dict[str, int]]:
    """Returns the evidence, and the state that was accepted ({} for no change)."""
    seeds = [seed + offset for offset in range(_BASELINES)]
    baselines = [journal.run({}, each, "baseline") for each in seeds]
    finite = [loss for loss in baselines if loss is not None]
    if len(finite) < _BASELINES:
        raise ValueError(
            "The trials without any technique must stay finite. "
            f"Received: {len(finite)} of {_BASELINES} did."
        )
    beam = [Scored({}, finite[0])]
    for technique in techniques:
        trials = []
        for state in expand(beam, technique.name, len(technique.levels)):
            if len(journal.rows) + _BASELINES - 1 >= journal.affordable:
                break
            trials.append(Scored(state, journal.run(state, seed, technique.name)))
        beam = select(beam, trials, _BEAM_WIDTH)
    best = beam[0]
    confirmed = [journal.run(best.state, each, "confirmation") for each in seeds]
    gains = np.array(
        [
            base - (np.inf if loss is None else loss)
            for base, loss in zip(finite, confirmed, strict=True)
        ]
    )
    accepted, noise = accept(float(finite[0] - gains.mean()), [finite[0], *finite[1:]])
    error = float(gains.std(ddof=1) / np.sqrt(len(gains))) if np.isfinite(gains).all() else np.inf
    accepted = bool(best.state) and bool(gains.mean() > 2 * max(error, 0.0)) and accepted
    decision = (
        f"The best of {len(journal.rows)} trials lowers the validation loss by {gains.mean():.4f} "
        f"nats over {len(gains)} seeds (standard error {error:.4f}; the baselines scatter by "
        f"{noise:.4f}): "
        + ("it is used." if accepted else "not above the noise, so nothing changes.")
        if best.state
        else f"None of {len(journal.rows)} trials was better than no augmentation."
    )
    state = best.state if accepted else {}
    return (
        TrialSummary(
            trials=journal.rows,
            baselines=finite,
            steps=_path(journal, best.state, seed),
            decision=decision,
        ),
        state,
    )


def _path(journal: _Journal, state: dict[str, int], seed: int) -> list[dict[str, Any]]:
    """Returns the gain of each group of a state over the state before it."""
    known = {
        json.dumps(row["state"], sort_keys=True): row["loss"]
        for row in journal.rows
        if row["seed"] == seed
    }
    steps: list[dict[str, Any]] = []
    partial: dict[str, int] = {}
    before = known.get("{}")
    for name, level in state.items():
        partial = {**partial, name: level}
        loss = known.get(json.dumps(partial, sort_keys=True))
        gain = None if loss is None or before is None else before - loss
        steps.append({"group": name, "level": level, "gain": gain})
        before = loss
    return steps


def _learned(
    recipe: Recipe,
    summary: TrialSummary,
    state: dict[str, int],
    techniques: list[Technique],
    label_smoothing: float,
) -> Recipe:
    policy, smoothing = regularisation(state, techniques, label_smoothing)
    evidence = {
        "decision": summary.decision,
        "steps": summary.steps,
        "baselines": summary.baselines,
        "trials": len(summary.trials),
    }
    method = "beam over short trials from a common checkpoint, by validation loss"
    value = policy.to_json() if policy != IDENTITY else None
    recipe = recipe.with_settings("augmentation", {"policy": Setting(value, method, evidence)})
    if smoothing == label_smoothing:
        return recipe
    return recipe.with_settings(SECTION, {"label_smoothing": Setting(smoothing, method, evidence)})
