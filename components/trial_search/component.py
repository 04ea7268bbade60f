"""The KFP components of the search by trials: whole in one task, or rounds on several workers."""

from kfp import dsl

from kfp_vision.components.shared.runtime.container_images import component


@component
def search_trials(
    dataset_info: dsl.Input[dsl.Artifact],
    train: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    recipe: dsl.Input[dsl.Artifact],
    augmentation: dsl.Input[dsl.Artifact],
    search: dsl.Output[dsl.Artifact],
    results: list[str],
    seed: int,
    checkpoint_uri: str,
    image_cache_gib: float,
) -> None:
    """Runs the trials that no worker has run, decides, and writes the recipe."""
    from pathlib import Path

    from kfp_vision.components.shared.datasets.dataset_parts import join_dataset
    from kfp_vision.components.shared.datasets.image_cache import image_cache
    from kfp_vision.components.shared.report.records import hand_on
    from kfp_vision.components.shared.training.checkpoints import checkpoint_folder
    from kfp_vision.components.trial_search.search import Inputs, search_trials

    chosen, table = Path(recipe.path), Path(augmentation.path)
    cache = image_cache(checkpoint_uri, image_cache_gib)
    with (
        join_dataset(dataset_info, train, validation) as dataset_dir,
        checkpoint_folder(checkpoint_uri) as checkpoints,
    ):
        inputs = Inputs(dataset_dir, chosen / "recipe.json", table, cache)
        result = search_trials(inputs, results, Path(search.path), checkpoints, seed)
    hand_on(search, "search", recipe, augmentation)
    search.metadata["decision"] = result.decision or result.skipped


@component
def propose_trials(
    augmentation: dsl.Input[dsl.Artifact],
    results: list[str],
    workers: int,
    seed: int,
) -> list[str]:
    """Returns the trials so far and the next ones, a list for each worker."""
    from pathlib import Path

    from kfp_vision.components.trial_search.search import propose_slices

    return propose_slices(Path(augmentation.path), results, workers, seed)


@component
def run_trials(
    dataset_info: dsl.Input[dsl.Artifact],
    train: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    recipe: dsl.Input[dsl.Artifact],
    augmentation: dsl.Input[dsl.Artifact],
    work: str,
    checkpoint_uri: str,
    image_cache_gib: float,
) -> str:
    """Runs the trials of one worker in one process."""
    from pathlib import Path

    from kfp_vision.components.shared.datasets.dataset_parts import join_dataset
    from kfp_vision.components.shared.datasets.image_cache import image_cache
    from kfp_vision.components.shared.training.checkpoints import checkpoint_folder
    from kfp_vision.components.trial_search.search import Inputs, run_slice

    chosen, table = Path(recipe.path), Path(augmentation.path)
    cache = image_cache(checkpoint_uri, image_cache_gib)
    with (
        join_dataset(dataset_info, train, validation) as dataset_dir,
        checkpoint_folder(checkpoint_uri) as checkpoints,
    ):
        inputs = Inputs(dataset_dir, chosen / "recipe.json", table, cache)
        return run_slice(inputs, work, checkpoints)


@component
def no_trials() -> list[str]:
    """Returns no results: with one worker `search_trials` runs everything."""
    return []
