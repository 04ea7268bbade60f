"""The KFP component of the batch-size probe."""

from kfp import dsl

from kfp_vision.components.shared.runtime.container_images import component


@component
def probe_batch_size(
    dataset_info: dsl.Input[dsl.Artifact],
    train: dsl.Input[dsl.Dataset],
    recipe: dsl.Input[dsl.Artifact],
    probe: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    learn_batch_size: bool,
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
    """Measures throughput, gradient noise and learning rate, and writes them into the recipe.

    `architecture_version` is not read: it is KFP's cache key, so that a changed model file counts.
    """
    from pathlib import Path

    from kfp_vision.components.shared.artifacts.artifact_parts import join_parts
    from kfp_vision.components.shared.datasets.image_cache import image_cache
    from kfp_vision.components.shared.report.page import write_stage_page
    from kfp_vision.components.shared.report.records import costs_before, hand_on
    from kfp_vision.components.shared.runtime.logged_metrics import log_metrics
    from kfp_vision.components.shared.runtime.progress import Progress

    with Progress("start TensorFlow"):
        from kfp_vision.components.batch_size_probe.probe import ProbeConfig, probe_batch_size

    config = ProbeConfig(
        learn=learn_batch_size,
        architecture=architecture,
        image_size=image_size,
        batch_size=batch_size,
        learning_rate=learning_rate,
        epochs=epochs,
        optimizer=optimizer,
        seed=seed,
    )
    spent = costs_before(recipe)
    with join_parts(dataset_info, train) as dataset_dir:
        result = probe_batch_size(
            dataset_dir,
            Path(recipe.path) / "recipe.json",
            Path(probe.path),
            config,
            image_cache(checkpoint_uri, image_cache_gib),
            spent,
        )
    hand_on(probe, "probe", recipe)
    write_stage_page(Path(probe.path), Path(page.path))
    values: dict[str, float | None] = {"seconds": result.seconds}
    if result.noise_scale:
        values["gradient_noise_scale"] = result.noise_scale.value
    log_metrics(metrics, values)
