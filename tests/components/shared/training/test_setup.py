"""What a recipe says of a training, where the task has no place for it."""

import dataclasses

import pytest
from example_info import INFO

from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training.setup import complete_recipe

_CHOICES = UserChoices(architecture="separable")


def _recipe(**training: Setting) -> Recipe:
    data = {"class_weights": None, "primary_metric": "map"}
    held = {name: Setting(value, "test") for name, value in data.items()}
    return Recipe({"data": held, "training": training})


@pytest.mark.parametrize(
    ("task", "value"), [("detection", 0.0), ("instance_segmentation", 0.0), ("multiclass", 0.1)]
)
def test_labels_are_smoothed_where_the_loss_has_labels(task: str, value: float) -> None:
    info = dataclasses.replace(INFO, task=task)
    earlier = Setting(0.1, "of an earlier run", source="default")
    for recipe in (_recipe(), _recipe(label_smoothing=earlier)):
        made = complete_recipe(recipe, info, _CHOICES)
        assert made.value("training", "label_smoothing") == value


def test_smoothing_that_a_user_wants_and_the_loss_does_not_know_is_refused() -> None:
    info = dataclasses.replace(INFO, task="detection")
    wanted = _recipe(label_smoothing=Setting(0.2, "mine", source="user"))
    with pytest.raises(ValueError, match=r"`label_smoothing` must be 0 .*detection.*Received: 0.2"):
        complete_recipe(wanted, info, _CHOICES)
