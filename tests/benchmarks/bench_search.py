"""Does the search pay? Accuracy at equal total budget, search included, against fixed policies.

python tests/benchmarks/bench_search.py [--sets digits_geometry cifar10_10k ...] [--seeds 3]
    [--size 16] [--jobs 2] [--cells build/search_cells.jsonl] [--before cells of another version]

Every method sees 1.8 T images, T being those of a baseline training; what the search has seen is
taken off its final training. Cells (set, method, seed) that are in --cells are not trained again.
The digits are scikit-learn's, with known invariances planted into training and test images:
`digits_geometry` rotated, sheared, shifted and zoomed (flips are wrong for their labels),
`digits_flips` flipped, `digits_colour` in other hues, saturations, contrasts and lights.
`make bench-search-against BASE=commit` runs the search of a commit first and compares the two.
"""

import argparse
import ast
import dataclasses
import functools
import hashlib
import itertools
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage
import scipy.spatial
import scipy.stats
import tensorflow as tf
from bench_probe import MALLOC
from bench_real_sets import solar_cells, unpack
from sklearn.datasets import load_digits

from kfp_vision.components.augmentation_search.search import search_augmentation
from kfp_vision.components.data_import.fashion_mnist import provide_fashion_mnist
from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.shared.artifacts.cost import COST_FILE, StageCost
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.json_files import read_json
from kfp_vision.components.shared.augmentation import known_policies
from kfp_vision.components.shared.augmentation.policy import IDENTITY, Policy
from kfp_vision.components.shared.datasets.loader import BatchOrder
from kfp_vision.components.shared.recipe.document import Recipe, Setting, read_recipe, write_recipe
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training.fit import evaluate
from kfp_vision.components.shared.training.schedules import warmup_cosine
from kfp_vision.components.shared.training.setup import (
    build_trainer,
    complete_recipe,
    open_split,
    recipe_policy,
)
from kfp_vision.components.trial_search.search import Inputs, search_trials

_CROPPED = known_policies.flip_and_crop()
FIXED: dict[str, Policy] = {
    "none": IDENTITY,
    "flip_crop": _CROPPED,
    "trivial_augment": known_policies.trivial_augment(),
    "rand_augment": known_policies.rand_augment(),
    **{
        f"{name}_flip_crop": dataclasses.replace(policy, always=_CROPPED.always)
        for name, policy in (
            ("trivial_augment", known_policies.trivial_augment()),
            ("rand_augment", known_policies.rand_augment()),
        )
    },
}
GEOMETRY = {"rotate", "shear_x", "shear_y", "translate_x", "translate_y", "zoom_in", "zoom_out"}
COLOUR = {"brightness", "contrast", "saturation", "hue"}
FLIPS = {"horizontal_flip", "vertical_flip"}
# Set -> what was planted, and what destroys its labels.
PLANTED = {
    "digits_geometry": (GEOMETRY, {"horizontal_flip", "vertical_flip", "rot90"}),
    "digits_flips": (FLIPS, {"rot90"}),
    "digits_colour": (COLOUR, {"horizontal_flip", "vertical_flip", "rot90"}),
}

# In plain trainings: one, and what the search may cost.
BUDGET = 1.8
# Of a plain training: of the digits so many that there are steps to measure, of the large sets so
# few that the benchmark takes hours and not days.
EPOCHS = {**dict.fromkeys(PLANTED, 150), "camvid": 12, "fashion_mnist": 3}


def _warped(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Returns an image of 16 x 16 pixels, rotated, sheared, zoomed and shifted at random."""
    angle = np.deg2rad(generator.uniform(-40, 40))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.array([[1, generator.uniform(-0.3, 0.3)], [0, 1]])
    matrix = rotation @ shear * np.exp(generator.uniform(-0.2, 0.2))
    offset = 7.5 - matrix @ (7.5 + generator.uniform(-2, 2, 2))
    return scipy.ndimage.affine_transform(image, matrix, offset, order=1)


def _recoloured(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Returns an image of three channels in other colours, saturation, contrast and light."""
    hue = scipy.spatial.transform.Rotation.from_rotvec(
        np.ones(3) / 3**0.5 * generator.uniform(-np.pi, np.pi)
    )
    image = image @ hue.as_matrix().T
    grey = image.mean(-1, keepdims=True)
    image = grey + generator.uniform(0, 2) * (image - grey)
    image = image.mean() + generator.uniform(0.2, 1.2) * (image - image.mean())
    return image + generator.uniform(-100, 100)


def planted_digits(name: str, folder: Path) -> Path:
    """Writes digits with the invariances of a set of `PLANTED` as arrays."""
    digits, generator = load_digits(), np.random.default_rng(0)
    images = np.kron(digits.images * 15, np.ones((1, 2, 2)))
    if name == "digits_geometry":
        images = np.stack([_warped(image, generator) for image in images])
    if name == "digits_flips":
        for axis in (1, 2):
            chosen = generator.random(len(images)) < 0.5
            images[chosen] = np.flip(images[chosen], axis)
    if name == "digits_colour":
        share = images[..., None] / 255
        images = share * np.array([230, 190, 90]) + (1 - share) * np.array([60, 90, 150])
        images = np.stack([_recoloured(image, generator) for image in images])
    images = np.clip(images, 0, 255).astype(np.uint8)
    labels = digits.target.astype(np.int64)
    cuts = {"train": slice(500), "val": slice(500, 900), "test": slice(900, None)}
    arrays = {f"x_{name}": images[cut] for name, cut in cuts.items()}
    arrays |= {f"y_{name}": labels[cut] for name, cut in cuts.items()}
    folder.mkdir(parents=True)
    np.savez(folder / "digits.npz", allow_pickle=False, **arrays)
    return folder / "digits.npz"


SOURCES: dict[str, Callable[[Path], Path]] = {
    **{name: functools.partial(planted_digits, name) for name in PLANTED},
    "cifar10_10k": lambda folder: unpack("cifar10-10k", folder),
    "fashion_mnist": provide_fashion_mnist,
    "elpv": solar_cells,
    "camvid": lambda folder: unpack("camvid-tiles-multilabel", folder),
}


def score(dataset: Path, recipe: Recipe, policy: Policy, images: float, seed: int) -> float:
    """Returns the primary metric on the test split of a training that sees so many images."""
    info = read_json(DatasetInfo, dataset / "dataset.json")
    trainer, task, settings = build_trainer(recipe, info, seed, policy)
    train, test = (open_split(dataset, split, recipe) for split in ("train", "test"))
    steps = max(2, round(images / settings.batch_size))
    order = BatchOrder(len(train), settings.batch_size, seed)
    warmup = min(settings.warmup_steps, steps // 2)
    for start in range(0, steps, 16):
        at = np.arange(start, min(start + 16, steps))
        pixels, targets = train.take(order.indices(start, len(at)))
        rates = warmup_cosine(at, settings.learning_rate, warmup, steps)
        trainer.run_steps(pixels, targets, rates)
    trainer.average_weights(
        train.source.take(order.indices(steps + offset)[0]) for offset in range(32)
    )
    return evaluate(trainer, task, test)[recipe.value("data", "primary_metric")]


class Cells:
    """Results of single trainings on disk, one a line: a benchmark that was killed goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self._known = {row["key"]: row for row in map(json.loads, lines)}

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def __getitem__(self, key: str) -> dict[str, Any]:
        return self._known[key]

    def add(self, row: dict[str, Any]) -> None:
        """Keeps a result; `key` names all that it depends on."""
        self._known[row["key"]] = row
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def search(dataset: Path, recipe: Recipe, seed: int, folder: Path) -> tuple[Recipe, float]:
    """Runs the search as the pipeline does; returns the recipe and how many images it saw."""
    folder.mkdir()
    path, table, out, checkpoints = (folder / each for each in ("in.json", "table", "out", "ck"))
    write_recipe(recipe, path)
    search_augmentation(dataset, path, table, checkpoints, search=True, seed=seed)
    result = search_trials(Inputs(dataset, path, table), [], out, checkpoints, seed)
    print(result.decision or result.skipped, result.steps, flush=True)
    for trial in result.trials:
        print("   ", trial.round, trial.candidate, trial.seed, trial.loss, flush=True)
    seen = sum(read_json(StageCost, stage / COST_FILE).images_seen for stage in (table, out))
    return read_recipe(out / "recipe.json"), seen


def operations(recipe: Recipe) -> set[str]:
    """Returns the transforms of the policy of a recipe."""
    policy = recipe_policy(recipe)
    if policy is None:
        return set()
    branches = [operation for branch in policy.branches for operation in branch.operations]
    return {operation.transform for operation in [*policy.always, *branches]}


def mean_error(values: list[float]) -> list[float | None]:
    """Returns the mean and its standard error, None of a single value."""
    if len(values) < 2:
        return [values[0], None]
    return [float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))]


@dataclasses.dataclass(frozen=True)
class Problem:
    """A set that has been imported, and what a plain training of it is."""

    name: str
    dataset: Path
    recipe: Path
    plain_images: int
    inputs: str


def prepare(name: str, size: int, folder: Path) -> Problem:
    """Imports a set and writes its recipe."""
    dataset, path = folder / "dataset", folder / "recipe.json"
    info = import_dataset(str(SOURCES[name](folder / "source")), dataset, ImportConfig())
    metric = "mean_average_precision" if info.task == "multilabel" else "accuracy"
    data = {"class_weights": Setting(None, "test"), "primary_metric": Setting(metric, "test")}
    if info.task == "binary":
        data["positive_class"] = Setting(info.classes[1], "test")
    choices = UserChoices(image_size=size, epochs=EPOCHS.get(name, 0))
    recipe = complete_recipe(Recipe().with_settings("data", data), info, choices)
    write_recipe(recipe, path)
    plain = recipe.value("training", "epochs") * info.splits["train"]
    inputs = hashlib.sha256((path.read_text() + info.fingerprint).encode()).hexdigest()[:8]
    return Problem(name, dataset, path, plain, inputs)


def use_one_core() -> None:
    """Two trainings of one core each are faster than one after the other on two."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def run_cell(problem: Problem, method: str, seed: int, key: str) -> dict[str, Any]:
    """Returns the score of a method with a seed and, of the search, what it did and cost."""
    recipe = read_recipe(problem.recipe)
    budget = BUDGET * problem.plain_images
    row: dict[str, Any] = {"key": key}
    if method in FIXED:
        return row | {"score": score(problem.dataset, recipe, FIXED[method], budget, seed)}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "search")
        found, seen = search(problem.dataset, recipe, seed, folder)
        policy = recipe_policy(found) or IDENTITY
        row |= {"used": sorted(operations(found)), "cost": seen / problem.plain_images}
        row["score"] = score(problem.dataset, found, policy, budget - seen, seed)
    return row


def summarise(rows: Mapping[tuple[str, str, int], dict[str, Any]]) -> dict[str, Any]:
    """Returns the figures over all seeds that every method of a set has."""
    keys = ("sets", "gains", "seeds", "search_cost")
    result: dict[str, Any] = {key: {} for key in keys}
    recalls: list[float] = []
    harmful = 0
    for name in dict.fromkeys(name for name, _, _ in rows):
        held: dict[str, dict[int, dict[str, Any]]] = {}
        for (other, method, seed), row in rows.items():
            if other == name:
                held.setdefault(method, {})[seed] = row
        seeds = sorted(set.intersection(*(set(each) for each in held.values())))
        scores = {m: [each[seed]["score"] for seed in seeds] for m, each in held.items()}
        result["seeds"][name] = len(seeds)
        result["sets"][name] = {method: mean_error(each) for method, each in scores.items()}
        if "search" not in scores:
            continue
        result["gains"][name] = {
            method: mean_error(np.subtract(scores["search"], each).tolist())
            for method, each in scores.items()
            if method != "search"
        }
        searches = [held["search"][seed] for seed in seeds]
        result["search_cost"][name] = float(np.mean([row["cost"] for row in searches]))
        if name in PLANTED:
            planted, wrong = PLANTED[name]
            recalls += [len(planted & {*row["used"]}) / len(planted) for row in searches]
            harmful += sum(len(wrong & {*row["used"]}) for row in searches)
    if recalls:
        result |= {"planted_recall": float(np.mean(recalls)), "harmful_kept": harmful}
    return result


def code_version(*parts: str) -> str:
    """Returns a hash of the code of some folders, comments and docstrings left out."""
    folders = [Path(__file__).parents[2] / "components" / each for each in parts]
    digest = hashlib.sha256()
    for path in sorted(path for folder in folders for path in folder.rglob("*.py")):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                continue
            if ast.get_docstring(node) is not None:
                del node.body[0]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:8]


def main() -> None:
    """Prints every training as it ends, then the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", nargs="+", default=list(SOURCES))
    parser.add_argument("--methods", nargs="+", default=[*FIXED, "search"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--cells", type=Path, default=Path("build/search_cells.jsonl"))
    parser.add_argument("--before", type=Path)
    options = parser.parse_args()
    cells, rows = Cells(options.cells), {}
    # A cell is measured again when anything has changed that it depends on.
    trained = code_version("shared/augmentation", "shared/training", "shared/architectures")
    searched = code_version("shared", "augmentation_search", "trial_search")
    with (
        tempfile.TemporaryDirectory() as scratch,
        ProcessPoolExecutor(
            options.jobs, multiprocessing.get_context("spawn"), use_one_core
        ) as pool,
    ):
        problems = [prepare(name, options.size, Path(scratch, name)) for name in options.sets]
        running = {}
        for seed, problem, method in itertools.product(
            range(options.seeds), problems, options.methods
        ):
            version = trained if method in FIXED else searched
            key = f"{problem.name} {method} {seed} {problem.inputs} {BUDGET} {version}"
            if key in cells:
                rows[problem.name, method, seed] = cells[key]
            else:
                cell = pool.submit(run_cell, problem, method, seed, key)
                running[cell] = problem.name, method, seed
        for cell in as_completed(running):
            row = cell.result()
            cells.add(row)
            rows[running[cell]] = row
            print(json.dumps(row), flush=True)
    if options.before:
        for row in map(json.loads, options.before.read_text().splitlines()):
            name, method, seed = row["key"].split()[:3]
            if method == "search" and (name, "search", int(seed)) in rows:
                rows[name, "search_before", int(seed)] = row
    print("RESULT " + json.dumps(summarise(rows)))


if __name__ == "__main__":
    if not MALLOC.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | MALLOC)
    main()
