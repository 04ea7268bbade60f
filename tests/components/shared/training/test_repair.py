"""A batch that memory or the loss refuses is halved, and the training goes on where it was.

Memory does run out on no machine at will: a trainer raises what TensorFlow raises then.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.augmentation.known_policies import flip_and_crop
from kfp_vision.components.shared.augmentation.policy import Policy
from kfp_vision.components.shared.recipe.batch_scaling import halve_batch
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training.checkpoints import Stopwatch
from kfp_vision.components.shared.training.fit import fit
from kfp_vision.components.shared.training.history import CurveRow, History
from kfp_vision.components.shared.training.run import TrainingRun
from kfp_vision.components.shared.training.sanity import DivergenceError
from kfp_vision.components.shared.training.setup import build_trainer, complete_recipe, open_split
from kfp_vision.components.shared.training.trainer import StepFigures, Trainer


class _Failing:
    """A trainer whose calls number `first` and later fail for batches above `largest`."""

    def __init__(self, trainer: Trainer, largest: int, first: int, error: Exception) -> None:
        self._trainer, self._largest, self._first, self._error = trainer, largest, first, error
        self._calls = 0
        self.batches: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trainer, name)

    def run_steps(self, images: np.ndarray, targets: Any, rates: np.ndarray) -> StepFigures:
        self._calls += 1
        if self._calls >= self._first and images.shape[1] > self._largest:
            raise self._error
        self.batches.append(images.shape[1])
        return self._trainer.run_steps(images, targets, rates)


_MEMORY = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor\nmore lines")
_LOSS = DivergenceError("The training loss must stay finite. Received: nan")


class _NotFinite:
    """A trainer whose model puts out NaN in its first evaluations, as Keras does on overflow."""

    def __init__(self, trainer: Trainer, number: int) -> None:
        self._trainer, self._left = trainer, number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trainer, name)

    def outputs(self, images: np.ndarray) -> np.ndarray:
        # An evaluation of 300 images is one batch.
        self._left -= 1
        return self._trainer.outputs(images) * (np.nan if self._left >= 0 else 1.0)


def _fit(
    dataset: Path,
    architecture: str,
    folder: Path,
    halve: Any,
    wrap: Callable[[Trainer], Any] = lambda trainer: trainer,
    watch: Stopwatch | None = None,
    policy: Policy | None = None,
    averages: bool = False,
) -> tuple[History, Any, list[Any]]:
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("accuracy", "test")}
    # The average costs thirty batches of statistics at each evaluation.
    average = {} if averages else {"ema_momentum": Setting(0.0, "test", source="user")}
    info = read_json(DatasetInfo, dataset / "dataset.json")
    choices = UserChoices(architecture=architecture, batch_size=40, epochs=4)
    given = Recipe().with_settings("data", data).with_settings("training", average)
    recipe = complete_recipe(given, info, choices)
    trainer, task, settings = build_trainer(recipe, info, 0, policy=policy)
    failing = wrap(trainer)
    rows: list[CurveRow] = []

    def draw(new: Sequence[CurveRow], anew: bool) -> None:
        rows[:] = [*([] if anew else rows), *(row.copy() for row in new)]

    run = TrainingRun(
        failing,
        task,
        open_split(dataset, "train", recipe),
        open_split(dataset, "validation", recipe),
        primary_metric="accuracy",
        checkpoint_dir=folder,
        start=lambda s: History(
            s, s.steps, {"initial_loss": 9.0}, num_evaluations=5 if averages else 20
        ),
        halve=halve,
        watch=watch or Stopwatch(),
        on_curves=draw,
    )
    history = fit(run, settings)
    return history, failing, rows


_HALVE = functools.partial(halve_batch, noise_scale=100.0)


@pytest.mark.parametrize(
    ("error", "policy", "batch"),
    # With a policy once: every size of the batch is compiled for seconds.
    [(_MEMORY, None, 10), (_LOSS, None, 10), (_MEMORY, flip_and_crop(), 20)],
    ids=["memory", "divergence", "augmented"],
)
def test_halved_in_the_middle_it_sees_the_same_images_and_keeps_what_is_done(
    error: Exception,
    policy: Policy | None,
    batch: int,
    digits_dir: Path,
    small_model: str,
    tmp_path: Path,
) -> None:
    averages = error is _MEMORY and policy is None
    # 100 steps of 40 in intervals of 5, or of 20 where evaluations take statistics: this call is in
    # the middle of the run.
    interval, first = (20, 3) if averages else (5, 8)
    wrap = functools.partial(_Failing, largest=batch, first=first, error=error)
    given = (digits_dir, small_model, tmp_path, _HALVE)
    history, trainer, rows = _fit(*given, wrap, policy=policy, averages=averages)
    steps = 4000 // batch
    assert history.settings.batch_size == batch
    assert history.step == history.total_steps == steps
    assert len(history.repairs) == {10: 2, 20: 1}[batch]
    assert str(error).splitlines()[0] in history.repairs[0]
    assert trainer.batches[: first - 1] == [40] * (first - 1)
    assert set(trainer.batches[first - 1 :]) == {batch}
    # In steps of the last batch, those before the repairs too: the same images lie between two.
    assert rows == history.curves
    losses = [row for row in rows if (row["split"], row["metric"]) == ("validation", "loss")]
    interval *= 40 // batch
    assert [row["step"] for row in losses] == [*range(interval, steps, interval), steps]
    for kept in history.best:
        values = {r["metric"]: r["value"] for r in rows if r["step"] == kept["step"]}
        assert kept["metrics"]["accuracy"] == values["accuracy"]
        assert (tmp_path / kept["file"]).exists()
    assert history.settings.learning_rate < 3e-3
    # Nothing is left to do for the same run again, which knows of the repairs.
    again, _, _ = _fit(*given, policy=policy, averages=averages)
    assert again == history


def test_without_a_policy_the_error_is_the_users(
    digits_dir: Path, small_model: str, tmp_path: Path
) -> None:
    wrap = functools.partial(_Failing, largest=10, first=1, error=_MEMORY)
    with pytest.raises(tf.errors.ResourceExhaustedError):
        _fit(digits_dir, small_model, tmp_path, None, wrap)


def test_what_no_batch_mends_is_raised_in_the_end(
    digits_dir: Path, small_model: str, tmp_path: Path
) -> None:
    wrap = functools.partial(_Failing, largest=0, first=1, error=_LOSS)
    with pytest.raises(DivergenceError, match="must stay finite"):
        _fit(digits_dir, small_model, tmp_path, _HALVE, wrap)


def test_an_evaluation_that_is_not_finite_is_passed_over_and_counted(
    digits_dir: Path, small_model: str, tmp_path: Path
) -> None:
    history, _, rows = _fit(
        digits_dir, small_model, tmp_path, None, lambda each: _NotFinite(each, 18)
    )
    assert history.num_passed_over == 18
    assert [kept["step"] for kept in history.best] in ([95, 100], [100, 95])
    assert all(np.isfinite(row["value"]) for row in rows)
    with pytest.raises(DivergenceError, match="validation.*in all 20 evaluations"):
        _fit(digits_dir, small_model, tmp_path / "none", None, lambda each: _NotFinite(each, 1000))


def test_the_seconds_of_the_processes_before_are_added(
    digits_dir: Path, small_model: str, tmp_path: Path
) -> None:
    first, second = Stopwatch(), Stopwatch()
    history, _, _ = _fit(digits_dir, small_model, tmp_path, None, watch=first)
    assert 0 < history.stage_seconds <= first.seconds
    own = second.seconds
    _fit(digits_dir, small_model, tmp_path, None, watch=second)
    assert second.seconds >= history.stage_seconds + own
