"""The KFP components of all that trains the model."""

from typing import List  # noqa: UP035 - KFP reads `List` in signatures.

from kfp import dsl

from kfp_vision.components.shared.runtime.container_images import component


@component
def train_model(
    dataset_info: dsl.Input[dsl.Artifact],
    train: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    unlabeled: dsl.Input[dsl.Dataset],
    recipe: dsl.Input[dsl.Artifact],
    model: dsl.Output[dsl.Model],
    train_sample: dsl.Output[dsl.Dataset],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    checkpoint_uri: str,
    image_cache_gib: float,
    seed: int,
) -> None:
    """Learns before labels, by the recipe, from images without labels again, then by a teacher.

    All stages in one task: the framework starts once, and a model that is replaced is not kept.
    `train_sample` holds the training images that the evaluation reads. Without a `checkpoint_uri`,
    a folder that outlives the task, a retry starts anew.
    """
    from kfp_vision.pipelines.learning.stages import learn

    learn(
        recipe=recipe,
        model=model,
        train_sample=train_sample,
        dataset_info=dataset_info,
        train=train,
        validation=validation,
        unlabeled=unlabeled,
        page=page,
        metrics=metrics,
        checkpoint_uri=checkpoint_uri,
        image_cache_gib=image_cache_gib,
        seed=seed,
    )


@component
def train_model_alone(
    dataset_info: dsl.Input[dsl.Artifact],
    train: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    unlabeled: dsl.Input[dsl.Dataset],
    recipe: dsl.Input[dsl.Artifact],
    model: dsl.Output[dsl.Model],
    train_sample: dsl.Output[dsl.Dataset],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    checkpoint_uri: str,
    image_cache_gib: float,
    seed: int,
) -> None:
    """The stages of `train_model` before the teachers, which several tasks train."""
    from kfp_vision.pipelines.learning.stages import learn_alone

    learn_alone(
        recipe=recipe,
        model=model,
        train_sample=train_sample,
        dataset_info=dataset_info,
        train=train,
        validation=validation,
        unlabeled=unlabeled,
        page=page,
        metrics=metrics,
        checkpoint_uri=checkpoint_uri,
        image_cache_gib=image_cache_gib,
        seed=seed,
    )


@component
def teach_model(
    dataset_info: dsl.Input[dsl.Artifact],
    train: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    unlabeled: dsl.Input[dsl.Dataset],
    trained: dsl.Input[dsl.Model],
    members: dsl.Input[List[dsl.Artifact]],  # noqa: UP006 - as above.
    model: dsl.Output[dsl.Model],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    checkpoint_uri: str,
    image_cache_gib: float,
    seed: int,
) -> None:
    """The stages of `train_model` from the teachers on, with what tasks have trained."""
    from kfp_vision.pipelines.learning.stages import teach

    teach(
        trained=trained,
        members=members,
        model=model,
        dataset_info=dataset_info,
        train=train,
        validation=validation,
        unlabeled=unlabeled,
        page=page,
        metrics=metrics,
        checkpoint_uri=checkpoint_uri,
        image_cache_gib=image_cache_gib,
        seed=seed,
    )
