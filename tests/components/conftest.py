"""Real digits (scikit-learn, 8x8) as a small dataset, and a dataset as its artifacts."""

import contextlib
import dataclasses
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from kfp import dsl
from sklearn.datasets import load_digits

from kfp_vision.components.shared.artifacts.artifact_parts import move_files
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import SPLITS, DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import write_json
from kfp_vision.components.shared.artifacts.training_result import TrainingResult
from kfp_vision.components.shared.datasets.near_duplicates import NEAR_DUPLICATES_FILE
from kfp_vision.components.shared.datasets.store import SplitWriter, encode_raw
from kfp_vision.components.shared.recipe.document import Recipe, write_recipe
from kfp_vision.components.shared.runtime import progress

# Task -> classes, and the labels of a digit.
_TASKS: dict[str, tuple[list[str], Callable[[int], list[int]]]] = {
    "multiclass": ([str(digit) for digit in range(10)], lambda digit: [digit]),
    "binary": (["low", "high"], lambda digit: [int(digit >= 5)]),
    "multilabel": (
        ["even", "high", "zero"],
        lambda digit: list(np.flatnonzero([digit % 2 == 0, digit >= 5, digit == 0])),
    ),
}


def write_digits(
    folder: Path,
    sizes: dict[str, int],
    side: int = 16,
    by_class: bool = False,
    task: str = "multiclass",
) -> Path:
    """Writes digits as a dataset; `sizes` names the splits in the order in which they are cut.

    Those of `unlabeled` have no label.

    By class, the images of a split lie in the order of their classes, as folders of classes do.
    """
    classes, labels_of = _TASKS[task]
    digits = load_digits()
    images = np.kron(digits.images * 15, np.ones((side // 8, side // 8))).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(images))
    folder.mkdir(parents=True)
    start = 0
    for split, size in sizes.items():
        rows = order[start : start + size]
        if by_class:
            rows = rows[np.argsort(digits.target[rows], kind="stable")]
        with SplitWriter(folder, split) as writer:
            for index in rows:
                writer.write(
                    {
                        "image": encode_raw(images[index][..., None]),
                        "encoding": "raw",
                        "height": side,
                        "width": side,
                        "channels": 1,
                        "labels": []
                        if split == "unlabeled"
                        else labels_of(int(digits.target[index])),
                        "path": f"{split}/{index}.png",
                        "sha256": hashlib.sha256(images[index].tobytes()).digest(),
                        "signature": bytes(64),
                    }
                )
        start += size
    np.save(folder / NEAR_DUPLICATES_FILE, np.arange(start))
    info = DatasetInfo(
        task=task,
        classes=classes,
        splits=dict(sizes),
        channels=1,
        median_height=side,
        median_width=side,
        fingerprint="digits",
        source_uri="scikit-learn",
        source_format="array",
        split_origin=dict.fromkeys(sizes, "made"),
        rejected={},
        notes=[],
    )
    write_json(info, folder / "dataset.json")
    return folder


@pytest.fixture(scope="session")
def digits_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = {"train": 1000, "validation": 300, "test": 497}
    return write_digits(tmp_path_factory.mktemp("digits") / "dataset", sizes)


@pytest.fixture(scope="session")
def few_labels_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few_labels") / "dataset"
    return write_digits(folder, {"train": 60, "validation": 200, "unlabeled": 1000, "test": 537})


@pytest.fixture
def few_labels_of(tmp_path: Path) -> Callable[[str], Path]:
    """Returns few digits with labels, and others without, as a task."""
    sizes = {"train": 60, "validation": 100, "unlabeled": 240}
    return lambda task: write_digits(tmp_path / task, sizes, task=task)


@pytest.fixture(scope="session")
def few_judges_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few_judges") / "dataset"
    return write_digits(folder, {"train": 100, "validation": 30, "unlabeled": 1000, "test": 667})


@pytest.fixture(scope="session")
def one_judge_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one_judge") / "dataset"
    return write_digits(folder, {"train": 20, "validation": 1, "unlabeled": 40, "test": 20})


@pytest.fixture(scope="session")
def many_judges_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many_judges") / "dataset"
    return write_digits(folder, {"train": 400, "validation": 800, "test": 597})


@pytest.fixture(scope="session")
def digits_by_class_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits_by_class") / "dataset"
    return write_digits(folder, {"train": 600, "validation": 100}, by_class=True)


@dataclasses.dataclass(frozen=True)
class Imbalanced:
    """Images of two classes, 10 to 1, and two models that know all there is to know of them.

    Attributes:
        labels: int32 [N].
        natural: Logits of the one that was trained without class weights, [N, 2].
        weighted: Of the one that was trained with them.
        class_weights: Inverse to the shares of the classes, mean 1 over the images, [2].
    """

    labels: np.ndarray
    natural: np.ndarray
    weighted: np.ndarray
    class_weights: np.ndarray


@pytest.fixture(scope="session")
def imbalanced() -> Imbalanced:
    generator = np.random.default_rng(0)
    labels = (np.arange(2200) % 11 == 0).astype(np.int32)
    evidence = 1.5 * generator.normal(np.where(labels == 1, 0.75, -0.75))
    natural = np.stack([np.full(len(labels), np.log(10.0)), evidence], axis=1)
    class_weights = np.array([0.55, 5.5], np.float32)
    return Imbalanced(labels, natural, natural + np.log(class_weights), class_weights)


@pytest.fixture(scope="session")
def few_digits_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few_digits") / "dataset"
    return write_digits(folder, {"train": 40, "validation": 40})


@pytest.fixture(scope="session")
def twelve_digits_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("twelve_digits") / "dataset"
    return write_digits(folder, {"train": 8, "validation": 2, "test": 2})


@pytest.fixture(scope="session")
def trained_models(digits_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of a network that knows digits, those of the test split: with its head and without."""
    import keras
    from keras import layers

    from kfp_vision.components.shared.datasets.loader import ImageSource

    source = ImageSource(digits_dir, "test", (16, 16), 1)
    images = source.take(np.arange(len(source))).astype(np.float32)
    labels = np.array(source.table["labels"].to_pylist())[:, 0]
    keras.utils.set_random_seed(0)
    body: list[layers.Layer] = []
    for filters in (32, 64):
        convolution = layers.Conv2D(filters, 3, strides=2, use_bias=False)
        body += [convolution, layers.BatchNormalization(momentum=0.9), layers.ReLU()]
    start = [keras.Input((16, 16, 1)), layers.Rescaling(1 / 255)]
    headless = keras.Sequential([*start, *body, layers.GlobalAveragePooling2D()])
    model = keras.Sequential([*headless.layers, layers.Dense(10, activation="softmax")])
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    model.fit(images, labels, batch_size=50, epochs=25, verbose=0)
    folder = tmp_path_factory.mktemp("trained_models")
    files = {"headless": headless, "own_head": model}
    for name, each in files.items():
        each.save(folder / f"{name}.keras")
    return {name: str(folder / f"{name}.keras") for name in files}


class Phases:
    """The phases that stages have named, by the name of the stage."""

    def __init__(self) -> None:
        self.of: dict[str, set[str]] = {}

    @contextlib.contextmanager
    def heard(self, stage: str) -> Iterator[None]:
        """Listens to a stage, for which no phase is too short to be named."""
        said = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
            patch.setattr(progress, "_QUIET_S", 0.0)
            yield
        lines = [line for line in said.getvalue().splitlines() if line.startswith(progress.PREFIX)]
        named = {json.loads(line.removeprefix(progress.PREFIX))["stage"] for line in lines}
        self.of.setdefault(stage, set()).update(named)


@pytest.fixture(scope="session")
def phases() -> Phases:
    return Phases()


@pytest.fixture
def finished_training(tmp_path: Path) -> Callable[[Recipe], Path]:
    """Returns what a stage after the training reads of it before it begins: no network."""

    def finish(recipe: Recipe) -> Path:
        folder = tmp_path / "trained"
        folder.mkdir()
        write_recipe(recipe, folder / "recipe.json")
        write_json(StageCost("train", 60.0, 20_000), folder / COST_FILE)
        training = TrainingResult(
            architecture="separable",
            trainable="all",
            parameters=90_000,
            image_size=[16, 16],
            precision="float32",
            seed=0,
            steps=300,
            best_step=300,
            validation={},
            seconds=50.0,
            plain_seconds=50.0,
            images_seen=20_000,
            images_per_second=400.0,
            waiting_share=0.0,
            checks={},
            warnings=[],
            planned_steps=300,
        )
        write_json(training, folder / "training.json")
        return folder

    return finish


@pytest.fixture
def divided(tmp_path: Path) -> Callable[..., dict[str, dsl.Artifact]]:
    """Returns `dataset_info` and some splits of a dataset as a component receives them."""

    def divide(dataset_dir: Path, *splits: str) -> dict[str, dsl.Artifact]:
        root = tmp_path / "divided"
        shutil.copytree(dataset_dir, root / "dataset_info")
        names = ("dataset_info", *SPLITS)
        parts = {name: dsl.Artifact(uri=str(root / name)) for name in names}
        for name in SPLITS:
            move_files(root / "dataset_info", parts[name], f"{name}.arrow")
        return {name: parts[name] for name in ("dataset_info", *splits)}

    return divide
