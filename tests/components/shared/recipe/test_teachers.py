"""When networks are trained beside the model, how many, and what that takes of the time."""

from typing import Any

import pytest

from kfp_vision.components.shared.recipe.distilled import why_no_distillation
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.teachers import (
    count_teachers,
    large_networks,
    teacher_images,
    why_no_teachers,
)


def recipe(architecture: str = "separable", source: Any = "user", **data: Any) -> Recipe:
    values = {"distill": "auto", "teachers": 0, "deploy": "model", **data}
    return Recipe(
        {
            "data": {name: Setting(value, "test") for name, value in values.items()},
            "model": {"architecture": Setting(architecture, "test", source=source)},
        }
    )


@pytest.mark.parametrize(
    ("given", "count", "reason"),
    [
        (recipe(), 1, ""),
        (recipe(source="learned"), 0, "the network was chosen among all"),
        (recipe(source="learned", distill="always"), 1, ""),
        (recipe("efficientnet_lite0_imagenet"), 0, "pretrained weights"),
        (recipe("efficientnet_lite0_imagenet", distill="always"), 0, "pretrained weights"),
        (recipe(distill="never"), 0, "`distill` is `never`"),
        (recipe(distill="never", teachers=4), 4, ""),
        (recipe(source="learned", deploy="ensemble"), 2, ""),
        (recipe(deploy="ensemble", teachers=1), 1, ""),
        (recipe(teachers=2, use_validation_for_training=True), 2, "leaves no images"),
    ],
)
def test_when_there_are_teachers(given, count, reason):
    assert count_teachers(given) == count
    assert reason in why_no_teachers(given)
    assert bool(reason) == bool(why_no_teachers(given))
    assert teacher_images(given, 100.0) == (0 if reason else 200 * count)


@pytest.mark.parametrize(
    ("given", "count"),
    [
        (recipe(), 0),
        (recipe(teachers=3), 0),
        (recipe(deploy="ensemble"), 1),
        (recipe(deploy="ensemble", teachers=4), 1),
        (recipe(deploy="ensemble", use_validation_for_training=True), 0),
        (recipe("efficientnet_lite0_imagenet"), 1),
        (recipe("efficientnet_lite0_imagenet", deploy="ensemble"), 3),
    ],
)
def test_how_many_networks_of_what_is_deployed_are_large(given, count):
    assert large_networks(given) == count


def test_an_ensemble_that_is_deployed_teaches_nobody():
    assert "`ensemble`" in why_no_distillation(recipe(deploy="ensemble", distill="always"))
