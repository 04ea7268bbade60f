"""How often a training is evaluated, and that a plan counts the same."""

import pytest
from example_info import INFO

from kfp_vision.components.shared.recipe.budget import with_budget
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.evaluations import (
    FORWARD_SHARE,
    evaluated_images,
    evaluation_share,
    evaluations_of,
)
from kfp_vision.components.shared.recipe.stage_times import plan_stages


@pytest.mark.parametrize("num_images", [100, 1_000, 60_000])
def test_evaluations_take_half_of_what_the_steps_take_at_most(num_images):
    # A tenth for validation; statistics of 32 batches of 64 images at most. A fifth of a step each.
    evaluated = evaluated_images(num_images, num_images // 10, 64, True)
    counts = [evaluations_of(epochs * num_images, evaluated) for epochs in (1, 2, 4, 25)]
    assert counts == sorted(counts)
    assert counts[-1] == 20
    for epochs, count in zip((1, 2, 4, 25), counts, strict=True):
        assert count == 3 or count * evaluated / 5 <= epochs * num_images / 2


@pytest.mark.parametrize("passes", [0.1, 1, 2, 4, 25])
@pytest.mark.parametrize("momentum", [0.0, 0.99])
def test_a_plan_has_time_for_the_evaluations_of_a_training(passes, momentum):
    images, validation = INFO.splits["train"], INFO.splits["validation"]
    training = {"batch_size": Setting(50, ""), "ema_momentum": Setting(momentum, "")}
    recipe = with_budget(Recipe({"training": training}), "fast", 600)
    learned = passes * images
    made = plan_stages(recipe, [], INFO, learned, 1e-2, 0.0)
    evaluated = evaluated_images(images, validation, 50, momentum > 0)
    evaluations_s = evaluations_of(learned, evaluated) * evaluated * FORWARD_SHARE * 1e-2
    assert made is not None
    assert made.stages["train"] >= learned * 1e-2 + evaluations_s - 1e-6
    assert made.image_s == pytest.approx(1e-2 * (1 + evaluation_share(recipe, INFO, learned)))


def test_a_plan_has_time_for_checkpoints_where_evaluations_take_none():
    assert evaluation_share(Recipe(), INFO, 1e9) == pytest.approx(1 / 6)
    assert evaluation_share(Recipe(), INFO, 0) == pytest.approx(1 / 6)
