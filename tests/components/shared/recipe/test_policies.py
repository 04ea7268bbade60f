"""Which policy a training uses."""

import pytest

from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.policies import policy_setting

USERS = Setting({"by": "user"}, "by hand", source="user")
SEARCHED = Setting({"by": "search"}, "trials")
USERS_NONE, NONE_FOUND = Setting(None, "by hand", source="user"), Setting(None, "trials")
DEFAULT = Setting({"by": "default"}, "a short training")


@pytest.mark.parametrize(
    ("held", "used"),
    [
        ({}, None),
        ({"policy": SEARCHED}, SEARCHED),
        ({"policy": NONE_FOUND}, NONE_FOUND),
        ({"default_policy": DEFAULT}, DEFAULT),
        ({"policy": SEARCHED, "default_policy": DEFAULT}, SEARCHED),
        ({"policy": USERS, "default_policy": DEFAULT}, USERS),
        ({"policy": NONE_FOUND, "default_policy": DEFAULT}, DEFAULT),
        ({"policy": USERS_NONE, "default_policy": DEFAULT}, USERS_NONE),
    ],
)
def test_the_default_gives_way_to_the_user_and_to_what_a_search_has_found(held, used):
    assert policy_setting(Recipe({"augmentation": held})) is used
