"""The KFP component of the training stage."""

from kfp import dsl

from kfp_vision.components.shared.runtime.container_images import component


@component
def train_model(
    dataset_info: dsl.Input[dsl.Artifact],
    train: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    recipe: dsl.Input[dsl.Artifact],
    model: dsl.Output[dsl.Model],
    train_sample: dsl.Output[dsl.Dataset],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    checkpoint_uri: str,
    image_cache_gib: float,
    seed: int,
) -> None:
    """Trains the architecture by the recipe and keeps its best checkpoint.

    `train_sample` holds the training images that the evaluation reads.

    Without a `checkpoint_uri`, a folder that outlives the task, a retry starts anew.
    """
    from pathlib import Path

    from kfp_vision.components.shared.artifacts.artifact_parts import join_parts
    from kfp_vision.components.shared.datasets.image_cache import image_cache
    from kfp_vision.components.shared.datasets.train_sample import write_train_sample
    from kfp_vision.components.shared.recipe.user_choices import UserChoices
    from kfp_vision.components.shared.report.page import write_stage_page
    from kfp_vision.components.shared.report.records import costs_before, hand_on, plan_before
    from kfp_vision.components.shared.runtime.logged_metrics import log_metrics
    from kfp_vision.components.shared.runtime.progress import Progress
    from kfp_vision.components.shared.runtime.tracking import tracked
    from kfp_vision.components.shared.training.checkpoints import checkpoint_folder

    with Progress("start TensorFlow"):
        from kfp_vision.components.training.train import train_model

    spent = costs_before(recipe)
    with (
        join_parts(dataset_info, train, validation) as dataset_dir,
        checkpoint_folder(checkpoint_uri) as checkpoints,
        tracked() as tracker,
    ):
        summary = train_model(
            dataset_dir,
            Path(recipe.path) / "recipe.json",
            Path(model.path),
            checkpoints,
            UserChoices(seed=seed),
            image_cache(checkpoint_uri, image_cache_gib),
            spent,
            plan_before(recipe),
            tracker,
        )
        write_train_sample(dataset_dir, Path(train_sample.path))
    hand_on(model, "model", recipe)
    write_stage_page(Path(model.path), Path(page.path))
    scores = {f"validation_{name}": value for name, value in summary.validation.items()}
    log_metrics(metrics, {**scores, "images_per_second": summary.images_per_second})
