"""The part of the DAG that searches the policy: transforms are measured, then tried."""

from collections.abc import Mapping
from typing import Any

from kfp import dsl

from kfp_vision.components.augmentation_search.component import search_augmentation
from kfp_vision.components.shared.artifacts.search_result import ROUNDS
from kfp_vision.components.trial_search.component import (
    no_trials,
    propose_trials,
    run_trials,
    search_trials,
)

__all__ = ["search_policy"]


def search_policy(
    dataset: Mapping[str, Any],
    recipe: dsl.Artifact,
    search: bool,
    workers: int,
    seed: int,
    checkpoint_uri: str,
    image_cache_gib: float,
) -> tuple[dsl.Artifact, dsl.Artifact]:
    """Adds the tasks of the search to the pipeline that calls this.

    With one worker the whole search by trials is the task `search-trials`. With several, each
    round is proposed from the results of the one before, cut into a list for each worker and run
    by one task a list; `search-trials` then has nothing left to run and decides.

    Args:
        dataset: Artifacts of the import.
        recipe: Artifact with the recipe that the search starts from.
        search: False keeps the policy of the recipe.
        workers: Tasks that share the trials of a round.
        seed: Seed of the search.
        checkpoint_uri: A folder that outlives the run.
        image_cache_gib: Bound of the decoded images that are kept there.

    Returns:
        The artifacts `augmentation` and `search`; the latter holds the recipe to train with.
    """
    kept = {"checkpoint_uri": checkpoint_uri, "image_cache_gib": image_cache_gib}
    images = {name: dataset[name] for name in ("dataset_info", "train", "validation")}
    augmentation = search_augmentation(
        **images, recipe=recipe, search=search, seed=seed, **kept
    ).outputs["augmentation"]
    inputs = {**images, "recipe": recipe, "augmentation": augmentation}
    with dsl.If(workers > 1):
        lists = propose_trials(augmentation=augmentation, results=[], workers=workers, seed=seed)
        for _ in ROUNDS:
            with dsl.ParallelFor(lists.output) as work:
                trials = run_trials(**inputs, work=work, **kept)
            results = dsl.Collected(trials.output)
            lists = propose_trials(
                augmentation=augmentation, results=results, workers=workers, seed=seed
            )
    with dsl.Else():
        nothing = no_trials()
    chosen = search_trials(
        **inputs,
        results=dsl.OneOf(lists.output, nothing.output),
        seed=seed,
        **kept,
    )
    return augmentation, chosen.outputs["search"]
