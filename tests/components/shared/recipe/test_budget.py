"""Whose budget holds, and what remains of it."""

import math

import pytest

from kfp_vision.components.shared.artifacts.cost import StageCost
from kfp_vision.components.shared.recipe.budget import (
    PRESETS,
    SECTION,
    is_users,
    remaining_seconds,
    with_budget,
)
from kfp_vision.components.shared.recipe.document import Recipe, Setting


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_a_default_and_what_is_given_is_the_users(preset):
    recipe = with_budget(Recipe(), preset)
    assert recipe.value(SECTION, "minutes") == PRESETS[preset].minutes
    assert recipe.value(SECTION, "cost_multiple") == PRESETS[preset].cost_multiple
    assert not is_users(recipe)
    given = with_budget(recipe, preset, max_minutes=1.5)
    assert given.value(SECTION, "minutes") == 1.5
    assert given.value(SECTION, "cost_multiple") == PRESETS[preset].cost_multiple
    assert is_users(given)


def test_the_recipes_user_goes_before_a_preset_and_the_runs_user_before_both():
    users = with_budget(Recipe(), "balanced", max_minutes=3.0)
    assert with_budget(users, "best").value(SECTION, "minutes") == 3.0
    assert with_budget(users, "best", max_minutes=5.0).value(SECTION, "minutes") == 5.0
    earlier = with_budget(Recipe(), "fast")
    assert with_budget(earlier, "best").value(SECTION, "minutes") == PRESETS["best"].minutes


@pytest.mark.parametrize("value", [0, -1, "ten", True, None, math.inf])
def test_a_recipe_of_no_minutes_is_refused(value):
    held = {"minutes": Setting(value, "edited", source="user")}
    with pytest.raises(ValueError, match="`minutes` of the budget must be a positive number"):
        with_budget(Recipe().with_settings(SECTION, held), "fast")


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="`preset` must be one of fast, balanced, best"):
        with_budget(Recipe(), "slow")


def test_what_remains_is_the_minutes_without_what_was_spent():
    recipe = with_budget(Recipe(), "fast", max_minutes=2.0)
    assert remaining_seconds(recipe, []) == 120
    spent = [StageCost("import", 30.0, 1), StageCost("profile", 50.0, 1)]
    assert remaining_seconds(recipe, spent) == 40
    assert remaining_seconds(recipe, [*spent, StageCost("probe", 90.0, 1)]) == 0
    assert remaining_seconds(Recipe(), spent) == math.inf
