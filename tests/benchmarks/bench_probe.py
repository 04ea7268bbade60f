"""Is what the probe predicts true? Noise scale, learning rate, steps, cost and time to accuracy.

python tests/benchmarks/bench_probe.py [--seeds 3] [--sets fashion_mnist cifar10_10k]
    [--throughput 64=9000 256=30000 1024=52000]

1. The Gaussian problem with a closed form.
2. Two real sets at half size (14 and 16 px), three optimizers, batch 16 to 1024: the best constant
   rate of a factor-2 grid by steps to a fixed training loss, against the rate that the pilot at
   batch 64 predicts; the grid is climbed from the predicted rate until both neighbours are worse.
3. Wall-clock and steps to the accuracy of a plain training (Adam, 1e-3, batch 64, constant; whole
   epochs of at most 250,000 images).
4. What the probe costs, at full size.

The grid does not depend on what the probe predicts: it is kept in `--grid` and not climbed again by
a run after a change of the probe, or after an interruption.

`--throughput` takes images/s by batch size of another device, a GPU for instance, and prints which
batch is fastest there and by how much.
"""

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from bench_real_sets import unpack

from kfp_vision.components.batch_size_probe import noise_scale as noise
from kfp_vision.components.batch_size_probe.measuring import LEARNING_SHARE
from kfp_vision.components.batch_size_probe.pilot import plan_lengths, run_pilot
from kfp_vision.components.batch_size_probe.probe import ProbeConfig, probe_batch_size
from kfp_vision.components.data_import.fashion_mnist import provide_fashion_mnist
from kfp_vision.components.data_import.importer import ImportConfig, import_dataset
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.datasets.loader import BatchOrder
from kfp_vision.components.shared.recipe.batch_scaling import scale_learning_rate
from kfp_vision.components.shared.recipe.document import Recipe, Setting, read_recipe, write_recipe
from kfp_vision.components.shared.recipe.user_choices import UserChoices
from kfp_vision.components.shared.training.fit import evaluate, fit
from kfp_vision.components.shared.training.history import History
from kfp_vision.components.shared.training.run import TrainingRun
from kfp_vision.components.shared.training.setup import build_trainer, complete_recipe, open_split
from kfp_vision.components.shared.training.trainer import Trainer

BATCHES = (16, 64, 256, 1024)
REFERENCE = 64
OPTIMIZERS = ("adamw", "lamb", "sgd")
# Name -> pixels a side, training loss to reach (about 100 steps of 64 images).
SETS = {"fashion_mnist": (14, 0.65), "cifar10_10k": (16, 1.6)}
# The loss is the mean over so many images, and a run ends without it after so many.
HEADLINE_IMAGES = 250_000
WINDOW, MOST_IMAGES = 2048, {16: 32_000, 64: 32_000, 256: 50_000, 1024: 100_000}
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_TOP_PAD_": str(2**28),
}


def gaussian_error(spectrum: np.ndarray, repeats: int = 64) -> tuple[float, float]:
    """Returns the rms relative error of B_simple for regression on x ~ N(0, diag spectrum).

    First of the estimate from single steps, which a training allows, then of the one that takes all
    steps together, which needs fixed weights.
    """
    generator = np.random.default_rng(1)
    dim, sigma, micro, count, steps = len(spectrum), 2.0, 64, 4, 64
    offset = np.random.default_rng(0).normal(size=dim)
    offset /= np.linalg.norm(offset)
    q = float(offset**2 @ spectrum)
    true_g = float(((spectrum * offset) ** 2).sum())
    trace = spectrum.sum() * q + true_g + sigma**2 * spectrum.sum()
    by_step, together = [], []
    for _ in range(repeats):
        x = generator.normal(size=(steps, count, micro, dim)) * np.sqrt(spectrum)
        residual = x @ offset + sigma * generator.normal(size=x.shape[:-1])
        gradients = np.einsum("tkbd,tkb->tkd", x, residual) / micro
        norms = (gradients**2).sum(-1)
        estimate = noise.estimate_noise_scale(
            *noise.unbiased_estimates(norms, (gradients.mean(1) ** 2).sum(-1), micro)
        )
        by_step.append((estimate.value or 0.0) / (trace / true_g) - 1)
        whole = (gradients.mean((0, 1)) ** 2).sum()[None]
        sq_norm, variance = noise.unbiased_estimates(norms.reshape(1, -1), whole, micro)
        together.append(float(variance[0] / sq_norm[0]) / (trace / true_g) - 1)
    return _root_mean_square(by_step), _root_mean_square(together)


def _root_mean_square(values: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


@dataclasses.dataclass
class Problem:
    """One set at one size."""

    name: str
    dataset_dir: Path
    recipe: Recipe
    info: DatasetInfo
    train: LabelledImages
    validation: LabelledImages
    target: float


def open_problems(names: list[str], scratch: Path) -> Iterator[Problem]:
    """Imports the sets and opens them at half size."""
    for name in names:
        size, target = SETS[name]
        if name == "fashion_mnist":
            source = provide_fashion_mnist(scratch / name)
        else:
            source = unpack("cifar10-10k", scratch)
        folder = scratch / f"{name}-dataset"
        info = import_dataset(str(source), folder, ImportConfig())
        recipe = complete_recipe(_data_recipe(), info, UserChoices(image_size=size))
        train, validation = (open_split(folder, split, recipe) for split in ("train", "validation"))
        yield Problem(name, folder, recipe, info, train, validation, target)


def _data_recipe() -> Recipe:
    settings = {
        "class_weights": Setting(None, "balanced"),
        "primary_metric": Setting("accuracy", "balanced"),
    }
    return Recipe().with_settings("data", settings)


def _plain(problem: Problem, optimizer: str, seed: int) -> Trainer:
    """Returns a trainer whose loss is the plain cross-entropy, so that losses compare."""
    recipe = complete_recipe(problem.recipe, problem.info, UserChoices(optimizer=optimizer))
    return build_trainer(
        recipe, problem.info, seed, label_smoothing=0.0, dropout=0.0, ema_momentum=0.0
    )[0]


class Grid:
    """Mean steps by cell and power of two, in a JSON file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cells = json.loads(path.read_text()) if path.exists() else {}

    def read(self, cell: str) -> dict[int, float]:
        """Returns what is known of a cell: power -> steps to the loss."""
        return {int(power): float(value) for power, value in self._cells.get(cell, {}).items()}

    def write(self, cell: str, steps: dict[int, float]) -> None:
        """Keeps a finished cell."""
        self._cells[cell] = steps
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self._cells))


def steps_to_loss(
    trainer: Trainer, problem: Problem, batch: int, rate: float, seed: int, limit: float
) -> float:
    """Returns the steps until the mean loss of a window is below the target, or infinity."""
    order = BatchOrder(len(problem.train), batch, seed)
    per_call, window = max(1, 512 // batch), max(1, WINDOW // batch)
    losses = np.empty(0)
    while len(losses) < min(limit, MOST_IMAGES[batch] / batch):
        steps = np.arange(len(losses), len(losses) + per_call)
        rates = (rate * np.minimum(1, (steps + 1) / 10)).astype(np.float32)
        images, targets = problem.train.take(order.indices(len(losses), per_call))
        losses = np.append(losses, trainer.run_steps(images, targets, rates).losses)
        if not np.isfinite(losses[-1]):
            break
        if len(losses) >= window:
            means = np.convolve(losses, np.full(window, 1 / window), "valid")
            hits = np.nonzero(means < problem.target)[0]
            if len(hits):
                # The centre of the window is when its loss was reached.
                return float(hits[0] + (window + 1) / 2)
    return float("inf")


def climb(problem: Problem, optimizer: str, seeds: int, grid: Grid) -> dict[str, Any]:
    """Returns predicted and best rates and steps at every batch size."""
    trainer = _plain(problem, optimizer, 0)
    initial = trainer.state()
    starts = []
    for seed in range(seeds):
        fresh = _plain(problem, optimizer, seed)
        starts.append([np.array(variable) for variable in fresh.model.variables])
    plain_images = round(problem.recipe.value("training", "epochs") * len(problem.train))
    lengths = plan_lengths(plain_images, REFERENCE, LEARNING_SHARE)
    if lengths is None:
        raise SystemExit("The sets of this benchmark must be large enough for a pilot.")

    def begin(seed: int) -> None:
        trainer.restore(initial)
        trainer.set_variables(starts[seed])

    pilots = []
    for seed in range(seeds):
        begin(seed)
        pilots.append(run_pilot(trainer, problem.train, optimizer, REFERENCE, lengths, seed))
    scales = [p.noise_scale.value or p.noise_scale.low for p in pilots]
    cells = {}
    for batch in BATCHES:
        predicted = [
            scale_learning_rate(p.choice.rate, REFERENCE, batch, scale)
            for p, scale in zip(pilots, scales, strict=True)
        ]

        def mean_steps(rate: float, batch: int = batch, best: float = np.inf) -> float:
            values = []
            for seed in range(seeds):
                begin(seed)
                steps = steps_to_loss(trainer, problem, batch, rate, seed, 1.6 * best + 32)
                values.append(steps)
                if not np.isfinite(steps):
                    break
            return float(np.mean(values))

        cell = f"{problem.name} {optimizer} {batch} {problem.target} {seeds}"
        power = round(np.log2(np.exp(np.mean(np.log(predicted))) / 1e-3))
        steps = grid.read(cell) or {power: mean_steps(1e-3 * 2.0**power)}
        while True:
            best = min(steps, key=lambda key: (steps[key], key))
            missing = [key for key in (best - 1, best + 1) if key not in steps]
            if not missing or len(steps) > 9:
                break
            steps[missing[0]] = mean_steps(1e-3 * 2.0 ** missing[0], best=steps[best])
        grid.write(cell, steps)
        at_predicted = []
        for seed in range(seeds):
            begin(seed)
            at_predicted.append(
                steps_to_loss(trainer, problem, batch, predicted[seed], seed, np.inf)
            )
        cells[batch] = {
            "predicted": predicted,
            # Rates whose steps differ by less than the resolution are equally good.
            "best": [1e-3 * 2.0**key for key in steps if steps[key] <= 1.01 * steps[best]],
            "grid": {f"{1e-3 * 2.0**key:.3g}": value for key, value in sorted(steps.items())},
            "best_steps": steps[best],
            "steps_at_predicted": float(np.mean(at_predicted)),
        }
        print(problem.name, optimizer, batch, json.dumps(cells[batch]), flush=True)
    return {"cells": cells, "noise_scale": scales, "rate": [p.choice.rate for p in pilots]}


def fit_curve(steps: dict[int, float]) -> tuple[float, float, float]:
    """Returns S_min, B_noise and the largest relative error of S_min (1 + B_noise / B)."""
    batches, values = np.array(list(steps)), np.array(list(steps.values()))
    # Relative errors: weights 1 / S make the fit linear in S_min and S_min B_noise.
    design = np.stack([1 / values, 1 / (batches * values)], axis=1)
    (s_min, product), *_ = np.linalg.lstsq(design, np.ones(len(values)), rcond=None)
    s_min = max(float(s_min), 1.0)
    predicted = s_min + product / batches
    return s_min, float(product) / s_min, float(np.abs(predicted / values - 1).max())


def fitted_exponent(found: list[dict[str, Any]]) -> float:
    """Returns alpha of best rate ~ [1 / (1 + B_noise / B)]^alpha, one intercept for each set."""
    x, y = [], []
    for result in found:
        scale = float(np.mean(result["noise_scale"]))
        logs = np.log([1 / (1 + scale / batch) for batch in BATCHES])
        rates = np.array([np.mean(np.log(result["cells"][batch]["best"])) for batch in BATCHES])
        x.extend(logs - logs.mean())
        y.extend(rates - rates.mean())
    return float(np.dot(x, y) / np.dot(x, x))


def time_to_accuracy(problem: Problem) -> dict[str, Any]:
    """Trains plainly and by the probe's recipe; returns ratios to the plain run's accuracy."""
    total = min(
        round(problem.recipe.value("training", "epochs") * len(problem.train)), HEADLINE_IMAGES
    )
    epochs = max(1, total // len(problem.train))
    trainer, task, _ = build_trainer(
        complete_recipe(problem.recipe, problem.info, UserChoices(optimizer="adamw")),
        problem.info,
        0,
        label_smoothing=0.0,
        dropout=0.0,
        ema_momentum=0.0,
        weight_decay=0.0,
        clip_norm=0.0,
    )
    total = round(epochs * len(problem.train) / 64)
    order, rows, seconds = BatchOrder(len(problem.train), 64, 0), [], 0.0
    for start in range(0, total, 32):
        images, targets = problem.train.take(order.indices(start, 32))
        began = time.monotonic()
        trainer.run_steps(images, targets, np.full(32, 1e-3, np.float32))
        seconds += time.monotonic() - began
        if (start // 32) % max(1, total // 32 // 40) == 0:
            accuracy = evaluate(trainer, task, problem.validation)["accuracy"]
            rows.append((start + 32, seconds, accuracy))
    # The last quarter tells what the plain training reaches; a single evaluation is luck.
    goal = float(np.mean([row[2] for row in rows[-len(rows) // 4 :]]))
    plain = next(row for row in rows if row[2] >= goal)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        write_recipe(problem.recipe, path / "in.json")
        size = problem.recipe.value("model", "image_size")[0]
        probe_batch_size(
            problem.dataset_dir,
            path / "in.json",
            path / "probe",
            ProbeConfig(image_size=size, epochs=epochs),
        )
        recipe = complete_recipe(
            read_recipe(path / "probe/recipe.json"), problem.info, UserChoices()
        )
        learner, task, settings = build_trainer(recipe, problem.info, 0)

        run = TrainingRun(
            learner,
            task,
            problem.train,
            problem.validation,
            primary_metric="accuracy",
            checkpoint_dir=path / "checkpoints",
            start=lambda s: History(s, s.steps, {"initial_loss": 9.0}),
        )
        history = fit(run, settings)
    curve = [
        (row["step"], row["value"])
        for row in history.curves
        if (row["split"], row["metric"]) == ("validation", "accuracy")
    ]
    step = next((at for at, accuracy in curve if accuracy >= goal), None)
    result: dict[str, Any] = {
        "goal": goal,
        "plain": {"steps": plain[0], "seconds": plain[1]},
        "learned": {
            "batch_size": settings.batch_size,
            "learning_rate": settings.learning_rate,
            "best_accuracy": max(accuracy for _, accuracy in curve),
            "steps": step,
        },
    }
    if step is not None:
        spent = step * history.step_seconds / history.step
        result["learned"]["seconds"] = spent
        result["seconds_ratio"] = spent / plain[1]
        result["steps_ratio"] = step / plain[0]
    return result


def probe_cost(problem: Problem) -> float:
    """Returns the seconds of the probe at full size over those of a plain training's steps."""
    with tempfile.TemporaryDirectory() as folder:
        write_recipe(_data_recipe(), Path(folder) / "in.json")
        summary = probe_batch_size(
            problem.dataset_dir, Path(folder) / "in.json", Path(folder) / "out", ProbeConfig()
        )
    print(problem.name, "probe", summary.seconds, "s of", summary.plain_seconds, flush=True)
    return summary.seconds / summary.plain_seconds


def draw_curves(curves: dict[str, dict[str, Any]], path: Path) -> None:
    """Writes steps over batch size, measured and fitted, as an SVG."""
    width, height, left, bottom = 360, 240, 44, 34
    panels = []
    for index, (name, held) in enumerate(curves.items()):
        x0, y0 = (index % 3) * width, (index // 3) * height
        top = max(held["steps"].values()) * 1.3
        low = min(held["steps"].values()) / 1.5

        def at(batch: float, steps: float, x0=x0, y0=y0, top=top, low=low) -> tuple[float, float]:
            x = x0 + left + (np.log2(batch) - 4) / 6 * (width - left - 48)
            y = y0 + height - bottom - np.log(steps / low) / np.log(top / low) * (height - 70)
            return x, y

        fine = np.geomspace(16, 1024, 60)
        line = " ".join(
            "{:.1f},{:.1f}".format(*at(b, held["s_min"] * (1 + held["noise"] / b))) for b in fine
        )
        panels.append(f'<polyline points="{line}" fill="none" stroke="#2563eb" stroke-width="2"/>')
        for batch, steps in held["steps"].items():
            x, y = at(batch, steps)
            panels.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#b45309"/>')
            panels.append(f'<text x="{x + 6:.1f}" y="{y - 5:.1f}">{steps:.0f}</text>')
            panels.append(f'<text x="{x - 8:.1f}" y="{y0 + height - 14}">{batch}</text>')
        label = f"{name}: {held['s_min']:.0f} (1 + {held['noise']:.0f} / B)"
        panels.append(f'<text x="{x0 + 10}" y="{y0 + 22}" font-weight="bold">{label}</text>')
    rows = (len(curves) + 2) // 3
    style = "font-family:sans-serif;font-size:12px;fill:#475569"
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {3 * width} {rows * height}" '
        f'style="{style};background:#fff">' + "".join(panels) + "</svg>\n"
    )


def main() -> None:
    """Prints every cell as it is measured, then the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--optimizers", nargs="+", default=list(OPTIMIZERS))
    parser.add_argument("--throughput", nargs="*", default=[])
    parser.add_argument("--curves", type=Path, default=Path("build/steps_versus_batch.svg"))
    parser.add_argument("--grid", type=Path, default=Path("build/probe_grid.json"))
    options = parser.parse_args()
    grid = Grid(options.grid)
    spectra = {"isotropic": np.ones(50), "anisotropic": np.logspace(0, -2, 50)}
    errors = {name: gaussian_error(spectrum) for name, spectrum in spectra.items()}
    result: dict[str, Any] = {
        "noise_scale_error": {name: by_step for name, (by_step, _) in errors.items()},
        "noise_scale_error_fixed_weights": {name: whole for name, (_, whole) in errors.items()},
    }
    print(result, flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        problems = list(open_problems(options.sets, Path(scratch)))
        result["probe_cost"] = {each.name: probe_cost(each) for each in problems}
        found = {
            (problem.name, optimizer): climb(problem, optimizer, options.seeds, grid)
            for problem in problems
            for optimizer in options.optimizers
        }
        accuracy = {each.name: time_to_accuracy(each) for each in problems}
        print(json.dumps(accuracy), flush=True)
    cells = {
        f"{name} {optimizer} {batch}": cell
        for (name, optimizer), held in found.items()
        for batch, cell in held["cells"].items()
    }
    rates = {
        key: max(
            min(max(rate / best, best / rate) for best in c["best"]) for rate in c["predicted"]
        )
        for key, c in cells.items()
    }
    steps = {key: c["steps_at_predicted"] / c["best_steps"] for key, c in cells.items()}
    curves: dict[str, Any] = {}
    for (name, optimizer), held in found.items():
        best = {batch: cell["best_steps"] for batch, cell in held["cells"].items()}
        s_min, scale, error = fit_curve(best)
        curves[f"{name} {optimizer}"] = {
            "steps": best,
            "s_min": s_min,
            "noise": scale,
            "error": error,
            "pilot_noise": held["noise_scale"],
        }
    options.curves.parent.mkdir(parents=True, exist_ok=True)
    draw_curves(curves, options.curves)
    speeds = {int(k): float(v) for k, v in (each.split("=") for each in options.throughput)}
    if speeds:
        for name, held in curves.items():
            times = {b: (b + held["noise"]) / r for b, r in speeds.items()}
            fastest = min(times, key=lambda b: times[b])
            print(name, "fastest batch", fastest, "over batch 64:", times[fastest] / times[64])
    result |= {
        "learning_rate_ratio_max": max(rates.values()),
        "learning_rate_ratio_median": float(np.median(list(rates.values()))),
        "steps_ratio_max": max(steps.values()),
        "steps_ratio_median": float(np.median(list(steps.values()))),
        "curves": {
            name: {key: held[key] for key in ("s_min", "noise", "error", "pilot_noise")}
            for name, held in curves.items()
        },
        "exponents": {
            optimizer: fitted_exponent([held for (_, o), held in found.items() if o == optimizer])
            for optimizer in options.optimizers
        },
        "worst": {
            "learning_rate": sorted(rates, key=lambda key: -rates[key])[:4],
            "steps": sorted(steps, key=lambda key: -steps[key])[:4],
        },
        "seconds_to_equal_accuracy_ratio": {n: a.get("seconds_ratio") for n, a in accuracy.items()},
        "steps_to_equal_accuracy_ratio": {n: a.get("steps_ratio") for n, a in accuracy.items()},
    }
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    # glibc reads its settings when a process starts: what the launcher gives its tasks.
    if not MALLOC.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | MALLOC)
    keras.utils.disable_interactive_logging()
    main()
