"""How much longer a training takes when its images are augmented: measured, not assumed.

Augmented images are harder, so that the same loss is reached later. Two short trainings from the
same weights, one with the policy and one without, say by what factor.
Source: Godbole et al., Deep Learning Tuning Playbook, 2023, "Deciding how long to train" (the
length is that which fits the training set; more regularisation needs more steps).
"""

import dataclasses

import numpy as np

from kfp_vision.components.shared.augmentation.policy import IDENTITY, Policy
from kfp_vision.components.shared.datasets.labelled import LabelledImages
from kfp_vision.components.shared.search.short_training import run_steps
from kfp_vision.components.shared.training.trainer import Trainer

__all__ = ["MAX_FACTOR", "Lengthening", "lengthening", "measure_lengthening"]

# What a policy may cost at most: beyond it the loss is one that the model will never reach.
MAX_FACTOR = 1.5
_MIN_STEPS = 32
_WARMUP_STEPS = 10


@dataclasses.dataclass(frozen=True)
class Lengthening:
    """Steps with a policy over steps without, to the same training loss.

    Attributes:
        factor: Within [1, MAX_FACTOR]; 1 where the curves do not tell.
        measured: Before it was limited; None where the plain loss does not fall significantly, or
            one of the two is not finite.
        low, high: 95 % interval of `measured`.
        plain_losses, policy_losses: [T], of curves that do not stay finite the part that is.
    """

    factor: float
    measured: float | None
    low: float | None
    high: float | None
    plain_losses: list[float]
    policy_losses: list[float]


def lengthening(plain_losses: np.ndarray, policy_losses: np.ndarray) -> Lengthening:
    """Returns the factor from two loss curves [T] of the same rate and the same images.

    A power law is fitted to each from its first quarter on. The factor is T over the step at which
    the plain one had the loss that the policy's ends with.

    Raises:
        ValueError: The curves differ in length or have fewer than 32 steps.
    """
    steps = len(plain_losses)
    if steps < _MIN_STEPS or len(policy_losses) != steps:
        raise ValueError(
            f"Two loss curves of equal length, at least {_MIN_STEPS} steps, are compared. "
            f"Received: {steps} and {len(policy_losses)}"
        )
    finite = np.isfinite(plain_losses) & np.isfinite(policy_losses)
    end_of_finite = steps if finite.all() else int(finite.argmin())
    curves = [losses[:end_of_finite].tolist() for losses in (plain_losses, policy_losses)]
    if end_of_finite < steps:
        return Lengthening(1.0, None, None, None, *curves)
    x = np.log(np.arange(steps // 4, steps) + 1.0)
    centred = x - x.mean()
    end = centred[-1]
    (slope, plain), covariance = _fit(centred, plain_losses[steps // 4 :])
    (policy_slope, policy), policy_covariance = _fit(centred, policy_losses[steps // 4 :])
    if slope + 2 * np.sqrt(covariance[0, 0]) >= 0:
        return Lengthening(1.0, None, None, None, *curves)
    at_end = policy + policy_slope * end
    crossing = (at_end - plain) / slope
    # Of both lines, at the end and at the crossing; over the slope it is one of log steps.
    towards_end, towards_crossing = np.array([end, 1.0]), np.array([crossing, 1.0])
    variance = (
        towards_end @ policy_covariance @ towards_end
        + towards_crossing @ covariance @ towards_crossing
    )
    error = np.sqrt(variance) / -slope
    exponents = np.array([0.0, -1.96, 1.96]) * error + end - crossing
    measured, low, high = np.exp(np.clip(exponents, -50.0, 50.0)).tolist()
    factor = float(np.clip(measured, 1.0, MAX_FACTOR))
    return Lengthening(factor, measured, low, high, *curves)


def _fit(x: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns slope and height of log loss over centred x, and their covariance."""
    coefficients, covariance = np.polyfit(x, np.log(np.maximum(losses, 1e-9)), 1, cov=True)
    return coefficients, covariance


def measure_lengthening(
    trainer: Trainer,
    images: LabelledImages,
    policy: Policy,
    learning_rate: float,
    batch_size: int,
    steps: int,
    seed: int,
) -> Lengthening:
    """Trains from the weights that the trainer has, plainly and with the policy, and puts it back.

    Args:
        trainer: Was made with a policy; has not taken a step.
        images: Training images.
        policy: What it costs is measured.
        learning_rate: Constant, after 10 steps of warm-up.
        batch_size: Images a step.
        steps: T, at least 32.
        seed: Of the order of the images.
    """
    initial = trainer.state()
    rows = np.arange(len(images))
    rates = learning_rate * np.minimum(1.0, np.arange(1, steps + 1) / _WARMUP_STEPS)
    curves = []
    for each in (IDENTITY, policy):
        trainer.use_policy(each)
        calls = run_steps(trainer, images, rows, rates, batch_size, seed)
        curves.append(np.concatenate([losses for _, losses in calls]))
        trainer.restore(initial)
    return lengthening(*curves)
