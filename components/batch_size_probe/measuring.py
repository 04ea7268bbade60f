"""The measurements of the probe, one after another: throughput, noise scale, rates, length."""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from kfp_vision.components.batch_size_probe.batch_choice import choose_batch_size
from kfp_vision.components.batch_size_probe.learned_settings import (
    keep_shrinkage,
    learned_settings,
    note_on_length,
    usable_noise_scale,
)
from kfp_vision.components.batch_size_probe.learning_rate import smooth
from kfp_vision.components.batch_size_probe.pilot import Lengths, plan_lengths, run_pilot
from kfp_vision.components.batch_size_probe.steps import steps_to_fit
from kfp_vision.components.batch_size_probe.throughput import (
    measure_in_child,
    measure_throughput,
)
from kfp_vision.components.batch_size_probe.timing import ThroughputRequest
from kfp_vision.components.shared.artifacts.dataset_info import DatasetInfo
from kfp_vision.components.shared.artifacts.probe_result import ProbeResult
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.recipe.context import fixed_facts
from kfp_vision.components.shared.recipe.document import Recipe, write_recipe
from kfp_vision.components.shared.recipe.evaluations import evaluation_share
from kfp_vision.components.shared.recipe.hyperparameters import SECTION, learn, resolve
from kfp_vision.components.shared.runtime.progress import Progress
from kfp_vision.components.shared.training.setup import build_trainer

__all__ = ["BATCH_SIZES", "LEARNING_SHARE", "PROBE_SHARE", "measure_settings"]

# Of the images, and of the time, of one plain training; together below the promised 15 %.
LEARNING_SHARE = 0.06
_THROUGHPUT_SHARE = 0.03
PROBE_SHARE = LEARNING_SHARE + _THROUGHPUT_SHARE
BATCH_SIZES = tuple(2**power for power in range(4, 13))


def measure_settings(
    dataset_dir: Path,
    recipe: Recipe,
    info: DatasetInfo,
    images: LabelledImages,
    lengths: Lengths,
    batch_size: int,
    plain_images: int,
    affordable: float,
    seed: int,
) -> tuple[ProbeResult, Recipe]:
    """Returns the evidence, and the recipe with what was learned from it.

    Args:
        dataset_dir: The `dataset` artifact.
        recipe: Complete, without what an earlier run has learned.
        info: Of the dataset.
        images: Training images.
        lengths: Of the trials.
        batch_size: That of the trials, where it fits into memory.
        plain_images: Of a plain training.
        affordable: Images of a plain training of which the usual share fits into the budget.
        seed: Of weights and order.
    """
    with tempfile.TemporaryDirectory() as folder, Progress("time batch sizes"):
        path = Path(folder) / "recipe.json"
        write_recipe(recipe, path)
        sizes = sorted({batch_size, *(size for size in BATCH_SIZES if size <= len(images) // 4)})
        request = ThroughputRequest(
            dataset_dir, path, sizes, batch_size, _THROUGHPUT_SHARE * affordable
        )
        # A trainer takes the memory of the GPUs: the child has to be over by then.
        on_gpus = bool(tf.config.list_physical_devices("GPU"))
        throughput = measure_in_child(request) if on_gpus else None
        # The average of the weights has no part in what is measured.
        trainer, task, settings = build_trainer(recipe, info, seed, ema_momentum=0.0)
        if throughput is None:
            throughput = measure_throughput(trainer, request)
    fitting = [row.batch_size for row in throughput.feasible()]
    if batch_size not in fitting:
        batch_size = max((size for size in fitting if size < batch_size), default=min(fitting))
        lengths = plan_lengths(round(affordable), batch_size, LEARNING_SHARE) or lengths
    pilot = run_pilot(trainer, images, settings.optimizer, batch_size, lengths, seed)
    targets = images.read_targets(np.arange(min(batch_size, len(images))))
    fitted = steps_to_fit(
        pilot.trials[min(pilot.choice.losses, key=lambda rate: pilot.choice.losses[rate])],
        task.initial_loss(targets, len(info.classes)),
    )
    notes = [f"Throughput: {throughput.ended}."] if throughput.ended else []
    noise = pilot.noise_scale
    if noise.value is None:
        notes.append(
            f"The gradient noise scale is not determined by {lengths.trial_steps // 2} steps; it "
            f"is at least {noise.low:.0f}, and that bound was used."
        )
    choice = choose_batch_size(throughput.feasible(), usable_noise_scale(pilot), batch_size)
    chosen = learned_settings(recipe, throughput, choice, pilot, fitted, batch_size, plain_images)
    facts = fixed_facts(recipe, info)
    learned = resolve(learn(recipe, SECTION, chosen, facts), {}, info.splits["train"], facts)
    decay = keep_shrinkage(recipe, learned, plain_images / batch_size)
    learned = learn(learned, SECTION, {"weight_decay": decay}, facts)
    notes += note_on_length(learned, chosen["epochs"], batch_size)
    evaluations = evaluation_share(learned, info, plain_images)
    nearest = min(throughput.by_batch, key=lambda row: abs(row.batch_size - batch_size))
    result = ProbeResult(
        notes=notes,
        reference_batch=batch_size,
        throughput=[
            dataclasses.replace(row, relative_time=choice.relative_times.get(row.batch_size))
            for row in throughput.by_batch
        ],
        variants=throughput.variants,
        noise_scale=dataclasses.replace(noise, raw=pilot.raw, scaled=pilot.scaled),
        range_test=dataclasses.replace(
            pilot.range_test,
            rates=[float(rate) for rate in pilot.rates],
            losses=[float(loss) if np.isfinite(loss) else None for loss in pilot.losses],
        ),
        trials={
            f"{rate:.4g}": [float(loss) for loss in smooth(losses) if np.isfinite(loss)]
            for rate, losses in sorted(pilot.trials.items())
        },
        images_seen=pilot.images_seen,
        plain_seconds=(1 + evaluations) * plain_images / nearest.images_per_second,
    )
    return result, learned
