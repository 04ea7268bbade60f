"""The KFP component that measures what transforms do to the images."""

from kfp import dsl

from kfp_vision.components.shared.container_images import component


@component
def search_augmentation(
    dataset: dsl.Input[dsl.Dataset],
    recipe: dsl.Input[dsl.Artifact],
    augmentation: dsl.Output[dsl.Artifact],
    search: bool,
    seed: int,
    checkpoint_uri: str,
) -> None:
    """Trains a checkpoint and measures distance, affinity and loss shift of every transform."""
    import tempfile
    from pathlib import Path

    from kfp_vision.components.augmentation_search.search import search_augmentation

    table = search_augmentation(
        Path(dataset.path),
        Path(recipe.path) / "recipe.json",
        Path(augmentation.path),
        Path(checkpoint_uri or tempfile.mkdtemp()),
        search,
        seed,
    )
    augmentation.metadata["groups"] = len(table.groups)
