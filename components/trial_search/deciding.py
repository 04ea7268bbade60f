"""What is decided: paired differences, and the strongest candidate that is as good as the best.

Shapes: S seeds, P parts of the held-out images. Trials of one seed share the images, their order
and all random numbers, so that candidates are compared in pairs.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from scipy.special import stdtrit

from kfp_vision.components.shared.artifacts.search_result import (
    BASELINE,
    ROUNDS,
    Candidate,
    Confirmed,
    Trial,
)

__all__ = [
    "confirm",
    "gain_test",
    "paired_excess",
    "standard_error",
    "strongest_within_one_standard_error",
]

# One-sided level of all tests of a search together.
_LEVEL = 0.03


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
    """Returns the best of the confirmed candidates; None where fewer than two seeds have ended.

    It is accepted if its gain over the baseline is significant: trials do not show the cost of a
    technique without effect, a longer training.
    """
    last = [trial for trial in trials if trial.round == ROUNDS[-1] and trial.losses]
    # The seeds in one order, in whatever order the workers return them.
    last.sort(key=lambda trial: trial.seed)
    excess = paired_excess(last)
    others = [each for each in excess if each != BASELINE]
    baseline = [np.mean(trial.losses) for trial in last if trial.candidate == BASELINE]
    # One seed does not show how much seeds scatter.
    if not others or len(baseline) < 2:
        return None
    losses = np.stack([np.array(baseline) + values.mean(1) for values in excess.values()])
    level = _LEVEL / len(others)
    tests = {each: gain_test(-excess[each], losses, level) for each in others}
    clear = [each for each in others if -excess[each].mean() > tests[each][1]]
    chosen = strongest_within_one_standard_error(
        {each: excess[each] for each in [*clear, BASELINE]}
    )
    shown = others[0] if chosen == BASELINE else chosen
    error, threshold = tests[shown]
    return Confirmed(
        candidate=shown,
        accepted=chosen != BASELINE,
        gain=-float(excess[shown].mean()),
        error=error,
        threshold=threshold,
        num_seeds=len(excess[shown]),
    )


def gain_test(gains: np.ndarray, losses: np.ndarray, level: float) -> tuple[float, float]:
    """Returns the standard error of a mean gain, and the threshold above which it is significant.

    The variance is a sum. Its part between images is the scatter over their parts. Its part between
    seeds is the residual of the losses after the means of candidates and seeds, pooled over the
    candidates, of which each alone has too few seeds. Of two seeds that residual says too little:
    the means of candidates alone are taken off, which is conservative where seeds have effects that
    candidates share.

    Args:
        gains: Losses of the baseline minus those of the candidate, [S, P], S and P > 1.
        losses: Mean losses of all C candidates, the baseline included, [C, S].
        level: One-sided level of the test.

    Reference: Satterthwaite, 1946, Biometrics Bulletin 2, 110 (degrees of freedom of a sum).
    """
    (num_seeds, num_parts), num_candidates = gains.shape, len(losses)
    residual = losses - losses.mean(1, keepdims=True)
    seed_degrees, part_degrees = num_candidates * (num_seeds - 1), num_parts - 1
    if num_seeds > 2:
        residual -= residual.mean(0)
        seed_degrees -= num_seeds - 1
    # A gain is the difference of two losses.
    of_seeds = 2 * (residual**2).sum() / seed_degrees / num_seeds
    of_parts = gains.mean(0).var(ddof=1) / num_parts
    error = (of_seeds + of_parts) ** 0.5
    if error == 0:
        return 0.0, 0.0
    degrees = error**4 / (of_seeds**2 / seed_degrees + of_parts**2 / part_degrees)
    return float(error), float(error * stdtrit(degrees, 1 - level))
