"""The recipe of a fine-tuned network whose targets lie in the image."""

import dataclasses
import math
from pathlib import Path

import pytest

from kfp_vision.components.network_choice.candidates import line_up
from kfp_vision.components.network_choice.chosen import dense_recipe
from kfp_vision.components.shared.architectures.names import DEFAULT_PRETRAINED
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.policies import policy_setting
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training.setup import complete_recipe

_SHIFTS = {"translate_x", "translate_y"}


@pytest.mark.parametrize(
    ("names", "swaps", "epochs", "used"),
    [
        ([], [], math.inf, {*_SHIFTS, "horizontal_flip"}),
        (["nose", "left ear", "right ear"], [[1, 2]], math.inf, {*_SHIFTS, "horizontal_flip"}),
        # Whether the first is the left one of the second nobody has said.
        (["1", "2"], [], math.inf, _SHIFTS),
        ([], [], 9.0, set()),
    ],
)
def test_images_are_mirrored_where_there_is_time_and_keypoints_have_no_unknown_sides(
    names: list[str], swaps: list[list[int]], epochs: float, used: set[str], digits_dir: Path
) -> None:
    info = dataclasses.replace(
        read_json(DatasetInfo, digits_dir / "dataset.json"),
        task="keypoints" if names else "detection",
        keypoint_names=names,
        keypoint_swaps=swaps,
    )
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("map", "test")}
    tuned = line_up(info, DEFAULT_PRETRAINED, None, None).tuned
    given = UserChoices(architecture=DEFAULT_PRETRAINED)
    complete = complete_recipe(Recipe({"data": data}), info, given)
    policy = policy_setting(dense_recipe(complete, info, tuned, "test", epochs))
    operations = policy.value["always"] if policy else []
    assert {operation["transform"] for operation in operations} == used
