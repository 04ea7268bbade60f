"""The part of the DAG that trains the model, and the networks that teach it."""

from collections.abc import Callable, Mapping
from typing import Any

from kfp import dsl

from kfp_vision.components.teachers.component import train_members
from kfp_vision.pipelines.learning.component import teach_model, train_model, train_model_alone

__all__ = ["add_training"]


def add_training(
    add: Callable[..., Any], recipe: dsl.Artifact, workers: int
) -> Mapping[str, dsl.Artifact]:
    """Adds the tasks of the training to the pipeline that calls this.

    With one worker all of it is the task `train-model`. With several, `train-model-alone` trains
    the model; the networks beside it are divided among tasks, and `teach-model` takes them.

    Args:
        add: Adds a task, with the arguments and the parts of the dataset that it names.
        recipe: Artifact with the recipe to train with.
        workers: Tasks that share the networks. Known when the pipeline is compiled.

    Returns:
        The artifacts `model` and `train_sample`.
    """
    if workers == 1:
        trained: Mapping[str, dsl.Artifact] = add(train_model, recipe=recipe).outputs
        return trained
    alone = add(train_model_alone, recipe=recipe).outputs
    with dsl.ParallelFor([*range(workers)], name="teachers") as worker:
        shared = add(train_members, trained=alone["model"], worker=worker, workers=workers)
    members = dsl.Collected(shared.outputs["members"])
    taught = add(teach_model, trained=alone["model"], members=members).outputs
    return {"model": taught["model"], "train_sample": alone["train_sample"]}
