"""Between two rounds: reads the trials so far and cuts the next ones into slices for the workers.

Nothing here trains, so that a round costs no start of a framework.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from kfp_vision.components.shared.artifacts.augmentation_table import AugmentationTable
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.recipe.document import read_recipe
from kfp_vision.components.shared.search.plan import plan_search
from kfp_vision.components.trial_search.beam import Trial, propose
from kfp_vision.components.trial_search.techniques import PUBLISHED, read_techniques

__all__ = ["merge_results", "propose_trials"]


def propose_trials(
    round_name: str,
    dataset_dir: Path,
    recipe_path: Path,
    table_dir: Path,
    results: Sequence[str],
    workers: int,
    seed: int,
) -> list[str]:
    """Returns one slice for each worker, as JSON: `{"done": [trial], "trials": [trial]}`.

    There is always at least one slice, and it may be empty.

    Args:
        round_name: One of `ROUNDS`.
        dataset_dir: The `dataset` artifact.
        recipe_path: The complete recipe.
        table_dir: What the stage augmentation_search wrote.
        results: What the workers of the round before returned; empty before the first.
        workers: Slices at most.
        seed: Of the search.
    """
    table = read_json(AugmentationTable, table_dir / "table.json")
    done = merge_results(results)
    trials: list[Trial] = []
    if not table.skipped:
        info = read_json(DatasetInfo, dataset_dir / "dataset.json")
        plan = plan_search(read_recipe(recipe_path), info)
        techniques = [
            each
            for each in read_techniques(table.groups, table.regularisers)
            # The table of a brief search has only what is customary for every image.
            if each.always or not plan.is_brief
        ]
        trials = propose(
            round_name,
            done,
            {each.name: len(each.levels) for each in techniques},
            PUBLISHED,
            {each.name: each.needs for each in techniques if each.needs},
            _suspicion(table),
            plan.num_screened,
            plan.num_combined,
            plan.num_confirmed,
            seed,
        )
    # What is compiled anew lies together, so that few workers have to.
    count = max(1, min(workers, len(trials)))
    bounds = [round(index * len(trials) / count) for index in range(count + 1)]
    return [
        json.dumps(
            {
                # Once is enough: the results of all slices are merged.
                "done": [trial.to_json() for trial in done if not start],
                "trials": [trial.to_json() for trial in trials[start:end]],
            }
        )
        for start, end in zip(bounds[:-1], bounds[1:], strict=True)
    ]


def merge_results(results: Sequence[str]) -> list[Trial]:
    """Returns all trials that the workers of a round know of, each once."""
    trials = (Trial.from_json(row) for result in results for row in json.loads(result))
    return list({trial.key: trial for trial in trials}.values())


def _suspicion(table: AugmentationTable) -> dict[str, dict[str, float]]:
    """Returns group -> transform -> loss shift near the strongest magnitude that it uses."""
    found: dict[str, dict[str, float]] = {}
    for group in table.groups:
        held = found.setdefault(group["name"], {})
        for operation in (each for level in group["levels"] for each in level):
            rows = [row for row in table.signals if row["transform"] == operation["transform"]]
            nearest = min(rows, key=lambda row: abs(row["magnitude"] - operation["high"]))
            held[operation["transform"]] = nearest["loss_shift"]
    return found
