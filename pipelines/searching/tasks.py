"""The part of the DAG that searches the policy: transforms are measured, then tried."""

from collections.abc import Callable, Mapping
from typing import Any

from kfp import dsl

from kfp_vision.components.augmentation_search.component import search_augmentation
from kfp_vision.components.shared.artifacts.search_result import ROUNDS
from kfp_vision.components.trial_search.component import (
    decide_trials,
    propose_first_trials,
    propose_next_trials,
    run_trials,
)
from kfp_vision.pipelines.searching.component import search_policy

__all__ = ["add_search"]


def add_search(
    add: Callable[..., Any], recipe: dsl.Artifact, search: bool, workers: int
) -> dsl.Artifact:
    """Adds the tasks of the search to the pipeline that calls this.

    With one worker the whole search is the task `search-policy`. With several,
    `search-augmentation` measures; each round is proposed from the results of the one before, cut
    into a list for each worker and run by one task a list; `decide-trials` then decides.

    Args:
        add: Adds a task, with the arguments and the parts of the dataset that it names.
        recipe: Artifact with the recipe that the search starts from.
        search: False keeps the policy of the recipe.
        workers: Tasks that share the trials of a round. Known when the pipeline is compiled: the
            loops run over numbers, for one over an empty list would fail what collects it.

    Returns:
        The artifact `search`, which holds the recipe to train with.
    """
    if workers == 1:
        return add(search_policy, recipe=recipe).outputs["search"]
    found: Mapping[str, Any] = add(search_augmentation, recipe=recipe, search=search).outputs
    table = found["augmentation"]
    inputs = {"recipe": recipe, "augmentation": table, "trial_start": found["trial_start"]}
    proposal = add(propose_first_trials, augmentation=table, workers=workers).output
    for name in ROUNDS:
        with dsl.ParallelFor([*range(workers)], name=name) as worker:
            trials = add(run_trials, **inputs, proposal=proposal, worker=worker)
        results = dsl.Collected(trials.outputs["results"])
        if name != ROUNDS[-1]:
            proposal = add(
                propose_next_trials, augmentation=table, results=results, workers=workers
            ).output
    return add(decide_trials, recipe=recipe, augmentation=table, results=results).outputs["search"]
