"""The recipe that a pretraining on digits starts from."""

from typing import Any

from kfp_vision.components.shared.recipe.document import Recipe, Setting


def recipe_for(model: str, **data: Any) -> Recipe:
    """Returns what the stages before say of digits; `data` replaces settings of that section."""
    values = {
        "class_weights": None,
        "primary_metric": "accuracy",
        "positive_class": None,
        "use_validation_for_training": False,
        "pretrain": "auto",
        "self_train": "never",
        "distill": "never",
        **data,
    }
    users = {"architecture": model, "initial_weights": "random"}
    lengths = {"epochs": 40, "batch_size": 32}
    return Recipe(
        {
            "data": {name: Setting(value, "test") for name, value in values.items()},
            "model": {name: Setting(value, "test", source="user") for name, value in users.items()},
            "training": {
                name: Setting(value, "test", source="user") for name, value in lengths.items()
            },
        }
    )
