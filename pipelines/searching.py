"""The part of the DAG that searches the policy: transforms are measured, then tried in rounds."""

from kfp import dsl

from kfp_vision.components.augmentation_search.component import search_augmentation
from kfp_vision.components.shared.artifacts.search_result import ROUNDS
from kfp_vision.components.trial_search.component import propose_trials, run_trials, select_policy

__all__ = ["search_policy"]


def search_policy(
    dataset: dsl.Dataset,
    recipe: dsl.Artifact,
    search: bool,
    workers: int,
    seed: int,
    checkpoint_uri: str,
) -> tuple[dsl.Artifact, dsl.Artifact]:
    """Adds the tasks of the search to the pipeline that calls this.

    A round is proposed from the results of the one before, cut into a slice for each worker, and
    run by one task a slice; without a search the slices are empty.

    Args:
        dataset: Output of the import.
        recipe: Artifact with the recipe that the search starts from.
        search: False keeps the policy of the recipe.
        workers: Slices of a round at most.
        seed: Of the search.
        checkpoint_uri: A folder that outlives the run.

    Returns:
        The artifacts `augmentation` and `search`; the latter holds the recipe to train with.
    """
    augmentation = search_augmentation(
        dataset=dataset, recipe=recipe, search=search, seed=seed, checkpoint_uri=checkpoint_uri
    ).outputs["augmentation"]
    inputs = {"dataset": dataset, "recipe": recipe, "augmentation": augmentation}
    results: list[str] | dsl.Collected = []
    for name in ROUNDS:
        slices = propose_trials(
            **inputs, results=results, round_name=name, workers=workers, seed=seed
        )
        with dsl.ParallelFor(slices.output) as work:
            trials = run_trials(**inputs, work=work, checkpoint_uri=checkpoint_uri)
        results = dsl.Collected(trials.output)
    chosen = select_policy(**inputs, results=results, seed=seed)
    return augmentation, chosen.outputs["search"]
