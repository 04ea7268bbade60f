"""Which augmentation policy of a recipe a training uses."""

from kfp_vision.components.shared.recipe.document import Recipe, Setting

__all__ = ["AUGMENTATION", "DEFAULT_POLICY", "POLICY", "policy_setting"]

AUGMENTATION = "augmentation"
# Of the user or a search; and what is used where neither has one.
POLICY, DEFAULT_POLICY = "policy", "default_policy"


def policy_setting(recipe: Recipe) -> Setting | None:
    """Returns the policy of the user or of a search or, where a search found none, the default.

    The value is that of `Policy.to_json`, or None for no augmentation.
    """
    held = recipe.get(AUGMENTATION, POLICY)
    if held is not None and (held.value is not None or held.source == "user"):
        return held
    return recipe.get(AUGMENTATION, DEFAULT_POLICY) or held
