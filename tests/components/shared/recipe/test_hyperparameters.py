"""What follows from what in a recipe, and what of a learned one is used again."""

from typing import Any

import pytest

from kfp_vision.components.shared.recipe.context import explain_dropped
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.hyperparameters import (
    SECTION,
    from_recipe,
    learn,
    resolve,
    training_facts,
)

_FACTS = {
    "data": "sixty thousand",
    "train_images": 60_000,
    "architecture": "separable",
    "image_size": [28, 28],
}
_LEARNED = {
    "batch_size": Setting(256, "probe"),
    "learning_rate": Setting(0.012, "probe"),
    "noise_scale": Setting(400.0, "probe"),
    "epochs": Setting(10, "probe"),
    "dropout": Setting(0.4, "search"),
    "jit_compile": Setting(True, "probe"),
}


def _learned() -> Recipe:
    """A recipe that was learned on 60,000 images, weight decay after the rate."""
    recipe = learn(resolve(Recipe(), {}, 60_000, _FACTS), SECTION, _LEARNED, _FACTS)
    recipe = resolve(recipe, {}, 60_000, _FACTS)
    return learn(recipe, SECTION, {"weight_decay": Setting(0.005, "probe")}, _FACTS)


def _values(recipe: Recipe, *names: str) -> tuple[Any, ...]:
    return tuple(recipe.value(SECTION, name) for name in names)


def _sources(recipe: Recipe) -> set[str]:
    return {name for name, held in recipe.sections[SECTION].items() if held.source == "learned"}


def test_defaults_follow_the_data() -> None:
    first = resolve(Recipe(), {}, 50_000)
    assert _values(first, "epochs", "batch_size", "steps") == (10, 64, round(10 * 50_000 / 64))
    second = resolve(first, {}, 1_000)
    assert _values(second, "epochs", "batch_size", "steps") == (25, 64, round(25 * 1_000 / 64))


@pytest.mark.parametrize(
    ("num_images", "epochs"),
    [(100, 400), (180, 400), (450, 160), (1_000, 72), (6_000, 12), (9_000, 12)],
)
def test_few_images_are_seen_more_often_by_a_pretrained_network(
    num_images: int, epochs: int
) -> None:
    pretrained = {"initial_weights": Setting("pretrained", "test")}
    recipe = resolve(Recipe().with_settings("model", pretrained), {}, num_images)
    batch_size, steps = _values(recipe, "batch_size", "steps")
    assert (recipe.value(SECTION, "epochs"), batch_size) == (epochs, min(32, num_images // 4))
    assert steps == round(epochs * num_images / batch_size)


@pytest.mark.parametrize(("batch_size", "steps"), [(64, 14_062), (1024, 879), (4096, 220)])
def test_the_warm_up_follows_the_steps_that_a_learned_batch_leaves(
    batch_size: int, steps: int
) -> None:
    """50,000 images and a batch of 4,096 had 219 steps and the 390 of warm-up of a batch of 64."""
    recipe = resolve(Recipe(), {"epochs": 18}, 50_000)
    batch = {"batch_size": Setting(batch_size, "probe")}
    recipe = resolve(learn(recipe, SECTION, batch, _FACTS), {}, 50_000, _FACTS)
    settings = from_recipe(recipe)
    assert (settings.steps, settings.batch_size) == (steps, batch_size)
    assert settings.warmup_steps == min(max(100, steps // 20), steps // 2)


def test_the_epochs_of_the_user_are_the_epochs_of_the_training() -> None:
    recipe = resolve(_learned(), {"epochs": 3}, 60_000, _FACTS)
    assert recipe.sections[SECTION]["epochs"].source == "user"
    steps, batch_size = _values(recipe, "steps", "batch_size")
    assert steps * batch_size / 60_000 == pytest.approx(3, rel=1 / steps)


def test_what_was_learned_here_stays() -> None:
    recipe = _learned()
    again = resolve(recipe, {}, 60_000, _FACTS)
    assert again == recipe
    assert explain_dropped(recipe, again, _FACTS | training_facts(again)) == []


_ALL = {*_LEARNED, "weight_decay"}
_OTHERS = {"data": "six hundred", "train_images": 600}


@pytest.mark.parametrize(
    ("facts", "overrides", "dropped", "words"),
    [
        (_OTHERS, {}, _ALL, "other data or another split (60000 training images, here 600)"),
        ({"data": "seed 1"}, {}, _ALL, "(60000 training images, here 60000)"),
        ({"architecture": "resnet20"}, {}, _ALL, "architecture (separable, here resnet20)"),
        ({"image_size": [32, 32]}, {}, _ALL, "image size ([28, 28], here [32, 32])"),
        ({}, {"optimizer": "sgd"}, _ALL, "optimizer (adamw, here sgd)"),
        (
            {},
            {"batch_size": 1024},
            {"batch_size", "learning_rate", "epochs", "weight_decay"},
            "batch size (256, here 1024)",
        ),
        (
            {},
            {"learning_rate": 0.1},
            {"learning_rate", "weight_decay"},
            "learning rate (0.012, here 0.1)",
        ),
        ({}, {"batch_size": 256, "learning_rate": 0.012}, {"batch_size", "learning_rate"}, None),
    ],
)
def test_what_was_learned_elsewhere_is_left_out_and_named(
    facts: dict[str, Any], overrides: dict[str, Any], dropped: set[str], words: str | None
) -> None:
    before, facts = _learned(), {**_FACTS, **facts}
    after = resolve(before, overrides, facts["train_images"], facts)
    assert _sources(after) == _ALL - dropped
    sentences = explain_dropped(before, after, facts | training_facts(after))
    # What the user replaces needs no excuse.
    named = dropped - {*overrides} if words else set()
    for name in named:
        (sentence,) = [each for each in sentences if each.startswith(f"`{name}` ")]
        assert words is not None
        assert words in sentence
    if words is None:
        assert sentences == []
    default = resolve(Recipe(), overrides, facts["train_images"], facts)
    for name in named:
        assert after.get(SECTION, name) == default.get(SECTION, name)


def test_ten_epochs_of_sixty_thousand_images_are_not_a_thousand_of_six_hundred() -> None:
    steps = {"steps": Setting(9375, "of an earlier version, which wrote no context")}
    before = Recipe().with_settings(SECTION, steps)
    facts = {**_FACTS, **_OTHERS}
    after = resolve(before, {}, 600, facts)
    assert _values(after, "epochs", "steps") == (25, round(25 * 600 / 64))
    (sentence,) = explain_dropped(before, after, facts)
    assert "`steps`" in sentence
    assert "does not say what it was learned on" in sentence


def _user(**settings: Any) -> Recipe:
    held = {name: Setting(value, "by hand", source="user") for name, value in settings.items()}
    return Recipe().with_settings(SECTION, held)


def test_what_the_user_has_set_stays_on_any_data() -> None:
    user = {"steps": 500, "warmup_steps": 7, "weight_decay": 0.3, "dropout": 0.1, "batch_size": 10}
    recipe = resolve(_user(**user), {}, 600, {**_FACTS, **_OTHERS})
    assert _values(recipe, *user) == tuple(user.values())
    # The epochs say what the steps are.
    assert recipe.value(SECTION, "epochs") == pytest.approx(500 * 10 / 600)


def test_the_epochs_of_the_run_replace_the_steps_of_its_recipe() -> None:
    recipe = resolve(_user(steps=500), {"epochs": 3, "batch_size": 10}, 600)
    assert _values(recipe, "epochs", "steps") == (3, 180)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 3, "steps": 100}, "must not set both `epochs` and `steps`"),
        ({"epochs": 1, "warmup_steps": 100}, r"`warmup_steps` must be in \[0, steps\)"),
        ({"batch_size": "many"}, "`batch_size` must be a positive number"),
        ({"learning_rate": -1.0}, "`learning_rate` must be a positive number"),
        ({"batch_size": True}, "`batch_size` must be a positive number"),
        ({"dropout": 1.0}, r"`dropout` must be a number in \[0, 1\)"),
        ({"jit_compile": 1}, "`jit_compile` must be true or false"),
        ({"bacth_size": 32}, "must be one of batch_size, .*Received: `bacth_size`"),
        ({"optimizer": "adagrad"}, "`optimizer` must be one of"),
    ],
)
def test_what_cannot_hold_is_refused_before_anything_runs(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        resolve(_user(**settings), {}, 600)
