"""Runs trials in one process, and never one of them twice: what has ended is in a journal."""

import contextlib
import dataclasses
import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_vision.components.shared.artifacts.augmentation_table import SearchPlan
from kfp_vision.components.shared.artifacts.json_files import json_text
from kfp_vision.components.shared.artifacts.search_result import (
    BASELINE,
    ROUNDS,
    Candidate,
    Trial,
)
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.recipe.document import read_recipe
from kfp_vision.components.shared.runtime.identity import training_identity
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.runtime.storage import kept_folder
from kfp_vision.components.trial_search.techniques import Technique

if TYPE_CHECKING:
    from kfp_vision.components.trial_search.trial import TrialRunner

__all__ = ["TrialProcess", "merge_trials"]


def merge_trials(texts: Iterable[str]) -> list[Trial]:
    """Returns the trials of several JSON lists, each once; of two those that have ended."""
    found: dict[tuple[str, Candidate, int], Trial] = {}
    for trial in (Trial.from_json(row) for text in texts for row in json.loads(text)):
        if trial.ended or trial.key not in found:
            found[trial.key] = trial
    return list(found.values())


class TrialProcess:
    """Trials of one search in this process; the framework starts with the first of them."""

    def __init__(
        self,
        dataset_dir: Path,
        recipe_path: Path,
        table_dir: Path,
        plan: SearchPlan,
        techniques: Mapping[str, Technique],
        checkpoint_dir: Path,
        cache: ImageCache | None = None,
    ) -> None:
        """Finds the journal.

        Args:
            dataset_dir: Folder of the dataset.
            recipe_path: The complete recipe.
            table_dir: The `augmentation` artifact.
            plan: Lengths of a trial.
            techniques: By name.
            checkpoint_dir: Outlives a killed task: a trial that is in its journal is not run
                again; one that ran out of memory is not in it.
            cache: Keeps decoded images for other stages and runs; None keeps none.
        """
        self._inputs = dataset_dir, recipe_path, table_dir
        self._plan, self._techniques, self._cache = plan, techniques, cache
        # The table identifies the checkpoint that all trials start from.
        measured = hashlib.sha256((table_dir / "table.json").read_bytes()).hexdigest()
        name = training_identity(dataset_dir, read_recipe(recipe_path), table=measured)
        self._journal = kept_folder(checkpoint_dir / f"trials-{name}", shared=True)
        self._runner: TrialRunner | None = None

    def run(self, trials: Sequence[Trial]) -> list[Trial]:
        """Returns the trials of one round with their results, each on disk once it has ended.

        Raises:
            MemoryError: The trial of the baseline runs out of memory.
        """
        known = {trial.key: trial for trial in self._journalled()}
        missing = [trial for trial in trials if trial.key not in known]
        if missing:
            self._journal.mkdir(parents=True, exist_ok=True)
            # Workers of one round share the folder, each with a file of its own.
            name = hashlib.sha256(json_text(missing).encode()).hexdigest()[:16]
            with (
                (self._journal / f"{name}.jsonl").open("a", encoding="utf-8") as file,
                Progress(f"trials of the {missing[0].round}", len(missing), "trials") as progress,
            ):
                for done, trial in enumerate(missing, start=1):
                    known[trial.key] = result = self._attempt(trial)
                    # Another machine, or this one at another time, may have the memory.
                    if not result.out_of_memory:
                        file.write(json_text(result) + "\n")
                        file.flush()
                    progress.update(done)
        return [known[trial.key] for trial in trials]

    def _journalled(self) -> Iterator[Trial]:
        """Yields the trials that any worker has written, but for a line that a kill cut off."""
        for path in sorted(self._journal.glob("*.jsonl")):
            for line in path.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(json.JSONDecodeError):
                    yield Trial.from_json(json.loads(line))

    def _attempt(self, trial: Trial) -> Trial:
        """Returns a trial with its losses or why there are none; out of memory, it is run twice."""
        # Imported here: a process without work must not start the framework.
        with Progress("start TensorFlow"):
            import tensorflow as tf

        from kfp_vision.components.trial_search.regularisation import read_candidate

        # What a process takes to begin with belongs to its first trial.
        began = time.monotonic()
        try:
            candidate = read_candidate(trial.candidate, self._techniques)
        except ValueError as raised:
            # Techniques for every image can together be more operations than a policy has.
            return dataclasses.replace(trial, error=str(raised))
        runner, error = self._open_runner(), ""
        for _ in range(2):
            try:
                losses = runner.run(candidate, trial.seed, trial.round == ROUNDS[-1])
            except (MemoryError, tf.errors.ResourceExhaustedError) as raised:
                error = f"out of memory: {str(raised)[:200]}"
                runner.spare_memory()
            else:
                reason = "" if losses else "the held-out loss is not finite"
                seconds = time.monotonic() - began
                return dataclasses.replace(trial, losses=losses, error=reason, seconds=seconds)
        if trial.round == ROUNDS[0] and trial.candidate == BASELINE:
            # Nothing can be compared with it; a task that fails is not taken from a cache.
            raise MemoryError(
                "The trial of the baseline must fit into memory. "
                f"Received: {error}. End what else uses the memory, or lower "
                "`trial_workers` or `image_size`; the same command resumes the search."
            )
        seconds = time.monotonic() - began
        return dataclasses.replace(trial, error=error, out_of_memory=True, seconds=seconds)

    def _open_runner(self) -> "TrialRunner":
        if self._runner is None:
            from kfp_vision.components.shared.training.replicas import share_gpus
            from kfp_vision.components.trial_search.trial import TrialRunner

            share_gpus()
            dataset_dir, recipe_path, table_dir = self._inputs
            recipe = read_recipe(recipe_path)
            self._runner = TrialRunner(dataset_dir, recipe, table_dir, self._plan, self._cache)
        return self._runner
