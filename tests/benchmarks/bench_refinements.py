"""What four refinements bring to a training from scratch, over the same training without them.

python tests/benchmarks/bench_refinements.py [--sets NAME ...] [--side 32] [--epochs 15]
    [--seeds 0 1 2] [--results FILE]

`plain` is `separable` with flips and shifts. `flip_averaging` is the same model, with the logits of
an image and of its mirror image averaged; `alternating_flips` mirrors an image in every second of
its epochs instead of by chance (Jordan, 2024, arXiv:2404.00498, section 3.6); `balanced_sampling`
draws every class equally often instead of weighting its loss; `wide` has twice the channels. The
validation split is scored by the primary metric; figures are differences to `plain` of the same
seed. Cells that FILE holds are not run again.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
from bench_transfer import SETS

from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.data_profiling.profile import ProfileConfig, profile_images
from kfp_vision.components.shared.architectures import separable
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.augmentation.known_policies import flip_and_crop
from kfp_vision.components.shared.augmentation.policy import Policy
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.datasets.loader import BatchOrder
from kfp_vision.components.shared.datasets.store import class_strata
from kfp_vision.components.shared.recipe.document import Recipe, Setting, read_recipe
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.tasks.records import join_records, whole_set_metrics
from kfp_vision.components.shared.training.schedules import warmup_cosine
from kfp_vision.components.shared.training.setup import build_trainer, complete_recipe, open_split

_ARMS = ("plain", "alternating_flips", "balanced_sampling", "wide")
_STEPS_PER_CALL, _STATISTICS_BATCHES = 16, 32
_WIDE = {"_WIDTHS": (64, 96, 128), "_BLOCK_WIDTH": 256}


def uniform_rows(count: int, batch_size: int, seed: int) -> Callable[[int], np.ndarray]:
    """Returns step -> rows [B]: every image once an epoch."""
    order = BatchOrder(count, batch_size, seed)
    return lambda step: order.indices(step)[0]


def balanced_rows(strata: np.ndarray, batch_size: int, seed: int) -> Callable[[int], np.ndarray]:
    """Returns step -> rows [B]: classes equally often, every image of a class once in its turn."""
    members = [np.flatnonzero(strata == each) for each in np.unique(strata)]
    orders = [BatchOrder(len(each), 1, seed) for each in members]

    def rows(step: int) -> np.ndarray:
        drawn = []
        for position in range(step * batch_size, (step + 1) * batch_size):
            turn, number = divmod(position, len(members))
            drawn.append(members[number][orders[number].indices(turn)[0, 0]])
        return np.array(drawn)

    return rows


def batches(
    train: LabelledImages, rows: Callable[[int], np.ndarray], steps: int, mirrors: bool
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]]:
    """Yields steps [K], images [K, B, H, W, C] and targets; `mirrors` in every second epoch."""
    seen = np.random.default_rng(0).integers(0, 2, len(train))
    for start in range(0, steps, _STEPS_PER_CALL):
        numbers = np.arange(start, min(start + _STEPS_PER_CALL, steps))
        chosen = np.stack([rows(int(step)) for step in numbers])
        images, targets = train.take(chosen)
        if mirrors:
            for step, drawn in enumerate(chosen):
                mirrored = seen[drawn] % 2 == 1
                images[step, mirrored] = images[step, mirrored, :, ::-1]
                np.add.at(seen, drawn, 1)
        yield numbers, targets, images


def train_arm(
    arm: str, dataset: Path, recipe: Recipe, info: DatasetInfo, seed: int
) -> dict[str, float]:
    """Returns the validation metric of a training; of the plain one with averaged flips, too."""
    policy = flip_and_crop()
    if arm == "alternating_flips":
        shifts = [each for each in policy.always if each.transform != "horizontal_flip"]
        policy = Policy(always=tuple(shifts))
    if arm == "balanced_sampling":
        recipe = recipe.with_settings("data", {"class_weights": Setting(None, "benchmark")})
    with mock.patch.dict(vars(separable), _WIDE if arm == "wide" else {}):
        trainer, task, settings = build_trainer(recipe, info, seed, policy)
    train, held_out = (open_split(dataset, split, recipe) for split in ("train", "validation"))
    rows = uniform_rows(len(train), settings.batch_size, seed)
    if arm == "balanced_sampling":
        rows = balanced_rows(class_strata(train.source.table), settings.batch_size, seed)
    mirrors = arm == "alternating_flips"
    for steps, targets, images in batches(train, rows, settings.steps, mirrors):
        rates = warmup_cosine(steps, settings.learning_rate, settings.warmup_steps, settings.steps)
        trainer.run_steps(images, targets, rates.astype(np.float32))
    order = uniform_rows(len(train), settings.batch_size, seed)
    trainer.average_weights(train.source.take(order(step)) for step in range(_STATISTICS_BATCHES))
    primary = recipe.value("data", "primary_metric")

    def score(outputs: Callable[[np.ndarray], np.ndarray]) -> float:
        records = [task.record(t, task.decode(outputs(images))) for images, t in held_out.batches()]
        return float(whole_set_metrics(task, join_records(records))[primary])

    scores = {arm: score(lambda images: np.asarray(trainer.outputs(images)))}
    if arm == "plain":
        scores["flip_averaging"] = score(
            lambda images: (
                (
                    np.asarray(trainer.outputs(images))
                    + np.asarray(trainer.outputs(images[:, :, ::-1]))
                )
                / 2
            )
        )
    return scores


def differences(cells: dict[str, float]) -> dict[str, dict[str, list[float]]]:
    """Returns set -> refinement -> [mean difference to `plain`, standard error, seeds]."""
    found: dict[str, dict[str, list[float]]] = {}
    for key in cells:
        name, arm, _ = key.split()
        if arm != "plain":
            pairs = [
                value - cells[f"{name} plain {other.split()[2]}"]
                for other, value in cells.items()
                if other.split()[:2] == [name, arm] and f"{name} plain {other.split()[2]}" in cells
            ]
            error = float(np.std(pairs, ddof=1)) / len(pairs) ** 0.5 if len(pairs) > 1 else 0.0
            row = [round(float(np.mean(pairs)), 4), round(error, 4), len(pairs)]
            found.setdefault(name, {})[arm] = row
    return found


def main() -> None:
    """Runs the trainings that are missing, prints each, then the differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = ["cifar10-10k", "elpv", "bccd-cells"]
    parser.add_argument("--sets", nargs="+", default=names, choices=SETS)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--results", type=Path)
    arguments = parser.parse_args()
    results = arguments.results
    cells = json.loads(results.read_text()) if results and results.exists() else {}
    for name in arguments.sets:
        with tempfile.TemporaryDirectory() as folder:
            dataset = Path(folder, "imported")
            info = import_dataset(str(SETS[name](Path(folder))), dataset, ImportConfig())
            profile_images(dataset, Recipe(), Path(folder, "profile"), ProfileConfig())
            recipe = complete_recipe(
                read_recipe(Path(folder, "profile", "recipe.json")),
                info,
                UserChoices("separable", image_size=arguments.side, epochs=arguments.epochs),
            )
            is_weighted = recipe.value("data", "class_weights") is not None
            for arm in _ARMS:
                if arm == "balanced_sampling" and not is_weighted:
                    continue
                for seed in arguments.seeds:
                    if f"{name} {arm} {seed}" in cells:
                        continue
                    for each, value in train_arm(arm, dataset, recipe, info, seed).items():
                        cells[f"{name} {each} {seed}"] = value
                        print(f"{name}, {each}, seed {seed}: {value:.4f}", flush=True)
                    if results:
                        results.write_text(json.dumps(cells, indent=1))
    print("RESULT " + json.dumps(differences(cells)))


if __name__ == "__main__":
    main()
