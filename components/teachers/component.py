"""The KFP components of the stage of the teachers."""

from typing import List  # noqa: UP035 - KFP reads `List` in signatures.

from kfp import dsl

from kfp_vision.components.shared.runtime.container_images import component


@component
def train_teachers(
    dataset_info: dsl.Input[dsl.Artifact],
    train: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    trained: dsl.Input[dsl.Model],
    members: dsl.Input[List[dsl.Artifact]],  # noqa: UP006 - as above.
    model: dsl.Output[dsl.Model],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    checkpoint_uri: str,
    image_cache_gib: float,
    seed: int,
) -> None:
    """Trains networks beside the model, and makes one teacher of them where it is better.

    Where tasks have trained them, `members` holds what `train_members` has written.
    """
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
            [Path(each.path) for each in members],
        )
    hand_on(model, "ensemble", trained)
    if result.tried:
        write_stage_page(Path(model.path), Path(page.path))
        log_metrics(metrics, {"ensemble_accepted": int(result.is_accepted)})


@component
def train_members(
    dataset_info: dsl.Input[dsl.Artifact],
    train: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    trained: dsl.Input[dsl.Model],
    members: dsl.Output[dsl.Artifact],
    worker: int,
    workers: int,
    checkpoint_uri: str,
    image_cache_gib: float,
    seed: int,
) -> None:
    """Trains the networks of one worker, every `workers`-th of those beside the model."""
    from pathlib import Path

    from kfp_vision.components.shared.artifacts.artifact_parts import join_parts
    from kfp_vision.components.shared.datasets.image_cache import image_cache
    from kfp_vision.components.shared.report.records import costs_before, plan_before
    from kfp_vision.components.shared.training.checkpoints import checkpoint_folder
    from kfp_vision.components.teachers.train_teachers import train_share

    with (
        join_parts(dataset_info, train, validation) as dataset_dir,
        checkpoint_folder(checkpoint_uri) as checkpoints,
    ):
        train_share(
            dataset_dir,
            Path(trained.path),
            Path(members.path),
            checkpoints,
            seed,
            worker,
            workers,
            image_cache(checkpoint_uri, image_cache_gib),
            costs_before(trained),
            plan_before(trained),
        )
