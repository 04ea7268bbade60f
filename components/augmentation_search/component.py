"""The KFP component that measures what transforms do to the images."""

from kfp import dsl

from kfp_vision.components.shared.runtime.container_images import component


@component
def search_augmentation(
    dataset_info: dsl.Input[dsl.Artifact],
    train: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    recipe: dsl.Input[dsl.Artifact],
    augmentation: dsl.Output[dsl.Artifact],
    trial_start: dsl.Output[dsl.Artifact],
    search: bool,
    seed: int,
    checkpoint_uri: str,
    image_cache_gib: float,
) -> None:
    """Trains a checkpoint and measures distance, affinity and loss shift of every transform."""
    from pathlib import Path

    from kfp_vision.components.augmentation_search.search import search_augmentation
    from kfp_vision.components.shared.artifacts.artifact_parts import join_parts, move_files
    from kfp_vision.components.shared.artifacts.augmentation_table import START
    from kfp_vision.components.shared.datasets.image_cache import image_cache
    from kfp_vision.components.shared.report.records import costs_before, hand_on, plan_before
    from kfp_vision.components.shared.training.checkpoints import checkpoint_folder

    spent = costs_before(recipe)
    with (
        join_parts(dataset_info, train, validation) as dataset_dir,
        checkpoint_folder(checkpoint_uri) as checkpoints,
    ):
        table = search_augmentation(
            dataset_dir,
            Path(recipe.path) / "recipe.json",
            Path(augmentation.path),
            checkpoints,
            search,
            seed,
            image_cache(checkpoint_uri, image_cache_gib),
            plan_before(recipe),
            spent,
        )
    move_files(Path(augmentation.path), trial_start, *START)
    hand_on(augmentation, "augmentation", recipe)
    augmentation.metadata["groups"] = len(table.groups)
