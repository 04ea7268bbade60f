"""The calibration errors of an ensemble and of its members can be compared."""

import keras
import numpy as np
import pytest

from kfp_vision.components.shared.artifacts.teachers_result import Member
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.teachers.judges import Judges
from kfp_vision.components.teachers.teacher import AskedMember, choose_teacher

_IMAGES, _CLASSES = 1_000, 3


def _evidence(generator: np.random.Generator, labels: np.ndarray, strength: float) -> np.ndarray:
    """Returns logits that are calibrated, [N, C]."""
    seen = generator.normal(strength * np.eye(_CLASSES)[labels], 1.0)
    held: np.ndarray = strength * seen
    return held


def _asked(kind: str, outputs: np.ndarray) -> AskedMember:
    pixels = keras.Input((2, 2, 1))
    model = keras.Model(pixels, keras.layers.Dense(_CLASSES)(keras.layers.Flatten()(pixels)))
    told = Member(kind, "separable", [2, 2], model.count_params(), 100, 1.0)
    return AskedMember(told, model, outputs, can_be_mixed=False)


def test_a_network_that_is_the_whole_ensemble_has_its_calibration_error() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(_CLASSES, size=_IMAGES).astype(np.int32)
    # Bolder than it should be, as networks are; the one before it says next to nothing.
    better = 5 * _evidence(generator, labels, 2.0)
    members = [_asked("model", _evidence(generator, labels, 0.01)), _asked("seed", better)]
    judges = Judges(get_task("multiclass"), {"label": labels}, "accuracy", None)
    result, _ = choose_teacher(members, judges, lambda _: better, (2, 2))
    (alone,) = [each for each in result.members if each.weight]
    assert (result.kept, alone.kind) == ("greedy", "seed")
    assert result.calibration_error == pytest.approx(alone.calibration_error, abs=0.003)
    assert alone.calibration_error < 0.04


def test_images_that_fit_a_temperature_do_not_judge_it() -> None:
    """Of labels without any rule in them no fit helps others: what it gains is not seen."""
    generator = np.random.default_rng(1)
    labels = generator.integers(_CLASSES, size=_IMAGES).astype(np.int32)
    judges = Judges(get_task("multiclass"), {"label": labels}, "accuracy", None)
    by_heart = 10.0 * np.eye(_CLASSES)[labels]

    def fit(rows: np.ndarray) -> np.ndarray:
        said = np.full((_IMAGES, _CLASSES), -10.0)
        said[:, 0] = 10.0
        said[rows] = by_heart[rows]
        return said

    assert judges.calibration_error(fit) > 0.3
    assert judges.calibration_error(lambda _: by_heart) < 0.01
