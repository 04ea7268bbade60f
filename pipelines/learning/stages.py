"""The stages that learn, each after the other in one task, from artifact to artifact."""

import contextlib
import gc
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kfp_vision.components.distillation import component as distillation
from kfp_vision.components.pretraining import component as pretraining
from kfp_vision.components.self_training import component as self_training
from kfp_vision.components.teachers import component as teachers
from kfp_vision.components.training import component as training

__all__ = ["learn", "learn_alone", "teach"]


def learn(*, recipe: Any, train_sample: Any, model: Any, **given: Any) -> None:
    """Runs all stages, from pretraining to distillation.

    Args:
        recipe: Artifact to begin with.
        train_sample: As of `train_model`.
        model: The result.
        given: What every stage takes, and `unlabeled`.
    """
    with _models_between(model, "taught") as (taught,):
        learn_alone(recipe=recipe, train_sample=train_sample, model=taught, **given)
        teach(trained=taught, members=[], model=model, **given)


def learn_alone(
    *, recipe: Any, train_sample: Any, model: Any, unlabeled: Any, **given: Any
) -> None:
    """Runs the stages before the teachers; arguments of `learn`."""
    with _models_between(model, "started", "plain") as (started, plain):
        pretraining.pretrain.python_func(
            **given, unlabeled=unlabeled, recipe=recipe, pretrained=started
        )
        # What a stage holds in memory goes before the next one begins.
        gc.collect()
        training.train_model.python_func(
            **given, recipe=started, model=plain, train_sample=train_sample
        )
        gc.collect()
        self_training.self_train.python_func(
            **given, unlabeled=unlabeled, trained=plain, model=model
        )
        gc.collect()


def teach(
    *, trained: Any, members: Sequence[Any], model: Any, unlabeled: Any, **given: Any
) -> None:
    """Runs the teachers and the distillation.

    Args:
        trained: The model so far.
        members: What tasks have trained beside it; empty trains all here.
        model: As of `learn`.
        unlabeled: The same.
        given: The same.
    """
    with _models_between(model, "joined") as (joined,):
        teachers.train_teachers.python_func(**given, trained=trained, members=members, model=joined)
        gc.collect()
        distillation.distill.python_func(**given, unlabeled=unlabeled, trained=joined, model=model)


@contextlib.contextmanager
def _models_between(model: Any, *names: str) -> Iterator[list[SimpleNamespace]]:
    """Yields artifacts that are not kept, on the disk of the model.

    Args:
        model: Artifact; they have its URI.
        names: Of their folders.
    """
    folder = Path(model.path).parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".trained-") as scratch:
        yield [SimpleNamespace(path=f"{scratch}/{name}", uri=model.uri) for name in names]
