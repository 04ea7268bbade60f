"""What is decided: paired differences, and the strongest candidate that is as good as the best.

Shapes: S seeds, P parts of the held-out images. Trials of one seed share the images, their order
and all random numbers, so that candidates are compared in pairs.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from kfp_vision.components.shared.artifacts.search_result import (
    BASELINE,
    ROUNDS,
    Candidate,
    Confirmed,
    Trial,
)

__all__ = ["confirm", "paired_excess", "standard_error", "strongest_within_one_standard_error"]

# Standard errors that a gain must exceed: one-sided 95 % quantile of a normal variable.
_CLEAR_GAIN = 1.645


def paired_excess(trials: Iterable[Trial]) -> dict[Candidate, np.ndarray]:
    """Returns candidate -> its losses minus those of the baseline, [S, P], the best first.

    A candidate that has not finished with all seeds of the baseline is left out: it failed, or
    successive halving went on without it.
    """
    losses: dict[Candidate, dict[int, tuple[float, ...]]] = {}
    for trial in trials:
        if trial.losses:
            losses.setdefault(trial.candidate, {})[trial.seed] = trial.losses
    baseline = losses.get(BASELINE, {})
    excess = {
        candidate: np.array([np.subtract(held[seed], baseline[seed]) for seed in baseline])
        for candidate, held in losses.items()
        if baseline and baseline.keys() <= held.keys()
    }
    # On ties in an order that is not that of the workers.
    return dict(sorted(excess.items(), key=lambda item: (float(item[1].mean()), item[0].levels)))


def standard_error(differences: np.ndarray) -> float:
    """Returns that of the mean of [S, P], over seeds and over parts; of one seed, over parts."""
    axes = [axis for axis in (0, 1) if differences.shape[axis] > 1]
    variances = (differences.mean(1 - axis).var(ddof=1) / differences.shape[axis] for axis in axes)
    return float(sum(variances) ** 0.5)


def strongest_within_one_standard_error(excess: Mapping[Candidate, np.ndarray]) -> Candidate:
    """Returns the strongest candidate that is no worse than the baseline and as good as the best.

    As good is a mean loss within one standard error of the difference to the best. The strongest
    has the most techniques, and of as many the weaker levels: a training is a hundred times as
    long as a trial and overfits more, so that trials see what a technique costs before what it
    prevents.

    Args:
        excess: Result of `paired_excess`, with the baseline.

    Reference: Breiman et al., 1984, Classification and Regression Trees, section 3.4.3 (the rule,
        there for the simplest).
    """
    best = next(iter(excess.values()))
    near = [
        each
        for each, values in excess.items()
        if values.mean() <= 0 and (values - best).mean() <= standard_error(values - best)
    ]
    return max(near, key=_strength)


def _strength(candidate: Candidate) -> tuple[int, int, int]:
    levels = sum(level for _, level in candidate.levels)
    return len(candidate.levels), -len(candidate.without), -levels


def confirm(trials: Iterable[Trial]) -> Confirmed | None:
    """Returns the best of the confirmed candidates; None where none could be confirmed.

    It is accepted if its gain over the baseline is significant: trials do not see what a technique
    without effect costs, a longer training.
    """
    excess = paired_excess(trial for trial in trials if trial.round == ROUNDS[-1])
    others = [each for each in excess if each != BASELINE]
    if not others:
        return None
    clear = {each: values for each, values in excess.items() if _is_clear_gain(each, values)}
    chosen = strongest_within_one_standard_error(clear)
    shown = others[0] if chosen == BASELINE else chosen
    return Confirmed(
        candidate=shown,
        accepted=chosen != BASELINE,
        gain=-float(excess[shown].mean()),
        error=standard_error(excess[shown]),
        num_seeds=len(excess[shown]),
    )


def _is_clear_gain(candidate: Candidate, excess: np.ndarray) -> bool:
    """Returns whether the gain is significant; the baseline is always kept for comparison."""
    gain = -float(excess.mean())
    return candidate == BASELINE or gain > _CLEAR_GAIN * standard_error(excess)
