"""The whole pipeline: from a folder of images to an evaluated, exported, reported model."""

from collections.abc import Mapping
from typing import Any

from kfp import dsl

from kfp_vision.components.batch_size_probe.component import probe_batch_size
from kfp_vision.components.data_import.component import import_dataset, list_sources
from kfp_vision.components.data_profiling.component import check_profile, profile_dataset
from kfp_vision.components.evaluation.component import evaluate_model, export_model
from kfp_vision.components.network_choice.component import choose_network
from kfp_vision.pipelines.arguments import inputs_of, takes_arguments
from kfp_vision.pipelines.learning.tasks import add_training
from kfp_vision.pipelines.publishing.component import check_model, publish
from kfp_vision.pipelines.retraining.component import decide_retraining
from kfp_vision.pipelines.retraining.triggers import LocalTime, Triggers
from kfp_vision.pipelines.searching.tasks import add_search

__all__ = ["scheduled_pipeline", "training_pipeline"]


def training_pipeline(trial_workers: int, teacher_workers: int = 1) -> Any:
    """Returns the pipeline.

    Args:
        trial_workers: Tasks that share the trials of a round.
        teacher_workers: Tasks that share the networks beside the model. Both decide the shape of
            the DAG.
    """

    def define(arguments: Mapping[str, Any]) -> None:
        """Trains a model."""
        # What lies behind a URI may have changed: asked anew by every run.
        sources = _add(list_sources, arguments).set_caching_options(enable_caching=False)
        _add_stages({**arguments, **sources.outputs}, trial_workers, teacher_workers)

    return dsl.pipeline(
        takes_arguments(define),
        name="kfp-vision-training",
        description="Trains, evaluates and exports a classifier.",
    )


def scheduled_pipeline(trial_workers: int, teacher_workers: int = 1) -> Any:
    """Returns the pipeline of a schedule: its first task decides whether there are others.

    Args:
        trial_workers: As of `training_pipeline`.
        teacher_workers: The same.
    """

    def define(arguments: Mapping[str, Any]) -> None:
        """Trains a model if there is anything new."""
        decision = _add(decide_retraining, arguments).set_caching_options(enable_caching=False)
        given = dict(decision.outputs)
        given["seed"] = given.pop("run_seed")
        with dsl.If(given.pop("train") == True, name="train"):  # noqa: E712 - of a channel.
            _add_stages({**arguments, **given}, trial_workers, teacher_workers)

    return dsl.pipeline(
        takes_arguments(define, Triggers, LocalTime),
        name="kfp-vision-retraining",
        description="Trains, evaluates and exports a classifier if there is anything new.",
    )


def _add(stage: Any, given: Mapping[str, Any], **own: Any) -> dsl.PipelineTask:
    """Adds a task; it receives the arguments and parts of the dataset that it names."""
    return stage(**own, **inputs_of(stage, given))


def _add_stages(sources: Mapping[str, Any], trial_workers: int, teacher_workers: int) -> None:
    """Defines the DAG, but for its first task.

    Args:
        sources: The arguments and what the first task says of them.
        trial_workers: As of `training_pipeline`.
        teacher_workers: The same.
    """
    given = dict(sources)

    def add(stage: Any, **own: Any) -> Any:
        return _add(stage, given, **own)

    given |= add(import_dataset).outputs
    profile = add(profile_dataset).outputs["profile"]
    gate = add(check_profile, profile=profile)
    choice = add(choose_network, recipe=profile).after(gate).outputs["choice"]
    probe = add(probe_batch_size, recipe=choice).outputs["probe"]
    search = add_search(add, probe, given["search_augmentation"], trial_workers)
    trained = add_training(add, search, teacher_workers)
    model, sample = trained["model"], trained["train_sample"]
    scored = add(evaluate_model, model=model, train_sample=sample).outputs
    evaluation, calibration = scored["evaluation"], scored["calibration"]
    exported = add(export_model, evaluation=evaluation, calibration=calibration).outputs
    records = exported["records"]
    published = add(
        publish,
        records=records,
        evaluation=evaluation,
        exports=exported["exports"],
        run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
    ).set_caching_options(enable_caching=False)
    add(check_model, records=records).after(published)
