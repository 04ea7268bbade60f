"""Sets from which nothing can be learned: named before the training, and never a crash or a NaN."""

import hashlib
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from kfp_vision.components.data_profiling.data_settings import with_data_settings
from kfp_vision.components.data_profiling.gate import check_findings
from kfp_vision.components.data_profiling.profile import (
    ProfileConfig,
    profile_images,
)
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import write_json
from kfp_vision.components.shared.datasets.near_duplicates import (
    NEAR_DUPLICATES_FILE,
    SIGNATURE_BYTES,
    image_signature,
    join_copies,
    near_duplicate_groups,
)
from kfp_vision.components.shared.datasets.store import SplitWriter, encode_raw, open_split
from kfp_vision.components.shared.recipe.document import Recipe, Setting

Rows = list[tuple[np.ndarray, list[int]]]
CLASSES = ["a", "b", "c"]
NOISE = np.random.default_rng(0).integers(0, 256, (600, 16, 16, 3), np.uint8)


def noise(count: int, first: int = 0, labels: tuple[int, ...] = (0, 1)) -> Rows:
    return [(NOISE[first + row], [labels[row % len(labels)]]) for row in range(count)]


def flat(count: int, size: int = 16) -> Rows:
    levels = np.random.default_rng(1).integers(0, 256, (count, 1, 1, 3))
    ones = np.ones((size, size, 3), np.uint8)
    return [((level * ones).astype(np.uint8), [row % 2]) for row, level in enumerate(levels)]


def relabelled(rows: Rows, labels: list[int]) -> Rows:
    return [(pixels, labels) for pixels, _ in rows]


def scene(count: int) -> Rows:
    """Frames of one scene: the same smooth picture with a little noise."""
    smooth = np.add.outer(np.arange(16) * 8, np.arange(16) * 4)[..., None] * np.ones(3)
    frames = smooth + np.random.default_rng(2).normal(size=(count, 16, 16, 3))
    return [(frame.clip(0, 255).astype(np.uint8), [row % 2]) for row, frame in enumerate(frames)]


TRAIN, VALIDATION, TEST = noise(120), noise(60, 120), noise(60, 180)
GOOD = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
ONE = relabelled(noise(60, 240), [0])

# Name -> (task, splits, the findings that stop it).
CASES: dict[str, tuple[str, dict[str, Rows], set[str]]] = {
    "test of one class": ("binary", {**GOOD, "test": ONE}, {"test_one_class", "class_not_in_test"}),
    "test of two images": ("binary", {**GOOD, "test": TEST[:2]}, {"test_too_small"}),
    "test of one image": (
        "binary",
        {**GOOD, "test": TEST[:1]},
        {"test_too_small", "class_not_in_test"},
    ),
    "no test": ("binary", {"train": TRAIN, "validation": VALIDATION}, {"missing_split"}),
    "only train": ("binary", {"train": TRAIN[:4]}, {"missing_split"}),
    "validation of one class": (
        "binary",
        {**GOOD, "validation": ONE},
        {"validation_one_class", "class_not_in_validation"},
    ),
    "validation of one image": (
        "binary",
        {**GOOD, "validation": VALIDATION[:1]},
        {"validation_too_small", "class_not_in_validation"},
    ),
    "class only in test": (
        "multiclass",
        {**GOOD, "test": noise(60, 180, (0, 1, 2))},
        {"class_not_in_train"},
    ),
    "class only in validation": (
        "multiclass",
        {**GOOD, "validation": noise(60, 120, (0, 1, 2))},
        {"class_not_in_train"},
    ),
    "class only unlabelled": (
        "multiclass",
        {**GOOD, "unlabeled": relabelled(noise(10, 300), [2])},
        set(),
    ),
    "class nowhere in test": (
        "multiclass",
        {**GOOD, "train": noise(120, 0, (0, 1, 2)), "validation": noise(60, 120, (0, 1, 2))},
        {"class_not_in_test"},
    ),
    "train smaller than classes": (
        "multiclass",
        {**GOOD, "train": TRAIN[:2], "test": noise(60, 180, (0, 1, 2))},
        {"class_not_in_train"},
    ),
    "train of one image": (
        "binary",
        {**GOOD, "train": TRAIN[:1]},
        {"one_class", "identical_images", "class_not_in_train"},
    ),
    "one class": (
        "binary",
        {name: relabelled(rows, [0]) for name, rows in GOOD.items()},
        {"one_class", "test_one_class", "validation_one_class"},
    ),
    "all images constant": (
        "binary",
        {"train": flat(120), "validation": flat(60), "test": flat(60)},
        {"constant_images", "leakage_exact"},
    ),
    "all images of one pixel": (
        "binary",
        {"train": flat(120, 1), "validation": flat(200, 1)[120:160], "test": flat(240, 1)[200:]},
        {"constant_images"},
    ),
    "all images black": (
        "binary",
        {name: [(0 * pixels, labels) for pixels, labels in rows] for name, rows in GOOD.items()},
        {
            "constant_images",
            "identical_images",
            "few_distinct_images",
            "leakage_exact",
            "conflicting_labels",
        },
    ),
    "all labels conflicting": (
        "binary",
        {**GOOD, "train": [(NOISE[row // 2], [row % 2]) for row in range(120)]},
        {"conflicting_labels"},
    ),
    "test copied from train": ("binary", {**GOOD, "test": TRAIN[:60]}, {"leakage_exact"}),
    "test of one scene": ("binary", {**GOOD, "test": scene(60)}, {"few_distinct_images"}),
    "label always on": (
        "multilabel",
        {name: [(p, [0, 1] if k[0] else [0]) for p, k in rows] for name, rows in GOOD.items()},
        set(),
    ),
    "label always on in train": (
        "multilabel",
        {**GOOD, "train": [(pixels, [0, *labels]) for pixels, labels in noise(120, 0, (1, 2))]},
        {"label_in_every_image", "class_not_in_test", "class_not_in_validation"},
    ),
    "no label in test": (
        "multilabel",
        {**GOOD, "test": relabelled(TEST, [])},
        {"test_one_class", "class_not_in_test"},
    ),
    "no label at all": (
        "multilabel",
        {name: relabelled(rows, []) for name, rows in GOOD.items()},
        {"one_class", "test_one_class", "validation_one_class"},
    ),
}


def write_store(folder: Path, task: str, splits: dict[str, Rows]) -> Path:
    folder.mkdir()
    for split, rows in splits.items():
        with SplitWriter(folder, split) as writer:
            for index, (pixels, labels) in enumerate(rows):
                height, width, channels = pixels.shape
                image = encode_raw(pixels)
                writer.write(
                    {
                        "image": image,
                        "encoding": "raw",
                        "height": height,
                        "width": width,
                        "channels": channels,
                        "labels": labels,
                        "path": f"{split}/{index}.png",
                        "sha256": hashlib.sha256(image).digest(),
                        "signature": image_signature(pixels),
                    }
                )
    sizes = {split: len(rows) for split, rows in splits.items()}
    side = splits["train"][0][0].shape[0]
    origin = dict.fromkeys(sizes, "given")
    classes = CLASSES if task != "binary" else CLASSES[:2]
    info = DatasetInfo(task, classes, sizes, 3, side, side, "0" * 64, "d", "npz", origin, {}, [])
    write_json(info, folder / "dataset.json")
    tables = [open_split(folder, split) for split in info.splits]
    signatures, digests = (
        np.array([row for table in tables for row in table[name].to_pylist()], f"V{size}")
        for name, size in (("signature", SIGNATURE_BYTES), ("sha256", 32))
    )
    near = near_duplicate_groups(signatures.view(np.uint8).reshape(-1, SIGNATURE_BYTES))
    np.save(folder / NEAR_DUPLICATES_FILE, join_copies(near, digests))
    return folder


@pytest.mark.parametrize("case", CASES)
def test_the_profile_says_what_stops_the_training(case: str, tmp_path: Path) -> None:
    task, splits, expected = CASES[case]
    dataset = write_store(tmp_path / "data", task, splits)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # A division by zero is one.
        profile = profile_images(dataset, Recipe(), tmp_path / "out", ProfileConfig())
    stopping = {found.code for found in profile.findings if found.level == "fail"}
    assert stopping == expected
    # JSON has no NaN, and a page says nothing of one.
    json.loads((tmp_path / "out/profile.json").read_text(), parse_constant=pytest.fail)
    page = (tmp_path / "out/profile.html").read_text(encoding="utf-8")
    assert not re.search(r"\b(nan|NaN|inf|None)\b", page)
    if not expected:
        check_findings(tmp_path / "out", [])
        return
    with pytest.raises(ValueError, match="no finding of level `fail`") as raised:
        check_findings(tmp_path / "out", [])
    final = {found.code for found in profile.findings if not found.acceptable}
    assert ("--accept-findings" in str(raised.value)) == (not final)
    if final:
        with pytest.raises(ValueError, match="cannot be accepted"):
            check_findings(tmp_path / "out", sorted(stopping))
    else:
        check_findings(tmp_path / "out", sorted(stopping))


@pytest.mark.parametrize(
    ("task", "metric"), [("binary", "f1"), ("multilabel", "accuracy"), ("binary", "ece")]
)
def test_a_primary_metric_that_nothing_measures_is_refused(
    task: str, metric: str, tmp_path: Path
) -> None:
    dataset = write_store(tmp_path / "data", task, GOOD)
    user = Recipe().with_settings("data", {"primary_metric": Setting(metric, "", {}, "user")})
    with pytest.raises(ValueError, match=f"(?s)primary_metric.*Received: '{metric}'"):
        profile_images(dataset, user, tmp_path / "out", ProfileConfig())


@pytest.mark.parametrize(
    ("rows", "words"),
    [(TRAIN[:1], "There is only one"), (TRAIN[:1] * 5, "All 5 have the same pixels")],
)
def test_one_image_is_not_called_many_copies(rows: Rows, words: str, tmp_path: Path) -> None:
    dataset = write_store(tmp_path / "data", "binary", {**GOOD, "train": rows})
    profile = profile_images(dataset, Recipe(), tmp_path / "out", ProfileConfig())
    (found,) = [each for each in profile.findings if each.code == "identical_images"]
    assert words in found.message
    # Where no picture is beside it, the file is named.
    assert found.text.endswith(f"See {found.examples[0].path}.") == (len(rows) == 1)
    with pytest.raises(ValueError, match=re.escape(found.text)):
        check_findings(tmp_path / "out", [])


@pytest.mark.parametrize(
    ("task", "name", "value", "words"),
    [
        ("detection", "teachers", 2, "must be left out for a detection task.*Received: 2"),
        ("detection", "distill", "always", "must be left out.*Received: 'always'"),
        ("detection", "class_weights", [1.0, 2.0], "must be null for a detection task"),
        ("binary", "distill", "alway", r"must be one of .*never.*Received: 'alway'"),
        ("binary", "teachers", -1, "must be .*from 0 on. Received: -1"),
        ("binary", "deploy", "both", "must be one of .*Received: 'both'"),
    ],
)
def test_what_a_recipe_says_and_the_task_cannot_do_is_refused_before_a_training(
    task: str, name: str, value: object, words: str
) -> None:
    user = Recipe().with_settings("data", {name: Setting(value, "", {}, "user")})
    given = {"pretrain": "auto", "self_train": "auto", "distill": "auto"}
    with pytest.raises(ValueError, match=f"`data.{name}` of the recipe {words}"):
        with_data_settings(
            user,
            task,
            ["a", "b"],
            np.array([5, 5]),
            0.9,
            "",
            use_validation_for_training=False,
            teachers=0,
            deploy="model",
            **given,
        )
