"""Which networks are trained beside a model, and by which recipe."""

from pathlib import Path

from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training.setup import complete_recipe
from kfp_vision.components.teachers.members import PlannedMember, plan_members


def planned_beside(folder: Path, architecture: str, number: int) -> list[PlannedMember]:
    info = read_json(DatasetInfo, folder / "dataset.json")
    values = {"class_weights": None, "primary_metric": "accuracy", "positive_class": None}
    start = Recipe({"data": {name: Setting(value, "test") for name, value in values.items()}})
    recipe = complete_recipe(start, info, UserChoices(architecture=architecture, epochs=99))
    return plan_members(recipe, info, number, seed=7)


def test_the_first_teacher_of_a_network_from_scratch_is_a_pretrained_one(digits_dir):
    planned = planned_beside(digits_dir, "separable", 5)
    kinds = ["pretrained", "seed", "larger", "bootstrap", "boosted"]
    assert [each.kind for each in planned] == kinds
    assert [each.seed for each in planned] == [8, 9, 10, 11, 12]
    architectures = [each.recipe.value("model", "architecture") for each in planned]
    same = "separable"
    assert architectures == ["efficientnet_lite0_imagenet", same, "resnet20", same, same]
    # The middle one of 32, 48 and 64 pixels.
    assert planned[0].recipe.value("model", "image_size") == [48, 48]
    # What the user has set is for the model: other networks have their own rates and lengths.
    epochs = [each.recipe.value("training", "epochs") for each in planned]
    assert epochs == [72, 99, 25, 99, 99]
    assert planned[0].recipe.value("training", "learning_rate") < planned[1].recipe.value(
        "training", "learning_rate"
    )


def test_beside_a_pretrained_network_are_others_like_it(digits_dir):
    planned = planned_beside(digits_dir, "efficientnet_lite2_imagenet", 2)
    assert [each.kind for each in planned] == ["seed", "bootstrap"]
    assert {each.recipe.value("model", "trainable") for each in planned} == {"all"}


def test_a_model_file_has_no_larger_one(digits_dir, small_model):
    planned = planned_beside(digits_dir, small_model, 5)
    assert [each.kind for each in planned] == [
        "pretrained",
        "seed",
        "bootstrap",
        "boosted",
        "seed",
    ]
