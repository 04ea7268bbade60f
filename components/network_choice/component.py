"""The KFP component of the choice of the network."""

from kfp import dsl

from kfp_vision.components.shared.runtime.container_images import component


@component
def choose_network(
    dataset_info: dsl.Input[dsl.Artifact],
    train: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    recipe: dsl.Input[dsl.Artifact],
    choice: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    architecture: str,
    image_size: int,
    batch_size: int,
    learning_rate: float,
    epochs: int,
    optimizer: str,
    seed: int,
    checkpoint_uri: str,
    image_cache_gib: float,
    architecture_version: str = "",
) -> None:
    """Compares networks, from scratch and pretrained, and writes the best into the recipe.

    `architecture_version` is not read: it is KFP's cache key, so that a changed model file counts.
    """
    from pathlib import Path

    from kfp_vision.components.network_choice.choose import choose_network
    from kfp_vision.components.shared.artifacts.artifact_parts import join_parts
    from kfp_vision.components.shared.datasets.image_cache import image_cache
    from kfp_vision.components.shared.recipe.user_choices import UserChoices
    from kfp_vision.components.shared.report.page import write_stage_page
    from kfp_vision.components.shared.report.records import costs_before, hand_on
    from kfp_vision.components.shared.runtime.logged_metrics import log_metrics
    from kfp_vision.components.shared.training.checkpoints import checkpoint_folder

    spent = costs_before(recipe)
    config = UserChoices(
        architecture=architecture,
        image_size=image_size,
        batch_size=batch_size,
        learning_rate=learning_rate,
        epochs=epochs,
        optimizer=optimizer,
        seed=seed,
    )
    with (
        join_parts(dataset_info, train, validation) as dataset_dir,
        checkpoint_folder(checkpoint_uri) as checkpoints,
    ):
        result = choose_network(
            dataset_dir,
            Path(recipe.path) / "recipe.json",
            Path(choice.path),
            checkpoints,
            config,
            image_cache(checkpoint_uri, image_cache_gib),
            spent,
        )
    hand_on(choice, "choice", recipe)
    write_stage_page(Path(choice.path), Path(page.path))
    for candidate in result.candidates:
        if candidate.chosen:
            log_metrics(metrics, {"projected_loss": candidate.projected})
    log_metrics(metrics, {"seconds": result.seconds})
