"""The compiled pipeline: a YAML file of two documents, the pipeline and what Kubernetes does."""

import functools
from pathlib import Path
from typing import Any

from kfp import compiler, dsl
from kfp.dsl.pipeline_context import Pipeline

from kfp_vision.pipelines.arguments import add_choices
from kfp_vision.pipelines.cluster.placement import place
from kfp_vision.pipelines.cluster.profile import Profile
from kfp_vision.pipelines.resources import RUN_HOURS, TTL_HOURS
from kfp_vision.pipelines.training import scheduled_pipeline, training_pipeline

__all__ = ["compile_pipeline"]


def compile_pipeline(
    path: Path,
    profile: Profile,
    trial_workers: int,
    scheduled: bool = False,
    teacher_workers: int = 1,
) -> None:
    """Writes the training pipeline for a cluster.

    Args:
        path: Of the YAML file.
        profile: Of the cluster.
        trial_workers: As of `training_pipeline`.
        scheduled: Whether the first task decides if there are others, as in a schedule.
        teacher_workers: As of `training_pipeline`.
    """
    trained = (scheduled_pipeline if scheduled else training_pipeline)(
        trial_workers, teacher_workers
    )
    define = trained.pipeline_func

    @functools.wraps(define)
    def placed(*channels: Any) -> None:
        define(*channels)
        for task in Pipeline.get_default_pipeline().tasks.values():
            place(task, profile)

    pipeline = dsl.pipeline(
        placed,
        name=trained.name,
        description=trained.description,
        pipeline_config=dsl.PipelineConfig(
            ttl_seconds_after_finished=TTL_HOURS * 3600,
            active_deadline_seconds=RUN_HOURS * 3600,
        ),
    )
    add_choices(pipeline)
    compiler.Compiler().compile(pipeline, str(path))
