"""Runs a slice of the trials of a round in one process, and never one of them twice."""

import contextlib
import dataclasses
import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_vision.components.shared.artifacts.augmentation_table import AugmentationTable
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import json_text, read_json
from kfp_vision.components.shared.artifacts.search_result import ROUNDS
from kfp_vision.components.shared.recipe.document import read_recipe
from kfp_vision.components.shared.runtime.disk import explains_full_disk
from kfp_vision.components.shared.runtime.identity import training_identity
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.search.plan import SearchPlan, plan_search
from kfp_vision.components.trial_search.beam import PLAIN, Trial
from kfp_vision.components.trial_search.techniques import Technique, read_techniques

if TYPE_CHECKING:
    from kfp_vision.components.trial_search.trial import TrialRunner

__all__ = ["run_trials"]


@explains_full_disk("checkpoint_dir")
def run_trials(
    work: str, dataset_dir: Path, recipe_path: Path, table_dir: Path, checkpoint_dir: Path
) -> str:
    """Returns the trials before this slice and those of it, as a JSON list.

    Args:
        work: A slice of `propose_trials`.
        dataset_dir: The `dataset` artifact.
        recipe_path: The complete recipe.
        table_dir: What the stage augmentation_search wrote.
        checkpoint_dir: Outlives a killed task: a trial that is in its journal is not run again; one
            that ran out of memory is not in it.

    Raises:
        MemoryError: The trial of the plain training runs out of memory.
    """
    slice_ = json.loads(work)
    wanted = [Trial.from_json(row) for row in slice_["trials"]]
    finished: list[Trial] = []
    if wanted:
        table = read_json(AugmentationTable, table_dir / "table.json")
        info = read_json(DatasetInfo, dataset_dir / "dataset.json")
        recipe = read_recipe(recipe_path)
        plan = plan_search(recipe, info)
        # The table identifies the checkpoint that all trials start from.
        measured = hashlib.sha256((table_dir / "table.json").read_bytes()).hexdigest()
        name = training_identity(dataset_dir, recipe, table=measured)
        journal = checkpoint_dir / f"trials-{name}"
        known = {trial.key: trial for trial in _read_journal(journal)}
        missing = [trial for trial in wanted if trial.key not in known]
        techniques = read_techniques(table.groups, table.regularisers)
        for trial in _run(missing, techniques, plan, dataset_dir, recipe_path, table_dir, journal):
            known[trial.key] = trial
        finished = [known[trial.key] for trial in wanted]
    return json_text(slice_["done"] + [trial.to_json() for trial in finished])


def _read_journal(folder: Path) -> Iterable[Trial]:
    """Yields the trials that any worker has written, but for a line that a kill cut off."""
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                yield Trial.from_json(json.loads(line))


def _run(
    trials: Sequence[Trial],
    techniques: Sequence[Technique],
    plan: SearchPlan,
    dataset_dir: Path,
    recipe_path: Path,
    table_dir: Path,
    journal: Path,
) -> Iterable[Trial]:
    """Yields each trial with its result, once that is on disk.

    A trial that runs out of memory says nothing of its candidate, and is not put there.
    """
    if not trials:
        return
    # Imported here: a slice without work must not start the framework.
    from kfp_vision.components.shared.training.replicas import share_gpus
    from kfp_vision.components.trial_search.trial import TrialRunner

    share_gpus()
    # What a process takes to begin with belongs to its first trial.
    began = time.monotonic()
    runner = TrialRunner(dataset_dir, read_recipe(recipe_path), table_dir, plan)
    journal.mkdir(parents=True, exist_ok=True)
    # Workers of one round share the folder, each with a file of its own.
    name = hashlib.sha256(json.dumps([trial.to_json() for trial in trials]).encode()).hexdigest()
    progress = Progress(f"trials of the {trials[0].round}", len(trials), "trials")
    with (journal / f"{name[:16]}.jsonl").open("a", encoding="utf-8") as file:
        for done, trial in enumerate(trials, start=1):
            result = _attempt(trial, techniques, runner)
            result = dataclasses.replace(result, seconds=time.monotonic() - began)
            began = time.monotonic()
            if result.out_of_memory and trial.round == ROUNDS[0] and trial.candidate == PLAIN:
                # Nothing can be compared with it; a task that fails is not taken from a cache.
                raise MemoryError(
                    "The trial without any technique must fit into memory. "
                    f"Received: {result.error}. End what else uses the memory, or lower "
                    "`trial_workers` or `image_size`; the same command goes on from here."
                )
            # Another machine, or this one at another time, may have the memory.
            if not result.out_of_memory:
                file.write(json_text(result.to_json()) + "\n")
                file.flush()
            progress.update(done)
            yield result


def _attempt(trial: Trial, techniques: Sequence[Technique], runner: "TrialRunner") -> Trial:
    """Returns a trial with its losses or why there are none; out of memory, it is tried twice."""
    import tensorflow as tf

    from kfp_vision.components.trial_search.regularisation import read_candidate

    try:
        candidate = read_candidate(trial.candidate, techniques)
    except ValueError as raised:
        # Techniques for every image can together be more operations than a policy has.
        return dataclasses.replace(trial, error=str(raised))
    error = ""
    for _ in range(2):
        try:
            losses = runner.run(candidate, trial.seed, trial.round == ROUNDS[-1])
        except (MemoryError, tf.errors.ResourceExhaustedError) as raised:
            error = f"out of memory: {str(raised)[:200]}"
            runner.spare_memory()
        else:
            reason = "" if losses else "the held-out loss is not finite"
            return dataclasses.replace(trial, losses=losses, error=reason)
    return dataclasses.replace(trial, error=error, out_of_memory=True)
