"""The KFP component of the stage of the teachers."""

from kfp import dsl

from kfp_vision.components.shared.runtime.container_images import component


@component
def train_teachers(
    dataset_info: dsl.Input[dsl.Artifact],
    train: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    trained: dsl.Input[dsl.Model],
    model: dsl.Output[dsl.Model],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    checkpoint_uri: str,
    image_cache_gib: float,
    seed: int,
) -> None:
    """Trains networks beside the model, and makes one teacher of them where it is better."""
    from pathlib import Path

    from kfp_vision.components.shared.artifacts.artifact_parts import join_parts
    from kfp_vision.components.shared.datasets.image_cache import image_cache
    from kfp_vision.components.shared.report.page import write_stage_page
    from kfp_vision.components.shared.report.records import costs_before, hand_on, plan_before
    from kfp_vision.components.shared.runtime.logged_metrics import log_metrics
    from kfp_vision.components.shared.training.checkpoints import checkpoint_folder
    from kfp_vision.components.teachers.train_teachers import train_teachers

    spent = costs_before(trained)
    with (
        join_parts(dataset_info, train, validation) as dataset_dir,
        checkpoint_folder(checkpoint_uri) as checkpoints,
    ):
        result = train_teachers(
            dataset_dir,
            Path(trained.path),
            Path(model.path),
            checkpoints,
            seed,
            image_cache(checkpoint_uri, image_cache_gib),
            spent,
            plan_before(trained),
        )
    hand_on(model, "ensemble", trained)
    if result.tried:
        write_stage_page(Path(model.path), Path(page.path))
        log_metrics(metrics, {"ensemble_accepted": int(result.is_accepted)})
