"""The KFP component of the whole search, for one worker."""

from kfp import dsl

from kfp_vision.components.shared.runtime.container_images import component


@component
def search_policy(
    dataset_info: dsl.Input[dsl.Artifact],
    train: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    recipe: dsl.Input[dsl.Artifact],
    augmentation: dsl.Output[dsl.Artifact],
    search: dsl.Output[dsl.Artifact],
    search_augmentation: bool,
    seed: int,
    checkpoint_uri: str,
    image_cache_gib: float,
) -> None:
    """Measures the transforms, runs all trials, decides, and writes the recipe.

    Two stages in one task: what trials start from does not leave it, and the framework starts once.
    """
    import gc
    import tempfile
    from pathlib import Path

    from kfp import dsl

    from kfp_vision.components.augmentation_search import component as measuring
    from kfp_vision.components.trial_search import component as trying

    folder = Path(augmentation.path).parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".trial-start-") as start:
        trial_start = dsl.Artifact(uri=start)
        measuring.search_augmentation.python_func(
            dataset_info=dataset_info,
            train=train,
            validation=validation,
            recipe=recipe,
            augmentation=augmentation,
            trial_start=trial_start,
            search=search_augmentation,
            seed=seed,
            checkpoint_uri=checkpoint_uri,
            image_cache_gib=image_cache_gib,
        )
        # The network that was measured goes before those of the trials come.
        gc.collect()
        trying.search_trials.python_func(
            dataset_info=dataset_info,
            recipe=recipe,
            augmentation=augmentation,
            trial_start=trial_start,
            search=search,
            seed=seed,
            checkpoint_uri=checkpoint_uri,
            image_cache_gib=image_cache_gib,
        )
