"""The whole stage on a small store with planted faults, and its files read back."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kfp_vision.components.data_profiling.component import check_profile, profile_dataset
from kfp_vision.components.data_profiling.gate import check_findings
from kfp_vision.components.data_profiling.profile import (
    ProfileConfig,
    profile_images,
)
from kfp_vision.components.shared.artifacts.cost import StageCost
from kfp_vision.components.shared.artifacts.data_profile import Profile
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.datasets.near_duplicates import (
    NEAR_DUPLICATES_FILE,
    SIGNATURE_BYTES,
    image_signature,
    near_duplicate_groups,
)
from kfp_vision.components.shared.datasets.store import SplitWriter, encode_raw, open_split
from kfp_vision.components.shared.recipe.budget import with_budget
from kfp_vision.components.shared.recipe.document import Recipe, Setting, read_recipe, write_recipe
from kfp_vision.components.shared.report.records import read_stages

CLASSES = ["<b>cat</b>", "naïve dog"]
SPLITS = {"train": 240, "validation": 110, "test": 110}


def write_store(folder: Path, labels_of: dict[str, list[list[int]]], task: str) -> Path:
    """Writes noise images; the first test images are copies of the first training images."""
    folder.mkdir()
    random = np.random.default_rng(0)
    train = random.integers(0, 256, (SPLITS["train"], 20, 24, 3), np.uint8)
    for split, labels in labels_of.items():
        with SplitWriter(folder, split) as writer:
            for index, row_labels in enumerate(labels):
                pixels = random.integers(0, 256, (20, 24, 3), np.uint8)
                if split == "train" or (split == "test" and index < 4):
                    pixels = train[index]
                image = encode_raw(pixels)
                writer.write(
                    {
                        "image": image,
                        "encoding": "raw",
                        "height": 20,
                        "width": 24,
                        "channels": 3,
                        "labels": row_labels,
                        "path": f"{split}/{index}.png",
                        "sha256": hashlib.sha256(image).digest(),
                        "signature": image_signature(pixels),
                    }
                )
    splits = {split: len(labels) for split, labels in labels_of.items()}
    origin = dict.fromkeys(splits, "given")
    info = DatasetInfo(task, CLASSES, splits, 3, 20, 24, "0" * 64, "data", "npz", origin, {}, [])
    write_json(info, folder / "dataset.json")
    tables = [open_split(folder, split)["signature"] for split in info.splits]
    signatures = np.frombuffer(b"".join(row.as_py() for table in tables for row in table), np.uint8)
    groups = near_duplicate_groups(signatures.reshape(-1, SIGNATURE_BYTES))
    np.save(folder / NEAR_DUPLICATES_FILE, groups)
    return folder


def labels(rare_every: int) -> dict[str, list[list[int]]]:
    return {
        split: [[int(index % rare_every == 0)] for index in range(count)]
        for split, count in SPLITS.items()
    }


@pytest.fixture(scope="module")
def imbalanced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("data") / "imbalanced", labels(8), "binary")


def test_files_hold_what_was_planted(imbalanced: Path, tmp_path: Path) -> None:
    returned = profile_images(imbalanced, Recipe(), tmp_path, ProfileConfig())
    profile = read_json(Profile, tmp_path / "profile.json")
    assert profile == returned
    assert profile.class_counts["train"] == {"<b>cat</b>": 210, "naïve dog": 30}
    assert profile.figures["imbalance_ratio"] == 7.0
    assert profile.figures["label_entropy_bits"] == pytest.approx(0.544, abs=1e-3)
    assert profile.figures["compressed_bits_per_pixel"] == pytest.approx(24, rel=0.1)
    assert [(f.code, f.level) for f in profile.findings] == [
        ("leakage_exact", "fail"),
        ("imbalance", "warn"),
    ]
    leaked = profile.findings[0]
    assert [example.path for example in leaked.examples[:2]] == ["test/0.png", "train/0.png"]
    assert leaked.examples[0].thumbnail == leaked.examples[1].thumbnail
    assert sum(profile.histograms["intensity"].counts) == 240 * 20 * 24
    cost = read_json(StageCost, tmp_path / "cost.json")
    assert (cost.name, cost.images_seen) == ("profile_dataset", 240)


def test_the_page_needs_no_network_and_escapes_names(imbalanced: Path, tmp_path: Path) -> None:
    profile_images(imbalanced, Recipe(), tmp_path, ProfileConfig())
    page = (tmp_path / "profile.html").read_text(encoding="utf-8")
    assert "<b>cat</b>" not in page
    assert "&lt;b&gt;cat&lt;/b&gt;" in page
    sources = re.findall(r'(?:src|href)="([^"]{5})', page)
    assert set(sources) == {"data:", "#data", "#reci"}
    assert "leakage_exact" in page


@pytest.mark.parametrize(
    ("rare_every", "task", "is_weighted", "metric"),
    [
        (8, "binary", True, "balanced_accuracy"),
        (3, "binary", False, "accuracy"),
        (8, "multilabel", False, "mean_average_precision"),
    ],
)
def test_imbalance_is_acted_on(
    rare_every: int, task: str, is_weighted: bool, metric: str, tmp_path: Path
) -> None:
    dataset = write_store(tmp_path / "data", labels(rare_every), task)
    profile_images(dataset, Recipe(), tmp_path / "out", ProfileConfig())
    recipe = read_recipe(tmp_path / "out/recipe.json")
    weights = recipe.value("data", "class_weights")
    assert (weights is not None) == is_weighted
    if is_weighted:
        assert np.dot(weights, [210, 30]) / 240 == pytest.approx(1.0, abs=1e-5)
        assert weights[1] / weights[0] == pytest.approx(7.0, rel=0.02)
    assert recipe.value("data", "primary_metric") == metric
    setting = recipe.get("data", "class_weights")
    assert setting is not None
    assert setting.evidence["train_counts"].keys() == set(CLASSES)


def test_what_the_user_set_stays(imbalanced: Path, tmp_path: Path) -> None:
    user = Recipe().with_settings("data", {"class_weights": Setting(None, "user", {}, "user")})
    profile_images(imbalanced, user, tmp_path, ProfileConfig())
    recipe = read_recipe(tmp_path / "recipe.json")
    setting = recipe.get("data", "class_weights")
    assert setting is not None
    assert setting.source == "user"
    assert recipe.value("data", "primary_metric") == "accuracy"


@pytest.mark.parametrize(
    ("share_of_second", "wanted", "positive", "train_share", "source"),
    [
        (0.125, "", "naïve dog", 0.125, "default"),
        (0.875, "", "<b>cat</b>", 0.125, "default"),
        # Equally many: the second.
        (0.5, "", "naïve dog", 0.5, "default"),
        (0.125, "<b>cat</b>", "<b>cat</b>", 0.875, "user"),
    ],
)
def test_the_rarer_class_is_positive_unless_the_user_names_one(
    share_of_second: float,
    wanted: str,
    positive: str,
    train_share: float,
    source: str,
    tmp_path: Path,
) -> None:
    planted = {
        split: [[int(index % 8 < 8 * share_of_second)] for index in range(count)]
        for split, count in SPLITS.items()
    }
    dataset = write_store(tmp_path / "data", planted, "binary")
    profile_images(dataset, Recipe(), tmp_path / "out", ProfileConfig(positive_class=wanted))
    setting = read_recipe(tmp_path / "out/recipe.json").sections["data"]["positive_class"]
    assert (setting.value, setting.source) == (positive, source)
    assert setting.evidence["train_share"] == pytest.approx(train_share, abs=1e-6)


def test_the_positive_class_of_a_recipe_stays_where_it_is_the_user_s(
    imbalanced: Path, tmp_path: Path
) -> None:
    by_hand = Setting("<b>cat</b>", "of another run", source="user")
    for held in (by_hand, dataclasses.replace(by_hand, source="default")):
        recipe = Recipe().with_settings("data", {"positive_class": held})
        profile_images(imbalanced, recipe, tmp_path / held.source, ProfileConfig())
        setting = read_recipe(tmp_path / held.source / "recipe.json").get("data", "positive_class")
        assert setting is not None
        assert setting.source == held.source
        assert setting.value == ("<b>cat</b>" if held is by_hand else "naïve dog")


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("binary", r"be one of the classes \['<b>cat</b>', 'naïve dog'\]. Received: 'bird'"),
        ("multilabel", "not be set for a multilabel task.*Received: 'bird'"),
    ],
)
def test_a_positive_class_that_is_none_is_refused(task: str, message: str, tmp_path: Path) -> None:
    dataset = write_store(tmp_path / "data", labels(8), task)
    with pytest.raises(ValueError, match=f"`positive_class` must {message}"):
        profile_images(dataset, Recipe(), tmp_path / "out", ProfileConfig(positive_class="bird"))


def test_a_task_without_a_positive_class_forgets_that_of_another_run(tmp_path: Path) -> None:
    dataset = write_store(tmp_path / "data", labels(8), "multilabel")
    held = {"positive_class": Setting("bird", "the rarer class", {}, "default")}
    earlier = Recipe().with_settings("data", held)
    profile_images(dataset, earlier, tmp_path / "out", ProfileConfig())
    assert read_recipe(tmp_path / "out/recipe.json").value("data", "positive_class") is None


def test_weights_of_another_dataset_are_refused(imbalanced: Path, tmp_path: Path) -> None:
    user = Recipe().with_settings("data", {"class_weights": Setting([1, 1, 1], "", {}, "user")})
    with pytest.raises(ValueError, match="one number a class"):
        profile_images(imbalanced, user, tmp_path, ProfileConfig())


def test_the_gate_names_the_finding_and_how_to_accept_it(imbalanced: Path, tmp_path: Path) -> None:
    profile_images(imbalanced, Recipe(), tmp_path, ProfileConfig())
    with pytest.raises(ValueError, match="(?s)leakage_exact.*--accept-findings leakage_exact"):
        check_findings(tmp_path, [])
    check_findings(tmp_path, ["leakage_exact"])


def test_the_same_seed_gives_the_same_profile(imbalanced: Path, tmp_path: Path) -> None:
    config = ProfileConfig(sample_images=50, seed=3)
    for name in ("one", "two"):
        profile_images(imbalanced, Recipe(), tmp_path / name, config)
    assert (tmp_path / "one/profile.json").read_bytes() == (
        tmp_path / "two/profile.json"
    ).read_bytes()


@pytest.mark.parametrize("change", [{"sample_images": 0}, {"beta": 1.0}, {"thumbnails": (-1, 1)}])
def test_nonsense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Received"):
        ProfileConfig(**change)


def test_components_warm_start_and_gate(
    imbalanced: Path, divided: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    learned = {"batch_size": Setting(64, "measured")}
    write_recipe(Recipe().with_settings("training", learned), tmp_path / "earlier.json")
    logged: dict[str, Any] = {}
    profile = SimpleNamespace(path=str(tmp_path / "profile"), uri="gs://bucket/profile")
    Path(profile.path).mkdir()
    profile_dataset.python_func(
        **divided(imbalanced, "train", "validation", "test", "unlabeled"),
        profile=profile,
        page=SimpleNamespace(path=str(tmp_path / "page.html")),
        metrics=SimpleNamespace(log_metric=logged.__setitem__),
        recipe_uri=str(tmp_path / "earlier.json"),
        architecture="auto",
        epochs=0,
        positive_class="",
        preset="fast",
        max_minutes=0.0,
        cost_multiple=2.5,
        use_validation_for_training=True,
        pretrain="never",
        self_train="never",
        distill="always",
        teachers=3,
        deploy="ensemble",
    )
    recipe = json.loads((tmp_path / "profile/recipe.json").read_text())
    assert set(recipe["sections"]) == {"training", "budget", "data"}
    assert recipe["sections"]["budget"]["cost_multiple"]["value"] == 2.5
    assert recipe["sections"]["data"]["use_validation_for_training"]["source"] == "user"
    assert recipe["sections"]["data"]["self_train"]["value"] == "never"
    assert recipe["sections"]["data"]["teachers"]["value"] == 3
    assert recipe["sections"]["data"]["deploy"]["source"] == "user"
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert logged["imbalance_ratio"] == 7.0
    (record,) = read_stages(tmp_path / "profile")
    assert (record.artifact, record.uri) == ("profile", "gs://bucket/profile")
    with pytest.raises(ValueError, match="leakage_exact"):
        check_profile.python_func(profile=profile, accept_findings="")
    check_profile.python_func(profile=profile, accept_findings="leakage_exact, one_class")


def test_the_plan_counts_the_epochs_of_the_run(imbalanced: Path, tmp_path: Path) -> None:
    recipe = with_budget(Recipe(), "fast", 60)
    seconds = {}
    # All have twenty evaluations, which take more of the steps than the least share.
    for epochs in (14, 20, 0):
        config = ProfileConfig(architecture="separable", epochs=epochs)
        profile_images(imbalanced, recipe, tmp_path / str(epochs), config)
        summary = json.loads((tmp_path / str(epochs) / "stage_report.json").read_text())["summary"]
        seconds[epochs] = summary["plan"]["stages"]["train"]
        assert read_recipe(tmp_path / str(epochs) / "recipe.json").get("training", "epochs") is None
    images = SPLITS["train"]
    measured = (
        (seconds[20] - seconds[14]) / (6 * images),
        (seconds[0] - seconds[14]) / (11 * images),
    )
    assert measured[0] == pytest.approx(measured[1], rel=0.01)
