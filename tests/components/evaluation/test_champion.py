"""A model against champions that are the same, better, worse, of other classes, sizes and tasks."""

import dataclasses
import hashlib
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from digits_artifacts import Trained, write_dataset

from kfp_vision.components.evaluation.champion import (
    Champion,
    ScoredTest,
    _judge,
    _score_part,
    compare_with_champion,
    fetched_champion,
)
from kfp_vision.components.evaluation.champion_model import map_classes, open_champion
from kfp_vision.components.evaluation.champion_rules import Gate
from kfp_vision.components.evaluation.evaluate import EvaluateConfig, evaluate_model
from kfp_vision.components.shared.artifacts.champion_comparison import PartName
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json, write_json
from kfp_vision.components.shared.artifacts.model_card import ModelCard
from kfp_vision.components.shared.champions.known_images import (
    IMAGES_FILE,
    KnownImages,
    read_known_images,
)
from kfp_vision.components.shared.champions.store import (
    ImportFacts,
    Lineage,
    add_version,
    version_uri,
)
from kfp_vision.components.shared.datasets.store import open_split
from kfp_vision.components.shared.runtime.storage import StorageError
from kfp_vision.components.shared.tasks import get_task

pytestmark = pytest.mark.long

CONFIG = EvaluateConfig(num_resamples=200, num_mistakes=0)


@pytest.fixture
def crown(evaluated, tmp_path):
    """Writes the evaluated model as a champion that has known the images of `trained`."""
    trained, _, folder = evaluated

    def write(
        model: keras.Model | None = None, classes: list[str] | None = None, **card: Any
    ) -> Champion:
        champion = tmp_path / "champion"
        (champion / "model").mkdir(parents=True)
        if model is None:
            shutil.copy(folder / "model.keras", champion / "model/model.keras")
        else:
            model.save(champion / "model/model.keras")
        info = read_json(DatasetInfo, trained.dataset_dir / "dataset.json")
        made = ModelCard(trained.task, classes or info.classes, [8, 8], 1)
        write_json(dataclasses.replace(made, **card), champion / "model/model.json")
        known = KnownImages().updated(trained.dataset_dir, info.splits)
        known.write(champion / IMAGES_FILE)
        return Champion(Gate(), "champions", "v1", champion)

    return write


@pytest.fixture
def compare(evaluated, tmp_path):
    """Evaluates the model of `trained` against a champion."""

    def run(champion: Champion, trained: Trained = evaluated[0]) -> Any:
        return evaluate_model(
            trained.dataset_dir, trained.model_dir, tmp_path / "out", CONFIG, champion=champion
        )

    return run


def guess(classes: int, size: tuple[int, int, int] = (8, 8, 1), favours: int = 0) -> keras.Model:
    """Returns a model that gives the same probabilities to every image."""
    pixels = keras.Input(size)
    flat = keras.layers.GlobalAveragePooling2D()(pixels)
    bias = keras.initializers.Constant(float(favours))
    dense = keras.layers.Dense(classes, kernel_initializer="zeros", bias_initializer=bias)
    return keras.Model(pixels, keras.layers.Softmax()(dense(flat)))


def without_labels_of(trained: Trained, folder, test: Sequence[int]) -> Trained:
    """Returns the same with other test images of the digits."""
    splits = {"train": range(1000), "validation": range(1000, 1300), "test": test}
    write_dataset(folder, trained.task, trained.images, trained.labels, splits)
    return dataclasses.replace(trained, dataset_dir=folder)


def test_the_first_model_is_the_champion(compare, evaluated, tmp_path):
    evaluation = compare(Champion(Gate("better"), "champions"))
    held = evaluation.champion
    assert (held.decision, held.promotes, held.champion) == ("first", True, "")
    known = read_known_images(tmp_path / "out" / IMAGES_FILE)
    digests = open_split(evaluated[0].dataset_dir, "test")["source_sha256"]
    assert set(known.splits_of(digests)) == {"test"}
    model = (tmp_path / "out/model.keras").read_bytes()
    assert held.version.endswith(f"-{hashlib.sha256(model).hexdigest()[:8]}")


def test_the_champion_itself_differs_by_exactly_nothing(compare, crown):
    held = compare(crown()).champion
    assert (held.decision, held.promotes) == ("same", False)
    for part in held.parts:
        assert part.difference["value"] == 0
        assert part.model == part.champion
    assert [part.name for part in held.parts] == ["all", "frozen"]
    assert held.parts[0].num_images == 497
    assert held.left_out == 0


@pytest.mark.parametrize("trained", ["binary", "multiclass"], indirect=True)
def test_a_guess_is_replaced(compare, crown, trained):
    num_classes = 2 if trained.task == "binary" else 10
    held = compare(crown(guess(num_classes))).champion
    assert (held.decision, held.promotes) == ("better", True)
    assert held.parts[0].difference["value"] > 0.3


def answers(trained: Trained, dataset_dir: Path, share_wrong: float) -> ScoredTest:
    """Returns the test images with a model that is wrong on a share of them, and sure."""
    info = read_json(DatasetInfo, dataset_dir / "dataset.json")
    labels = np.array(open_split(dataset_dir, "test")["labels"].to_pylist())[:, 0]
    wrong = np.random.default_rng(0).random(len(labels)) < share_wrong
    predicted = np.where(wrong, (labels + 1) % 10, labels)
    records = {"label": labels, "probabilities": np.eye(10)[predicted].astype(np.float32)}
    return ScoredTest(dataset_dir, info, get_task(trained.task), "accuracy", records)


@pytest.mark.parametrize("trained", ["multiclass"], indirect=True)
@pytest.mark.parametrize(
    ("gate", "decision", "promotes"),
    [
        (Gate("not_worse", 0.02), "worse", False),
        (Gate("better"), "worse", False),
        (Gate("not_worse", 0.5), "not_worse", True),
    ],
)
def test_a_model_that_is_known_to_be_worse_is_refused(evaluated, crown, gate, decision, promotes):
    trained, evaluation, _ = evaluated
    champion = dataclasses.replace(crown(), gate=gate)
    worse = answers(trained, trained.dataset_dir, share_wrong=0.3)
    held: Any = compare_with_champion(champion, "v2", worse, (200, 0))
    assert (held.decision, held.promotes) == (decision, promotes)
    (whole, _), accuracy = held.parts, evaluation.metrics["test"]["accuracy"]["value"]
    assert whole.champion["value"] == pytest.approx(accuracy)
    assert whole.difference["value"] == pytest.approx(whole.model["value"] - accuracy)
    assert whole.difference["ci95"][1] < 0


@pytest.mark.parametrize("trained", ["multiclass"], indirect=True)
def test_what_the_champions_have_lost_counts(evaluated, crown):
    trained, evaluation, _ = evaluated
    accuracy = evaluation.metrics["test"]["accuracy"]["value"]
    champion = dataclasses.replace(crown(), gate=Gate("not_worse", 0.5))
    model = answers(trained, trained.dataset_dir, share_wrong=0.3)
    first: Any = compare_with_champion(champion, "v2", model, (200, 0))
    lost = -first.parts[0].difference["value"]
    assert first.below_best == pytest.approx(lost)
    assert lost == pytest.approx(accuracy - first.parts[0].model["value"])
    fallen = dataclasses.replace(champion, below_best=0.5 - lost / 2)
    second = compare_with_champion(fallen, "v2", model, (200, 0))
    assert (second.decision, second.promotes) == ("drifted", False)


@pytest.mark.parametrize("trained", ["multiclass"], indirect=True)
def test_added_classes_do_not_make_up_for_a_fall(evaluated, tmp_path):
    """The champion knows eight digits, all right; the model ten, with a tenth wrong."""
    trained, _, _ = evaluated
    info = read_json(DatasetInfo, trained.dataset_dir / "dataset.json")
    test = answers(trained, trained.dataset_dir, share_wrong=0.1)
    labels = test.records["label"]
    parts: list[Any] = []
    rows = test.compared(KnownImages(), info.classes[:8])
    assert set(labels[rows["old_classes"]]) == set(range(8))
    assert len(rows["old_classes"]) < len(rows["all"]) == len(labels)
    knows = np.eye(10, dtype=np.float32)[np.where(labels < 8, labels, 0)]
    theirs = {"label": labels, "probabilities": knows}
    names: tuple[PartName, ...] = ("all", "old_classes")
    for name in names:
        mask = np.isin(np.arange(len(labels)), rows[name])
        parts.append(_score_part(test, name, test.records, theirs, mask, (200, 0)))
    decision, deciding, _ = _judge(Champion(Gate(), "champions", "v1", tmp_path), parts)
    assert parts[0].difference["ci95"][0] > 0
    assert (decision, deciding.name) == ("worse", "old_classes")


@pytest.mark.parametrize("trained", ["multiclass"], indirect=True)
def test_classes_are_found_by_their_names(compare, crown, evaluated):
    trained, _, folder = evaluated
    order = np.random.default_rng(0).permutation(10)
    model = keras.models.load_model(folder / "model.keras")
    pick = np.zeros((10, 10), np.float32)
    pick[order, np.arange(10)] = 1
    dense = keras.layers.Dense(10, use_bias=False)
    shuffled = keras.Model(model.inputs[0], dense(model.outputs[0]))
    dense.set_weights([pick])
    classes = [f"digit {number}" for number in order]
    held = compare(crown(shuffled, classes)).champion
    assert held.decision == "same"
    assert (held.classes_added, held.classes_removed) == ([], [])


@pytest.mark.parametrize("trained", ["multiclass"], indirect=True)
def test_added_and_removed_classes_are_named(compare, crown, evaluated):
    trained, _, _ = evaluated
    names = [*(f"digit {number}" for number in range(8)), "letter"]
    held = compare(crown(guess(9), names)).champion
    assert held.classes_added == ["digit 8", "digit 9"]
    assert held.classes_removed == ["letter"]
    assert held.decision == "better"
    assert [part.name for part in held.parts] == ["all", "frozen", "old_classes"]


def test_probabilities_by_name():
    found = map_classes(np.array([[0.5, 0.3, 0.2]]), ["c", "x", "a"], ["a", "b", "c"])
    np.testing.assert_array_equal(found, [[0.2, 0.0, 0.5]])


def test_detections_by_name():
    found = {"boxes": np.ones((1, 3, 4)), "classes": np.array([[0.0, 1.0, 2.0]])}
    mapped = map_classes(found, ["c", "x", "a"], ["a", "b", "c"])
    np.testing.assert_array_equal(mapped["classes"], [[2, -1, 0]])
    assert mapped["boxes"] is found["boxes"]


@pytest.mark.parametrize("trained", ["multiclass"], indirect=True)
@pytest.mark.parametrize("size", [(5, 9, 3), (16, 16, 1)])
def test_a_champion_of_another_size_sees_the_same_images(compare, crown, size):
    champion = crown(guess(10, size), image_size=list(size[:2]), channels=size[2])
    held = compare(champion).champion
    assert (held.decision, held.parts[0].num_images) == ("better", 497)


@pytest.mark.parametrize("trained", ["multiclass"], indirect=True)
def test_what_either_was_trained_on_is_left_out(crown, trained, tmp_path):
    # 100 images that the champion was tested on, 100 that it and this model have learned; and 40
    # that neither has seen.
    known = without_labels_of(trained, tmp_path / "known", range(1300, 1400))
    champion = crown()
    KnownImages().updated(known.dataset_dir, ["train", "validation", "test"]).write(
        champion.folder / IMAGES_FILE
    )
    rows = [*range(900, 1000), *range(1300, 1440)]
    now = without_labels_of(trained, tmp_path / "now", rows)
    test = answers(trained, now.dataset_dir, share_wrong=0.1)
    held = compare_with_champion(champion, "v2", test, (200, 0))
    assert {part.name: part.num_images for part in held.parts} == {
        "all": 140,
        "frozen": 100,
        "newest": 40,
    }
    assert held.left_out == 100


@pytest.mark.parametrize("trained", ["multiclass"], indirect=True)
def test_nothing_to_compare_is_no_promotion(compare, crown, trained, tmp_path):
    now = without_labels_of(trained, tmp_path / "now", range(900, 1000))
    held = compare(crown(guess(10)), now).champion
    assert (held.decision, held.promotes, held.left_out) == ("not_comparable", False, 100)
    assert "trained on all 100 test images" in held.sentence
    assert "`kfp-vision promote` does" in held.sentence


@pytest.mark.parametrize("trained", ["multilabel"], indirect=True)
def test_another_kind_of_task_is_no_promotion(compare, crown):
    held = compare(crown(task="multiclass")).champion
    assert (held.decision, held.promotes) == ("not_comparable", False)
    assert "it is for multiclass, the model for multilabel" in held.sentence


@pytest.mark.parametrize("trained", ["multilabel"], indirect=True)
def test_other_keypoints_are_no_promotion(compare, crown):
    held = compare(crown(keypoint_names=["nose", "tail"])).champion
    assert (held.decision, held.promotes) == ("not_comparable", False)
    assert "its keypoints are ['nose', 'tail'], not []." in held.sentence


@pytest.mark.parametrize("trained", ["multiclass"], indirect=True)
class TestFilesThatCannotBeOpened:
    def test_code_in_a_file_is_not_run(self, compare, crown, tmp_path):
        pixels = keras.Input((8, 8, 1))
        inside = keras.layers.Lambda(lambda x: keras.ops.mean(x, (1, 2)))(pixels)
        held = compare(crown(keras.Model(pixels, keras.layers.Dense(10)(inside)))).champion
        assert (held.decision, held.promotes) == ("not_comparable", False)
        assert "model/model.keras: ValueError" in held.sentence
        assert "ambda" in held.sentence

    def test_a_damaged_file(self, compare, crown):
        champion = crown()
        (champion.folder / "model/model.keras").write_bytes(b"none")
        assert compare(champion).champion.decision == "not_comparable"

    def test_another_number_of_outputs(self, crown):
        with pytest.raises(ValueError, match=r"predictions \(1, 4\) for 10 classes"):
            open_champion(crown(guess(4)).folder)

    def test_a_format_that_failed_its_check(self, crown):
        failed = {"model.keras": "Predictions differ by 0.2 from Keras."}
        with pytest.raises(ValueError, match=r"model\.keras, which failed .* differ by 0\.2"):
            open_champion(crown(failed=failed).folder)

    def test_onnx_serves_where_keras_does_not(
        self, crown, evaluated, tmp_path, compare, monkeypatch
    ):
        from kfp_vision.components.evaluation import export
        from kfp_vision.components.evaluation.formats import FORMATS

        trained, _, folder = evaluated
        written = {name: FORMATS[name] for name in ("keras", "saved_model", "onnx")}
        monkeypatch.setattr(export, "FORMATS", written)
        export.export_model(
            trained.dataset_dir, folder, tmp_path / "exports", export.ExportConfig()
        )
        champion = crown()
        shutil.copy(tmp_path / "exports/model.onnx", champion.folder / "model/model.onnx")
        with zipfile.ZipFile(champion.folder / "model/model.keras", "w"):
            pass
        assert compare(champion).champion.decision == "same"


@pytest.mark.parametrize("trained", ["binary"], indirect=True)
def test_a_rejected_model_is_not_compared(trained, crown, tmp_path):
    shutil.copytree(trained.model_dir, tmp_path / "guess")
    pixels = keras.Input((8, 8, 1))
    flat = keras.layers.GlobalAveragePooling2D()(pixels)
    logits = keras.layers.Dense(2, kernel_initializer="zeros")(flat)
    keras.Model(pixels, logits).save(tmp_path / "guess/model.keras")
    found = evaluate_model(
        trained.dataset_dir, tmp_path / "guess", tmp_path / "out", CONFIG, champion=crown()
    )
    assert found.outcome == "rejected"
    assert found.champion is None
    assert not (tmp_path / "out" / IMAGES_FILE).exists()


@pytest.mark.parametrize("trained", ["binary"], indirect=True)
def test_a_champion_comes_from_its_folder(crown, tmp_path):
    fetched: Any
    none: Any
    champion, uri = crown(), str(tmp_path / "champions")
    imported = ImportFacts("", "", 0)
    comparison = {"promotes": True, "below_best": 0.01}
    lineage = Lineage("v1", "", "", "", imported, "", {}, "accuracy", {}, comparison, {})
    add_version(uri, {"": champion.folder}, lineage)
    with fetched_champion(uri, "v1", Gate()) as fetched:
        assert (fetched.version, fetched.below_best) == ("v1", 0.01)
        assert len(fetched.known_images()) == 1797
        open_champion(fetched.folder)
    with fetched_champion(uri, "", Gate()) as none:
        assert none.folder is None
    with fetched_champion("", "", Gate()) as off:
        assert off is None
    (tmp_path / version_uri(uri, "v1") / "model/model.keras").write_bytes(b"other")
    with (
        pytest.raises(StorageError, match="must be as it was published"),
        fetched_champion(uri, "v1", Gate()),
    ):
        pass
