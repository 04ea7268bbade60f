"""The stage: trials round by round in one process, or parts of a round for several.

Trials travel in `trials.json`: of a proposal a list for each worker, of results one list. As
parameters they would be arguments of a process, which end at 128 KiB.
"""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path

from kfp_vision.components.shared.artifacts.augmentation_table import AugmentationTable, SearchPlan
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.json_files import json_text, read_json, write_json
from kfp_vision.components.shared.artifacts.search_result import ROUNDS, SearchResult, Trial
from kfp_vision.components.shared.datasets.image_cache import ImageCache
from kfp_vision.components.shared.recipe.document import read_recipe, write_recipe
from kfp_vision.components.shared.report.records import write_stage_report
from kfp_vision.components.shared.runtime.disk import explains_full_disk
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.trial_search.proposing import SearchSpace, next_trials, read_space
from kfp_vision.components.trial_search.recording import record_policy, summarise
from kfp_vision.components.trial_search.running import TrialProcess, merge_trials
from kfp_vision.components.trial_search.stage_report import read_examples, search_report

__all__ = [
    "Inputs",
    "propose_slices",
    "propose_trials",
    "read_search",
    "run_slice",
    "run_trials",
    "search_trials",
]

_TRIALS_FILE = "trials.json"


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What a search reads.

    Attributes:
        dataset: Folder of the dataset; the images that trials look at are enough.
        recipe: The complete recipe.
        table: Folder of `augmentation` and of what trials start from.
        cache: Keeps decoded images for other stages and runs; None keeps none.
    """

    dataset: Path
    recipe: Path
    table: Path
    cache: ImageCache | None = None

    def process(self, checkpoint_dir: Path, plan: SearchPlan, space: SearchSpace) -> TrialProcess:
        """Returns what runs trials in this process."""
        paths = self.dataset, self.recipe, self.table
        return TrialProcess(*paths, plan, space.techniques, checkpoint_dir, self.cache)


def read_search(table: AugmentationTable) -> tuple[SearchPlan, SearchSpace] | None:
    """Returns plan and search space; None where there is no search."""
    return None if table.skipped or table.plan is None else (table.plan, read_space(table))


@explains_full_disk("output_dir", "checkpoint_dir")
@Progress("search by trials")
def search_trials(
    inputs: Inputs, results: Sequence[Path], output_dir: Path, checkpoint_dir: Path, seed: int
) -> SearchResult:
    """Runs all trials that are missing and decides; one process is a whole search.

    Where none is missing, no image is read.

    Writes `search.json`, `recipe.json` and `cost.json` (of all trials).

    Args:
        inputs: Paths that are read.
        results: Folders of what workers have written in the last round; empty with one worker.
        output_dir: Is created.
        checkpoint_dir: Outlives a killed task; holds the journal of the trials.
        seed: Seed of the search.

    Raises:
        ValueError: Not even the baseline could be trained.
        MemoryError: The trial of the baseline runs out of memory.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    started_from = read_recipe(inputs.recipe)
    table = read_json(AugmentationTable, inputs.table / "table.json")
    search = read_search(table)
    recipe, trials, seconds, seen = started_from, _read_trials(results), 0.0, 0
    began = time.monotonic()
    if search is None:
        result = SearchResult(skipped=table.skipped)
    else:
        plan, space = search
        process = None
        while missing := next_trials(trials, space, plan, seed):
            process = process or inputs.process(checkpoint_dir, plan, space)
            trials += process.run(missing)
        result = summarise(trials, plan, space.techniques)
        recipe = record_policy(inputs.dataset, started_from, result, space.techniques)
        confirmed = sum(trial.round == ROUNDS[-1] for trial in trials)
        seen = plan.images_of(len(trials) - confirmed, confirmed)
        seconds = sum(trial.seconds for trial in trials)
    write_recipe(recipe, output_dir / "recipe.json")
    write_json(result, output_dir / "search.json")
    examples, primary = read_examples(inputs.table), recipe.value("data", "primary_metric")
    report = search_report(
        result, table, examples, started_from, recipe, primary, table.images_seen + seen
    )
    write_stage_report(report, output_dir)
    # A resumed search did not run all trials itself.
    seconds = max(seconds, time.monotonic() - began)
    write_json(StageCost("search_trials", seconds, seen), output_dir / COST_FILE)
    return result


def _read_trials(folders: Sequence[Path]) -> list[Trial]:
    return merge_trials((each / _TRIALS_FILE).read_text(encoding="utf-8") for each in folders)


@explains_full_disk("output_dir")
def propose_trials(
    table_dir: Path, results: Sequence[Path], workers: int, seed: int, output_dir: Path
) -> None:
    """Writes the trials so far and the next ones, a list for each worker.

    Args:
        table_dir: The `augmentation` artifact, which holds the plan.
        results: Folders of what the workers of the round before wrote; empty before the first.
        workers: Number of lists; those without a trial are empty.
        seed: Seed of the search.
        output_dir: Is created.
    """
    texts = [(each / _TRIALS_FILE).read_text(encoding="utf-8") for each in results]
    slices = propose_slices(table_dir, texts, workers, seed)
    lists = [json.loads(each) for each in slices] + [[]] * (workers - len(slices))
    output_dir.mkdir(parents=True, exist_ok=True)
    (output_dir / _TRIALS_FILE).write_text(json_text(lists), encoding="utf-8")


@explains_full_disk("output_dir", "checkpoint_dir")
@Progress("search by trials")
def run_trials(
    inputs: Inputs, proposal: Path, worker: int, output_dir: Path, checkpoint_dir: Path
) -> None:
    """Runs the trials of one worker and writes them with their results.

    Args:
        inputs: Paths that are read.
        proposal: Folder of `propose_trials`.
        worker: Which of its lists.
        output_dir: Is created.
        checkpoint_dir: Outlives a killed task; holds the journal of the trials.
    """
    lists = json.loads((proposal / _TRIALS_FILE).read_text(encoding="utf-8"))
    ended = run_slice(inputs, json_text(lists[worker]), checkpoint_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    (output_dir / _TRIALS_FILE).write_text(ended, encoding="utf-8")


def propose_slices(table_dir: Path, results: Sequence[str], workers: int, seed: int) -> list[str]:
    """Returns the trials so far and the next ones as JSON lists, one for each worker.

    There is always at least one list. Nothing here trains: it starts no framework.

    Args:
        table_dir: The `augmentation` artifact, which holds the plan.
        results: What the workers of the round before returned; empty before the first.
        workers: Lists at most.
        seed: Seed of the search.
    """
    search = read_search(read_json(AugmentationTable, table_dir / "table.json"))
    trials = merge_trials(results)
    missing = [] if search is None else next_trials(trials, search[1], search[0], seed)
    # What is compiled anew lies together, so that few workers have to.
    count = max(1, min(workers, len(missing)))
    bounds = [round(index * len(missing) / count) for index in range(count + 1)]
    parts = [missing[start:end] for start, end in zip(bounds[:-1], bounds[1:], strict=True)]
    # Once is enough: the lists of all workers are merged.
    return [json_text([*([] if number else trials), *each]) for number, each in enumerate(parts)]


def run_slice(inputs: Inputs, work: str, checkpoint_dir: Path) -> str:
    """Returns the trials of `work` as JSON, those that had not ended with their results.

    Args:
        inputs: Paths that are read.
        work: A list of `propose_slices`.
        checkpoint_dir: Outlives a killed task; holds the journal of the trials.
    """
    search = read_search(read_json(AugmentationTable, inputs.table / "table.json"))
    trials = merge_trials([work])
    missing = [trial for trial in trials if not trial.ended]
    if search is None or not missing:
        return work
    ended: list[Trial] = [trial for trial in trials if trial.ended]
    return json_text(ended + inputs.process(checkpoint_dir, *search).run(missing))
