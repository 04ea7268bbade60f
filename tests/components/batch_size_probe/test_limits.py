"""Sizes that no machine or no image allows are refused with both figures, before anything runs."""

import dataclasses
import resource
from pathlib import Path

import pytest

from kfp_vision.components.batch_size_probe.limits import check_memory
from kfp_vision.components.batch_size_probe.probe import ProbeConfig, probe_batch_size
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.recipe.document import Recipe, Setting, write_recipe
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training.setup import build_trainer, complete_recipe
from kfp_vision.components.shared.training.step_memory import least_memory_mib


@pytest.fixture
def recipe_path(tmp_path: Path) -> Path:
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("accuracy", "test")}
    write_recipe(Recipe().with_settings("data", data), tmp_path / "in.json")
    return tmp_path / "in.json"


def _held_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize("learn", [True, False])
@pytest.mark.parametrize("image_size", [4096, 257])
def test_images_are_not_enlarged_more_than_sixteen_times(
    learn: bool, image_size: int, digits_dir: Path, recipe_path: Path, tmp_path: Path
) -> None:
    before = _held_mib()
    config = ProbeConfig(image_size=image_size, learn=learn, epochs=170)
    with pytest.raises(ValueError, match=f"16 times.*{image_size}x{image_size}.*16x16 pixels"):
        probe_batch_size(digits_dir, recipe_path, tmp_path / "probe", config)
    assert _held_mib() < before + 500


def test_sixteen_times_is_allowed(digits_dir: Path, recipe_path: Path, tmp_path: Path) -> None:
    config = ProbeConfig(image_size=256, batch_size=2, learn=False)
    assert probe_batch_size(digits_dir, recipe_path, tmp_path / "probe", config).skipped


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (ProbeConfig(batch_size=2**22, learning_rate=0.01), r"`batch_size` 4194304"),
        (ProbeConfig(batch_size=2**22, epochs=170), r"`batch_size` 4194304"),
        (
            ProbeConfig(batch_size=2**18, image_size=256, architecture="resnet20", learn=False),
            r"256x256 for images of 16x16 pixels.*262144 and `architecture` resnet20",
        ),
    ],
)
def test_a_step_that_cannot_fit_is_refused_with_need_and_memory(
    config: ProbeConfig, said: str, digits_dir: Path, recipe_path: Path, tmp_path: Path
) -> None:
    before = _held_mib()
    with pytest.raises(MemoryError, match=said + r".*at least [\d,.]+ GiB, and [\d,.]+ GiB may be"):
        probe_batch_size(digits_dir, recipe_path, tmp_path / "probe", config)
    assert _held_mib() < before + 500


def test_what_needs_less_than_there_is_may_try(digits_dir: Path) -> None:
    info = read_json(DatasetInfo, digits_dir / "dataset.json")
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting("accuracy", "test")}
    recipe = complete_recipe(Recipe().with_settings("data", data), info, UserChoices())
    model = build_trainer(recipe, info, seed=0)[0].model
    need = least_memory_mib(model, 64)
    check_memory(recipe, info, model, 64, free_mib=1.01 * need)
    photographs = dataclasses.replace(info, median_height=3000, median_width=4000)
    with pytest.raises(MemoryError, match="16x16 for images of 3000x4000"):
        check_memory(recipe, photographs, model, 64, free_mib=0.99 * need)
