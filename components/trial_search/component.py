"""The KFP components of the search by trials: whole in one task, or rounds on several workers."""

from typing import List  # noqa: UP035 - KFP knows no `list` of artifacts.

from kfp import dsl

from kfp_vision.components.shared.runtime.container_images import component


@component
def search_trials(
    dataset_info: dsl.Input[dsl.Artifact],
    recipe: dsl.Input[dsl.Artifact],
    augmentation: dsl.Input[dsl.Artifact],
    trial_start: dsl.Input[dsl.Artifact],
    search: dsl.Output[dsl.Artifact],
    seed: int,
    checkpoint_uri: str,
    image_cache_gib: float,
) -> None:
    """Runs all trials, decides, and writes the recipe."""
    from pathlib import Path

    from kfp_vision.components.shared.artifacts.artifact_parts import join_parts
    from kfp_vision.components.shared.datasets.image_cache import image_cache
    from kfp_vision.components.shared.report.records import hand_on
    from kfp_vision.components.shared.training.checkpoints import checkpoint_folder
    from kfp_vision.components.trial_search.search import Inputs, search_trials

    cache = image_cache(checkpoint_uri, image_cache_gib)
    with (
        join_parts(dataset_info, trial_start) as data,
        join_parts(augmentation, trial_start) as table,
        checkpoint_folder(checkpoint_uri) as checkpoints,
    ):
        inputs = Inputs(data, Path(recipe.path) / "recipe.json", table, cache)
        result = search_trials(inputs, [], Path(search.path), checkpoints, seed)
    hand_on(search, "search", recipe, augmentation)
    search.metadata["decision"] = result.decision or result.skipped


@component
def propose_first_trials(
    augmentation: dsl.Input[dsl.Artifact],
    proposal: dsl.Output[dsl.Artifact],
    workers: int,
    seed: int,
) -> None:
    """Writes the trials of the first round, a list for each worker."""
    from pathlib import Path

    from kfp_vision.components.trial_search.search import propose_trials

    propose_trials(Path(augmentation.path), [], workers, seed, Path(proposal.path))


@component
def propose_next_trials(
    augmentation: dsl.Input[dsl.Artifact],
    results: dsl.Input[List[dsl.Artifact]],  # noqa: UP006 - as above.
    proposal: dsl.Output[dsl.Artifact],
    workers: int,
    seed: int,
) -> None:
    """Writes the trials so far and those of the next round, a list for each worker."""
    from pathlib import Path

    from kfp_vision.components.trial_search.search import propose_trials

    ended = [Path(each.path) for each in results]
    propose_trials(Path(augmentation.path), ended, workers, seed, Path(proposal.path))


@component
def run_trials(
    dataset_info: dsl.Input[dsl.Artifact],
    recipe: dsl.Input[dsl.Artifact],
    augmentation: dsl.Input[dsl.Artifact],
    trial_start: dsl.Input[dsl.Artifact],
    proposal: dsl.Input[dsl.Artifact],
    results: dsl.Output[dsl.Artifact],
    worker: int,
    checkpoint_uri: str,
    image_cache_gib: float,
) -> None:
    """Runs the trials of one worker in one process."""
    from pathlib import Path

    from kfp_vision.components.shared.artifacts.artifact_parts import join_parts
    from kfp_vision.components.shared.datasets.image_cache import image_cache
    from kfp_vision.components.shared.training.checkpoints import checkpoint_folder
    from kfp_vision.components.trial_search.search import Inputs, run_trials

    cache = image_cache(checkpoint_uri, image_cache_gib)
    with (
        join_parts(dataset_info, trial_start) as data,
        join_parts(augmentation, trial_start) as table,
        checkpoint_folder(checkpoint_uri) as checkpoints,
    ):
        inputs = Inputs(data, Path(recipe.path) / "recipe.json", table, cache)
        run_trials(inputs, Path(proposal.path), worker, Path(results.path), checkpoints)


@component
def decide_trials(
    dataset_info: dsl.Input[dsl.Artifact],
    recipe: dsl.Input[dsl.Artifact],
    augmentation: dsl.Input[dsl.Artifact],
    results: dsl.Input[List[dsl.Artifact]],  # noqa: UP006 - as above.
    search: dsl.Output[dsl.Artifact],
    seed: int,
) -> None:
    """Decides by the trials that the workers have run, and writes the recipe."""
    from pathlib import Path

    from kfp_vision.components.shared.report.records import hand_on
    from kfp_vision.components.trial_search.search import Inputs, search_trials

    data, chosen, table = map(Path, (dataset_info.path, recipe.path, augmentation.path))
    inputs = Inputs(data, chosen / "recipe.json", table)
    ended = [Path(each.path) for each in results]
    # No trial is missing: there is nothing to resume.
    result = search_trials(inputs, ended, Path(search.path), Path(search.path), seed)
    hand_on(search, "search", recipe, augmentation)
    search.metadata["decision"] = result.decision or result.skipped
