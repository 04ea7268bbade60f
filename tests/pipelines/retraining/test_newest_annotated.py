"""The champion on newest images with boxes, masks and keypoints, from files of every format.

It is a constant: of the class `cell` there is one object, in the left half of every image.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from constant_model import write_constant_model
from PIL import Image

from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.components.shared.artifacts.source_files import source_files
from kfp_vision.components.shared.champions.history import Champions
from kfp_vision.components.shared.heads.mask_window import MASK_SIDE, window_points
from kfp_vision.components.shared.runtime.storage import upload
from kfp_vision.pipelines.retraining import newest_images
from kfp_vision.pipelines.retraining.decision import decide
from kfp_vision.pipelines.retraining.last_success import LastSuccess
from kfp_vision.pipelines.retraining.newest_images import measure_champion
from kfp_vision.pipelines.retraining.triggers import Triggers

HEIGHT, WIDTH = 8, 16
LEFT, RIGHT = (0, 0, 8, 8), (8, 0, 16, 8)
POINTS = ["top", "bottom"]
_NOW = datetime(2026, 11, 27, tzinfo=UTC)
# Of images of 4 x 8 pixels.
_FOUND = {
    "boxes": np.array([[[0, 0, 4, 4]]], np.float32),
    "scores": np.array([[0.9]], np.float32),
    "classes": np.array([[0]], np.float32),
}
_WINDOW = np.abs(window_points(np.array([-1.0, -1.0, 1.0, 1.0]), MASK_SIDE)[0]) < 1
_MASK = (_WINDOW * _WINDOW[:, None]).astype(np.float32)[None, None]
_KEYPOINTS = np.array([[[[2, 1, 0.9], [2, 3, 0.9]]]], np.float32)


def image(path):
    """Writes an image, once: one that is written again is another version."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (WIDTH, HEIGHT), 99).save(path)


def write_coco(root, shown, **extra):
    names = sorted({kind for kind, _ in shown.values()})
    document: dict[str, Any] = {"images": [], "annotations": []}
    keypoints = {"keypoints": extra["names"]} if "names" in extra else {}
    document["categories"] = [
        {"id": number, "name": name, **keypoints} for number, name in enumerate(names)
    ]
    for number, (name, (kind, box)) in enumerate(shown.items()):
        image(root / f"{name}.png")
        left, top, right, bottom = box
        document["images"].append(
            {"id": number, "file_name": f"{name}.png", "height": HEIGHT, "width": WIDTH}
        )
        held: dict[str, Any] = {"id": number, "image_id": number, "category_id": names.index(kind)}
        held["bbox"] = [left, top, right - left, bottom - top]
        if "outline" in extra:
            held["segmentation"] = [
                [left, top, right, top, right, bottom - 1, right - 1, bottom, left, bottom]
            ]
        if "names" in extra:
            held["keypoints"] = [left + 4, 2, 2, left + 4, 6, 2]
        document["annotations"].append(held)
    (root / "annotations.json").write_text(json.dumps(document))


def write_voc(root, shown):
    (root / "Annotations").mkdir(parents=True, exist_ok=True)
    for name, (kind, (left, top, right, bottom)) in shown.items():
        image(root / f"JPEGImages/{name}.png")
        sides = {"xmin": left + 1, "ymin": top + 1, "xmax": right, "ymax": bottom}
        box = "".join(f"<{side}>{value}</{side}>" for side, value in sides.items())
        text = f"<annotation><object><name>{kind}</name><bndbox>{box}</bndbox></object>"
        (root / f"Annotations/{name}.xml").write_text(f"{text}</annotation>")


def write_yolo(root, shown):
    names = sorted({kind for kind, _ in shown.values()})
    (root / "labels").mkdir(parents=True, exist_ok=True)
    for name, (kind, (left, _, right, _)) in shown.items():
        image(root / f"images/{name}.png")
        middle, width = (left + right) / 2 / WIDTH, (right - left) / WIDTH
        line = f"{names.index(kind)} {middle} 0.5 {width} 1\n"
        (root / f"labels/{name}.txt").write_text(line)
    (root / "data.yaml").write_text(json.dumps({"names": names, "train": "images"}))


def write_csv(root, shown):
    lines = ["path,xmin,ymin,xmax,ymax,label"]
    for name, (kind, box) in shown.items():
        image(root / f"{name}.png")
        lines.append(",".join([f"{name}.png", *map(str, box), kind]))
    (root / "boxes.csv").write_text("\n".join(lines))


def write_masks(root, shown):
    """Writes masks of a ground, class 0, with the object as class 1 or 2."""
    (root / "masks").mkdir(parents=True, exist_ok=True)
    for name, (kind, (left, _, right, _)) in shown.items():
        image(root / f"images/{name}.png")
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[:, left:right] = ["cell", "dot", "new"].index(kind) + 1
        Image.fromarray(mask).save(root / f"masks/{name}.png")
    (root / "classes.txt").write_text("ground\ncell\ndot\nnew\n")


FORMATS = {"coco": write_coco, "voc": write_voc, "yolo": write_yolo, "csv": write_csv}


def numbered(name, count, kind="cell", box=LEFT):
    return {f"{name}{number}": (kind, box) for number in range(count)}


# 20 images were learned; of the test one of 20 is wrong.
BEFORE = {**numbered("train", 20), **numbered("test", 19), "test19": ("cell", RIGHT)}


@pytest.fixture
def champion(tmp_path, crown):
    """Returns what writes a dataset with a champion, and what measures that."""
    root, files = tmp_path / "scenes", tmp_path / "files"
    root.mkdir()

    def start(write, task="detection", metric="map", classes=("cell", "dot"), before=None, **more):
        found = more.pop("found", _FOUND)
        card = ModelCard(task, [*classes], [4, 8], 1, **more)
        shown = before or BEFORE
        write(root, shown)
        write_constant_model(files / "model", found, card)
        tested = sorted(
            path.relative_to(root).as_posix()
            for path in root.rglob("test*.png")
            if "masks" not in path.parts
        )
        uri = crown(files, root, metric, {"path": tested})

        def measure(new, **changed):
            write(root, {**shown, **new}, **changed)
            return measure_champion(uri, str(root), "auto", "", False)

        return measure

    return start


def decision(score):
    """Returns what is decided where a tenth of the files is new, and half is asked for."""
    same = dict.fromkeys(("dataset_uri", "recipe_version", "architecture_version"), "")
    before, now = (
        source_files({**same, "dataset_version": version, "unlabeled_version": ""}, range(count))
        for version, count in (("1", 90), ("2", 100))
    )
    last = LastSuccess(_NOW - timedelta(days=1), before)
    triggers = Triggers(min_new_share=0.5, max_metric_drop=0.1)
    return decide(last, now, _NOW, triggers, Champions(), lambda: score)


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_objects_that_are_elsewhere_start_a_training(write, champion):
    measure = champion(write)
    assert measure({}) is None
    alike = measure(numbered("new", 10))
    assert (alike.metric, alike.newest, alike.num_images) == ("map", pytest.approx(1.0), 10)
    assert not decision(alike).train
    assert "10 images that it has not read" in decision(alike).reason
    worse = measure(numbered("new", 10) | numbered("other", 20, box=RIGHT))
    # The wrong ones have the same score as the right ones.
    assert 0.2 < worse.newest < 0.6
    assert worse.tested == alike.tested > 0.85
    assert decision(worse).train
    assert "on 20 of its test images" in decision(worse).reason


def test_masks_are_compared_pixel_by_pixel(champion):
    probabilities = np.zeros((1, 4, 8, 3), np.float32)
    probabilities[:, :, :4, 1] = probabilities[:, :, 4:, 0] = 1
    classes = ("ground", "cell", "dot")
    found = {"mask_probabilities": probabilities}
    measure = champion(write_masks, "semantic_segmentation", "mean_iou", classes, found=found)
    alike = measure(numbered("new", 10))
    assert (alike.newest, decision(alike).train) == (pytest.approx(1.0), False)
    assert alike.tested == pytest.approx(19 / 21)
    worse = measure(numbered("other", 20, box=RIGHT))
    assert worse.newest == pytest.approx(10 / 50)
    assert decision(worse).train
    assert measure(numbered("strange", 1, "new")).unknown == ["new"]


def test_masks_are_compared_at_their_own_size(champion):
    probabilities = np.zeros((1, 4, 8, 2), np.float32)
    probabilities[:, :, :4, 1] = probabilities[:, :, 4:, 0] = 1
    found = {"mask_probabilities": probabilities}
    classes = ("ground", "cell")
    measure = champion(write_masks, "semantic_segmentation", "mean_iou", classes, found=found)
    # Of eight columns that it finds, one is ground; at the size of the model, of four.
    narrow = measure(numbered("narrow", 10, box=(0, 0, 7, 8)))
    assert narrow.newest == pytest.approx((7 / 8 + 8 / 9) / 2)


@pytest.mark.parametrize(
    ("task", "metric", "found", "extra"),
    [
        ("instance_segmentation", "mask_map", {"masks": _MASK}, {"outline": True}),
        ("keypoints", "pck", {"keypoints": _KEYPOINTS}, {"names": POINTS}),
    ],
)
def test_outlines_and_keypoints_are_measured(task, metric, found, extra, champion):
    def write(root, shown):
        write_coco(root, shown, **extra)

    names = {"keypoint_names": POINTS} if "names" in extra else {}
    measure = champion(write, task, metric, found=_FOUND | found, **names)
    alike = measure(numbered("new", 10))
    assert (alike.newest, decision(alike).train) == (pytest.approx(1.0), False)
    worse = measure(numbered("other", 20, box=RIGHT))
    assert worse.newest < 0.5
    assert decision(worse).train


def test_a_class_that_the_champion_does_not_know_starts_a_training(champion):
    score = champion(write_coco)(numbered("new", 3, "bird"))
    assert score.unknown == ["bird"]
    assert decision(score).train


@pytest.mark.parametrize("has_masks", [False, True])
def test_classes_that_only_one_of_the_two_shows_are_left_out(has_masks, champion):
    """A champion that finds no dot is as good as before on images without one."""
    before = {**BEFORE, **numbered("test_dot", 10, "dot", RIGHT)}
    if has_masks:
        probabilities = np.zeros((1, 4, 8, 3), np.float32)
        probabilities[:, :, :4, 1] = probabilities[:, :, 4:, 0] = 1
        measure = champion(
            write_masks,
            "semantic_segmentation",
            "mean_iou",
            ("ground", "cell", "dot"),
            before,
            found={"mask_probabilities": probabilities},
        )
    else:
        measure = champion(write_coco, before=before)
    fewer = measure(numbered("new", 10))
    both = measure(numbered("new", 10) | numbered("new_dot", 5, "dot", RIGHT))
    assert fewer.tested > both.tested
    assert fewer.newest == pytest.approx(1.0)


def test_keypoints_that_it_has_not_learned_are_refused(champion):
    def write(root, shown, names=POINTS):
        write_coco(root, shown, names=names)

    found = _FOUND | {"keypoints": _KEYPOINTS}
    measure = champion(write, "keypoints", "pck", found=found, keypoint_names=POINTS)
    with pytest.raises(ValueError, match=r"keypoints that it has learned\. Received: \['a', 'b'\]"):
        measure(numbered("new", 3), names=["a", "b"])


def test_without_its_test_images_the_champion_is_not_measured(champion, tmp_path):
    measure = champion(write_coco)
    for path in (tmp_path / "scenes").glob("test*.png"):
        path.unlink()
        image(path)
    with pytest.raises(ValueError, match=r"Received: none of 20 in .*Switch `max_metric_drop` off"):
        measure(numbered("new", 3))


def test_annotations_of_another_task_are_refused(champion):
    measure = champion(write_csv, "instance_segmentation", "mask_map")
    with pytest.raises(ValueError, match="`task` must be what the annotations are for"):
        measure(numbered("new", 3))


def test_of_many_images_a_sample_is_read(champion, monkeypatch):
    monkeypatch.setattr(newest_images, "_MAX_IMAGES", 8)
    score = champion(write_csv)(numbered("new", 10))
    assert (score.num_images, score.newest) == (8, pytest.approx(1.0))
    assert score.tested_on.startswith("8 of its test images")


def test_dataset_and_champion_may_lie_in_a_bucket(s3, crown, tmp_path):
    files, root = tmp_path / "files", tmp_path / "scenes"
    card = ModelCard("detection", ["cell"], [4, 8], 1)
    write_constant_model(files / "model", _FOUND, card)
    write_csv(root, BEFORE)
    upload(root, f"{s3}/scenes")
    tested = {"path": [f"test{number}.png" for number in range(20)]}
    uri = crown(files, f"{s3}/scenes", "map", tested, f"{s3}/champions")
    write_csv(root, BEFORE | numbered("new", 5, box=RIGHT))
    # The images of before keep their ETags.
    upload(root, f"{s3}/scenes")
    score = measure_champion(uri, f"{s3}/scenes", "auto", "", False)
    assert score is not None
    assert (score.num_images, score.newest) == (5, 0.0)
    assert score.tested > 0.85
