"""What the probe writes into the recipe, from what it has measured."""

import dataclasses
from typing import Any

import numpy as np

from kfp_vision.components.batch_size_probe.batch_choice import BatchChoice
from kfp_vision.components.batch_size_probe.learning_rate import clip_threshold
from kfp_vision.components.batch_size_probe.pilot import Pilot
from kfp_vision.components.batch_size_probe.steps import FittedLength
from kfp_vision.components.batch_size_probe.throughput import Throughput
from kfp_vision.components.shared.recipe.batch_scaling import (
    EXPONENT,
    scale_learning_rate,
    scale_steps,
    scale_weight_decay,
)
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.hyperparameters import SECTION

__all__ = ["keep_shrinkage", "learned_settings", "note_on_length", "usable_noise_scale"]


def note_on_length(learned: Recipe, needed: Setting, reference: int) -> list[str]:
    """Returns a note when the length that the user has set is short for the batch size.

    Args:
        learned: The recipe with what was learned.
        needed: Epochs at its batch size, to the loss of a plain training.
        reference: Batch size of that one.
    """
    epochs, batch_size = (learned.value(SECTION, name) for name in ("epochs", "batch_size"))
    if needed.value <= 1.05 * epochs:
        return []
    return [
        f"The user has set {epochs:.3g} epochs. At a batch of {batch_size}, {needed.value:.3g} "
        f"epochs reach the loss that {epochs:.3g} reach at a batch of {reference}."
    ]


def keep_shrinkage(plain: Recipe, learned: Recipe, plain_steps: float) -> Setting:
    """Returns the weight decay that shrinks the weights as much as a plain training does."""
    decay, rate = (plain.value(SECTION, name) for name in ("weight_decay", "learning_rate"))
    new_rate, steps = (learned.value(SECTION, name) for name in ("learning_rate", "steps"))
    return Setting(
        scale_weight_decay(decay, rate, round(plain_steps), new_rate, steps),
        "keeps rate x decay x steps of the plain training",
        {"plain_rate": rate, "plain_decay": decay},
    )


def usable_noise_scale(pilot: Pilot) -> float:
    """Returns the noise scale, or its lower bound where it is not determined."""
    return pilot.noise_scale.low if pilot.noise_scale.value is None else pilot.noise_scale.value


def learned_settings(
    recipe: Recipe,
    throughput: Throughput,
    batch_choice: BatchChoice,
    pilot: Pilot,
    fitted: FittedLength | None,
    reference: int,
    plain_images: int,
) -> dict[str, Setting]:
    """Returns the learned settings, without those that `resolve` derives from them.

    Args:
        recipe: Complete, of a plain training.
        throughput: Measured speeds.
        batch_choice: Of the batch size.
        pilot: What the steps showed.
        fitted: When the training set will be fitted; None where that is not told.
        reference: Batch size of the pilot.
        plain_images: Images that a plain training sees.
    """
    noise, choice = pilot.noise_scale, pilot.choice
    noise_scale = usable_noise_scale(pilot)
    interval = [noise.low, noise.high]
    chosen = {
        "noise_scale": Setting(
            noise_scale,
            "two micro-batches a step, ratio of means (McCandlish et al., 2018, appendix A.1), of "
            "the gradients as the optimizer scales them",
            {
                "interval": interval,
                "determined": noise.value is not None,
                "of_raw_gradients": pilot.raw_noise_scale.value,
            },
        ),
        "batch_size": Setting(
            batch_choice.batch_size,
            "fastest to target, (B + B_noise) / r(B), of the sizes that fit into memory; of those "
            "that the scatter of the times cannot tell from it, the one nearest to the reference",
            {
                "noise_scale": interval,
                "relative_time": {
                    str(size): round(ratio, 3)
                    for size, ratio in batch_choice.relative_times.items()
                },
                "tie_margin": batch_choice.tie_margin,
                "reference_batch": reference,
                "device": throughput.device,
            },
        ),
    }
    held = recipe.get(SECTION, "batch_size")
    batch_size = held.value if held and held.source == "user" else chosen["batch_size"].value

    def at_batch(rate: float) -> float:
        return scale_learning_rate(rate, reference, batch_size, noise_scale)

    chosen["learning_rate"] = Setting(
        at_batch(choice.rate),
        f"best constant rate at batch {reference} by trials, scaled to the batch",
        {
            "reference_rate": choice.rate,
            "reference_batch": reference,
            "interval": [at_batch(choice.low), at_batch(choice.high)],
            "exponent": EXPONENT,
            "trial_losses": {f"{rate:.4g}": loss for rate, loss in sorted(choice.losses.items())},
        },
    )
    plain_steps = plain_images / reference
    reference_steps = plain_steps
    if fitted is not None and fitted.high < plain_steps:
        reference_steps = max(fitted.high, plain_steps / 4)
    steps = scale_steps(round(reference_steps), reference, batch_size, noise_scale)
    chosen["epochs"] = Setting(
        recipe.value(SECTION, "epochs") * steps * batch_size / plain_images,
        "length of a plain training, shorter where the loss curve is fitted before, scaled to the "
        "batch by steps = S_min (1 + B_noise / B)",
        {
            "plain_epochs": recipe.value(SECTION, "epochs"),
            "steps": steps,
            "reference_batch": reference,
            "steps_to_fit": None if fitted is None else dataclasses.asdict(fitted),
        },
    )
    clip = clip_threshold(pilot.norms, recipe.value(SECTION, "clip_norm"))
    if clip is not None:
        chosen["clip_norm"] = Setting(
            clip,
            "90th percentile of the gradient norms, which had spikes",
            {"median": float(np.median(pilot.norms)), "highest": float(pilot.norms.max())},
        )
    return chosen | _fastest_variant(throughput)


def _fastest_variant(throughput: Throughput) -> dict[str, Setting]:
    """Returns the settings of the fastest way to run the step, where one is clearly faster."""
    best = max(throughput.variants, key=lambda row: row.images_per_second, default=None)
    if best is None:
        return {}
    plain = next((row for row in throughput.by_batch if row.batch_size == best.batch_size), None)
    if plain is None or best.images_per_second < 1.1 * plain.images_per_second:
        return {}
    evidence: dict[str, Any] = {
        "images_per_second": best.images_per_second,
        "plain": plain.images_per_second,
    }
    return {
        "steps_per_call": Setting(best.steps_per_call, "fastest of those timed", evidence),
        "jit_compile": Setting(best.jit_compile, "faster of the two", evidence),
    }
