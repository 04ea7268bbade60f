"""The KFP component of the distillation stage."""

from kfp import dsl

from kfp_vision.components.shared.runtime.container_images import component


@component
def distill(
    dataset_info: dsl.Input[dsl.Artifact],
    train: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    unlabeled: dsl.Input[dsl.Dataset],
    trained: dsl.Input[dsl.Model],
    model: dsl.Output[dsl.Model],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    checkpoint_uri: str,
    image_cache_gib: float,
    seed: int,
) -> None:
    """Teaches the network by `ensemble.keras`, and keeps it where that makes it better."""
    from pathlib import Path

    from kfp_vision.components.distillation.distill import distill
    from kfp_vision.components.shared.artifacts.artifact_parts import join_parts
    from kfp_vision.components.shared.datasets.image_cache import image_cache
    from kfp_vision.components.shared.report.page import write_stage_page
    from kfp_vision.components.shared.report.records import costs_before, hand_on, plan_before
    from kfp_vision.components.shared.runtime.logged_metrics import log_metrics
    from kfp_vision.components.shared.training.checkpoints import checkpoint_folder

    spent = costs_before(trained)
    with (
        join_parts(dataset_info, train, validation, unlabeled) as dataset_dir,
        checkpoint_folder(checkpoint_uri) as checkpoints,
    ):
        result = distill(
            dataset_dir,
            Path(trained.path),
            Path(model.path),
            checkpoints,
            seed,
            image_cache(checkpoint_uri, image_cache_gib),
            spent,
            plan_before(trained),
        )
    hand_on(model, "distilled", trained)
    if not result.skipped:
        write_stage_page(Path(model.path), Path(page.path))
        log_metrics(metrics, {"distilled": int(result.is_kept)})
