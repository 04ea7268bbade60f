"""The KFP component of the pretraining stage."""

from kfp import dsl

from kfp_vision.components.shared.runtime.container_images import component


@component
def pretrain(
    dataset_info: dsl.Input[dsl.Artifact],
    train: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    unlabeled: dsl.Input[dsl.Dataset],
    recipe: dsl.Input[dsl.Artifact],
    pretrained: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    checkpoint_uri: str,
    image_cache_gib: float,
    seed: int,
) -> None:
    """Learns from images before from labels, and keeps the weights where a training gains."""
    from pathlib import Path

    from kfp_vision.components.pretraining.pretrain import pretrain
    from kfp_vision.components.shared.artifacts.artifact_parts import join_parts
    from kfp_vision.components.shared.datasets.image_cache import image_cache
    from kfp_vision.components.shared.report.page import write_stage_page
    from kfp_vision.components.shared.report.records import costs_before, hand_on, plan_before
    from kfp_vision.components.shared.runtime.logged_metrics import log_metrics
    from kfp_vision.components.shared.training.checkpoints import checkpoint_folder

    spent = costs_before(recipe)
    with (
        join_parts(dataset_info, train, validation, unlabeled) as dataset_dir,
        checkpoint_folder(checkpoint_uri) as checkpoints,
    ):
        result = pretrain(
            dataset_dir,
            Path(recipe.path) / "recipe.json",
            Path(pretrained.path),
            checkpoints,
            seed,
            image_cache(checkpoint_uri, image_cache_gib),
            spent,
            plan_before(recipe),
        )
    hand_on(pretrained, "pretrained", recipe)
    if not result.skipped:
        write_stage_page(Path(pretrained.path), Path(page.path))
        log_metrics(metrics, {"starts_pretrained": float(result.is_kept)})
