"""Which students take the place of the model, and when: the networks are given, none is trained."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from kfp_vision.components.self_training import school as school_module
from kfp_vision.components.self_training.arm import LABELS_ALONE, Arm
from kfp_vision.components.self_training.school import School
from kfp_vision.components.self_training.stage_report import self_training_report
from kfp_vision.components.self_training.teacher import Teacher
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.artifacts.self_training_result import (
    RoundResult,
    SelfTrainingResult,
)
from kfp_vision.components.shared.datasets.labelled import open_labelled
from kfp_vision.components.shared.metrics.acceptance import Gain
from kfp_vision.components.shared.recipe.document import Recipe, Setting, write_recipe
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.report.page import render_page, write_stage_page
from kfp_vision.components.shared.report.records import write_stage_report
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.shared.training.checkpoints import StageWatch
from kfp_vision.components.shared.training.setup import complete_recipe

_DATA = {
    "class_weights": None,
    "primary_metric": "accuracy",
    "positive_class": None,
    "use_validation_for_training": False,
    "self_train": "auto",
}
Opened = Callable[..., School]


class Clock(StageWatch):
    """A process whose time is what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    @property
    def seconds(self) -> float:
        return self._earlier + self.now


@pytest.fixture
def opened(few_judges_dir: Path, small_model: str, tmp_path: Path) -> Opened:
    """Opens a school of 100 training, 30 validation and 1000 images without labels."""
    info = read_json(DatasetInfo, few_judges_dir / "dataset.json")
    recipe = Recipe({"data": {name: Setting(value, "test") for name, value in _DATA.items()}})
    recipe = complete_recipe(recipe, info, UserChoices(architecture=small_model, epochs=1))

    def open_school(seconds: float = np.inf, clock: StageWatch | None = None) -> School:
        given = (few_judges_dir, info, recipe, tmp_path / "kept", 0, None, None)
        return School(*given, seconds, clock or StageWatch())

    return open_school


@functools.cache
def fitted_to(dataset: Path, labels: int) -> LogisticRegression:
    images = open_labelled(dataset, "test", (16, 16, 1), get_task("multiclass"), 10)
    pixels, targets = images.take(np.arange(labels))
    return LogisticRegression(max_iter=100, tol=1e-2).fit(
        pixels.reshape(labels, -1) / 255, targets["label"]
    )


def network(dataset: Path, labels: int) -> keras.Model:
    """Returns a linear network that has learned some of the test images."""
    fitted = fitted_to(dataset, labels)
    inputs = keras.Input((16, 16, 1))
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(10)(flat))
    kernel, bias = np.zeros((256, 10)), np.zeros(10)
    kernel[:, fitted.classes_], bias[fitted.classes_] = fitted.coef_.T, fitted.intercept_
    model.layers[-1].set_weights([kernel, bias])
    return model


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("model_labels", "student_labels", "is_kept"), [(600, 40, False), (40, 600, True)]
)
def test_a_student_of_another_network_does_not_replace_a_better_model(
    opened, few_judges_dir, tmp_path, monkeypatch, model_labels, student_labels, is_kept
):
    path, school = tmp_path / "model.keras", opened()
    network(few_judges_dir, model_labels).save(path)
    before = digest(path)
    weak, student = (Teacher(network(few_judges_dir, labels)) for labels in (12, student_labels))
    monkeypatch.setattr(school, "_plain", lambda *_: weak)
    monkeypatch.setattr(
        school._rounds, "_train", lambda _, arm, *__: (weak if arm is LABELS_ALONE else student, 1)
    )
    result = school.teach(path)
    (control, trial), (only,) = result.trials, result.rounds
    assert (control.arm, control.images, control.is_kept) == ("labels alone", 0, False)
    assert trial.is_kept
    assert only.judges == 30
    # Those of the report: over the model, not over the network that has taught the student.
    assert only.gain.value == pytest.approx(result.loss - only.loss)
    assert only.is_kept == (only.gain.high >= 0) == is_kept
    assert (digest(path) != before) == is_kept


def test_what_more_steps_with_the_labels_do_is_no_merit_of_the_images(
    opened, few_judges_dir, tmp_path, monkeypatch
):
    path, school = tmp_path / "model.keras", opened()
    network(few_judges_dir, 40).save(path)
    weak, better = (Teacher(network(few_judges_dir, labels)) for labels in (12, 600))
    monkeypatch.setattr(school, "_plain", lambda *_: weak)
    limits = []

    def train(_: Any, arm: Arm, __: float, longest: float) -> tuple[Teacher, int]:
        limits.append(longest)
        return better, 70

    monkeypatch.setattr(school._rounds, "_train", train)
    result = school.teach(path)
    alone, student = result.trials
    assert (alone.is_kept, student.is_kept, student.gain.value) == (True, False, 0.0)
    (only,) = result.rounds
    assert (only.arm, only.images, only.is_kept) == ("labels alone", 0, True)
    # Nobody sees more images than the network that is the rival.
    assert limits == [np.inf, 70, np.inf]
    report = self_training_report(result, is_wanted=False)
    write_recipe(Recipe(), tmp_path / "recipe.json")
    write_stage_report(report, tmp_path)
    write_stage_page(tmp_path, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "not in the model: as many steps with the labels alone did as well" in page


@dataclasses.dataclass
class Lessons:
    """Trainings that take 50 s for half of the labels, 100 s for all of them and for a student.

    What has learned labels alone knows as little as the network before.

    Attributes:
        trained: Their names, in order.
        killed_at: One in which the process is killed after 10 s, at the first attempt.
        image_s: Seconds of asking about an image.
    """

    dataset: Path
    monkeypatch: pytest.MonkeyPatch
    path: Path
    trained: list[str] = dataclasses.field(default_factory=list)
    killed_at: str = ""
    image_s: float = 0.01

    def teach(self, school: School, clock: Clock) -> SelfTrainingResult:
        """Returns the result of a school whose trainings these are."""
        network(self.dataset, 40).save(self.path)
        weak, student = (Teacher(network(self.dataset, labels)) for labels in (12, 600))

        def train(name: str, seconds: float) -> None:
            if name == self.killed_at:
                self.killed_at = ""
                clock.now += 10.0
                clock.save()
                raise KeyboardInterrupt
            # What has a checkpoint is not trained again.
            if name not in self.trained:
                self.trained.append(name)
                clock.now += seconds

        def train_plain(*given: Any) -> Any:
            train(f"plain {len(given[5])}", len(given[5]))
            settings = SimpleNamespace(batch_size=10)
            return SimpleNamespace(model=weak.model), SimpleNamespace(
                step=len(given[5]), settings=settings
            )

        def train_student(lesson: Any, arm: Arm, *_: Any) -> tuple[Teacher, int]:
            is_alone = arm is LABELS_ALONE
            train(f"{'alone' if is_alone else 'student'} {len(lesson.known)}", 100.0)
            return (weak if is_alone else student), 7

        self.monkeypatch.setattr(school_module, "train_plain", train_plain)
        self.monkeypatch.setattr(school._rounds, "_train", train_student)
        for each in (school._pool, school._pool._view):
            self.monkeypatch.setattr(each, "seconds_per_image", lambda *_: self.image_s)
        return school.teach(self.path)


@pytest.fixture
def lessons(few_judges_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lessons:
    return Lessons(few_judges_dir, monkeypatch, tmp_path / "model.keras")


def test_without_time_for_a_round_no_network_is_trained_to_teach_it(opened, lessons):
    # The trial leaves 150 s, and a network on all labels and its student take 200.
    result = lessons.teach(opened(400.0, clock := Clock()), clock)
    assert lessons.trained == ["plain 50", "alone 50", "student 50"]
    assert [each.is_kept for each in result.trials] == [False, True]
    assert result.rounds == []


def test_what_is_trained_is_counted_trials_and_networks_on_labels_too(opened, lessons):
    result = lessons.teach(opened(500.0, clock := Clock()), clock)
    assert lessons.trained == ["plain 50", "alone 50", "student 50", "plain 100", "student 100"]
    assert result.plain_images_seen == 10 * 50 + 10 * 100
    assert result.images_seen == 1500 + 3 * 7


@pytest.mark.parametrize(
    "killed_at", ["plain 50", "alone 50", "student 50", "plain 100", "student 100"]
)
def test_a_stage_that_was_killed_ends_as_one_that_was_not(opened, lessons, killed_at):
    lessons.killed_at = killed_at
    with pytest.raises(KeyboardInterrupt):
        lessons.teach(opened(450.0, first := Clock()), first)
    school = opened(450.0, second := Clock())
    # Nothing of the time is forgotten.
    assert second.seconds == pytest.approx(first.seconds)
    found = lessons.teach(school, second)
    (_, trial), (only,) = found.trials, found.rounds
    assert trial.seconds == pytest.approx(100 + 10 * (killed_at == "student 50"))
    assert only.seconds == pytest.approx(100 + 10 * (killed_at == "student 100"))
    assert only.is_kept
    # Once more, all of it: by its clock there would be no time for a round.
    school = opened(450.0, third := Clock())
    assert third.seconds > 450
    assert lessons.teach(school, third) == found


def test_as_many_images_are_asked_about_as_there_is_time_for(opened, lessons, tmp_path):
    # Of 400 s three tenths for three passes, and one by the pretrained network.
    for pace in (0.1, 0.01):
        lessons.image_s = pace
        result = lessons.teach(opened(400.0, clock := Clock()), clock)
        # The second process goes by what the first has measured.
        assert (result.asked, result.unlabeled) == (300, 1000)
        assert all(each.images <= 300 for each in result.trials + result.rounds)
    report = self_training_report(result, is_wanted=False)
    assert report.summary["self_training"]["asked"] == 300
    write_recipe(Recipe(), tmp_path / "recipe.json")
    write_stage_report(report, tmp_path)
    write_stage_page(tmp_path, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "300 of 1,000 images without labels were looked at, a random sample" in page


@pytest.mark.parametrize(
    ("failed", "reason"),
    [
        ("", "and no time was left for a round"),
        (
            "labels alone: the loss is not finite",
            "but no round came to its end; the warnings say what failed",
        ),
    ],
)
def test_the_page_says_why_no_round_followed_a_trial_that_helped(failed, reason):
    trial = RoundResult(
        0, "noisy student", 900, 4000, 80, 0.4, Gain(0.2, 0.1, 0.3), True, None, None, 30.0
    )
    result = SelfTrainingResult(unlabeled=900, asked=900, trials=[trial], failed=failed)
    report = self_training_report(result, is_wanted=False)
    page = render_page("Self-training", report.summary, Recipe(), report.sections)
    assert f"they have helped in the trial, {reason}." in page
    assert [each.code for each in report.warnings] == ["self_training_failed"] * bool(failed)


@pytest.mark.parametrize(
    ("neighbours", "sentence"),
    [
        ("pretrained", "Labels by the nearest neighbours of an image, as a network pretrained on"),
        ("own", "Labels by the nearest neighbours of an image, as the model sees them"),
        ("none", "Labels by the shares of the classes were taught in place of"),
        (None, "What the model says was taught as it is"),
    ],
)
def test_the_page_says_whose_neighbours_have_taught(neighbours, sentence):
    gain, refined = Gain(0.2, 0.1, 0.3), Gain(0.031, -0.012, 0.074)
    each = RoundResult(
        1, "noisy student", 900, 4000, 200, 0.4, gain, True, refined, neighbours, 30.0
    )
    report = self_training_report(SelfTrainingResult(unlabeled=900, asked=900, rounds=[each]), True)
    page = render_page("Self-training", report.summary, Recipe(), report.sections)
    assert sentence in page
    assert "the loss on the judges by 0.031 nats (95 % interval -0.012 to 0.074)" in page
    assert report.summary["self_training"]["rounds"][0]["neighbours"] == neighbours
