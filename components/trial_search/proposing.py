"""What is proposed: the trials of a round, as a pure function of the trials before it.

Successive halving over combinations: many candidates with one seed, the better half and what is
made of them next, the best with a second seed, and those left with fresh seeds and images.
Reference: Jamieson and Talwalkar, 2016, arXiv:1502.07943 (successive halving).
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from kfp_vision.components.shared.artifacts.augmentation_table import AugmentationTable, SearchPlan
from kfp_vision.components.shared.artifacts.search_result import (
    BASELINE,
    ROUNDS,
    Candidate,
    Trial,
)
from kfp_vision.components.trial_search.deciding import (
    paired_excess,
    standard_error,
    strongest_within_one_standard_error,
)
from kfp_vision.components.trial_search.techniques import (
    CUSTOMARY,
    PUBLISHED,
    SEVERAL_OPERATIONS,
    Technique,
    is_compatible,
    read_techniques,
    screening_order,
)

__all__ = ["SearchSpace", "next_trials", "read_space"]

_MAX_SEEDS = 3
# Affinities above 1 by less than this are those of chance.
_REVEALING = 1.1


@dataclasses.dataclass(frozen=True)
class SearchSpace:
    """What the trials choose from.

    Attributes:
        techniques: By name.
        prune_priority: Family -> transform -> how much of the labels it costs; the greatest is
            left out first.
        revealed: Techniques of one transform with an affinity well above 1, the greatest first.
    """

    techniques: Mapping[str, Technique]
    prune_priority: Mapping[str, Mapping[str, float]]
    revealed: Sequence[str] = ()


def read_space(table: AugmentationTable) -> SearchSpace:
    """Returns what the table leaves to choose from."""

    def cost(transform: str, magnitude: float) -> float:
        rows = [row for row in table.signals if row.transform == transform]
        return 1 - min(rows, key=lambda row: abs(row.magnitude - magnitude)).affinity

    priority = {
        group.name: {
            name: cost(name, high) for level in group.levels for name, high in level.items()
        }
        for group in table.groups
        # A technique of one transform is left out as a whole.
        if not group.always and len(group.levels[-1]) > 1
    }
    techniques = read_techniques(table.groups, table.regularisers, table.mixing)
    gains = {row.transform: row.affinity for row in table.signals if row.affinity >= _REVEALING}
    revealed = [name for name in techniques if name in gains]
    revealed.sort(key=gains.__getitem__, reverse=True)
    return SearchSpace(techniques, priority, revealed)


def next_trials(
    trials: Sequence[Trial], space: SearchSpace, plan: SearchPlan, seed: int
) -> list[Trial]:
    """Returns the trials of the first unfinished round that have not ended; none at the end.

    Args:
        trials: Trials so far, in any order.
        space: What is chosen from.
        plan: Numbers of trials.
        seed: Seed of the first rounds; the repetition and the confirmation take those after it.
    """
    ended = {trial.key for trial in trials if trial.ended}
    for place, name in enumerate(ROUNDS):
        before = [trial for trial in trials if ROUNDS.index(trial.round) < place]
        proposed = _propose(name, before, space, plan, seed)
        if missing := [trial for trial in proposed if trial.key not in ended]:
            return missing
    return []


def _propose(
    name: str, before: Sequence[Trial], space: SearchSpace, plan: SearchPlan, seed: int
) -> list[Trial]:
    """Returns the trials of a round; none where the baseline failed or nothing is below it."""
    number = _limits(plan)[name] - len(before)
    if name == ROUNDS[0]:
        candidates = screening_order(space.techniques, space.revealed)
        return [Trial(name, each, seed) for each in candidates[:number]]
    excess = paired_excess(before)
    if not excess or next(iter(excess)) == BASELINE:
        return []
    leading = (BASELINE, strongest_within_one_standard_error(excess), *excess)
    if name == "repetition":
        # The baseline alone would say nothing.
        repeated = list(dict.fromkeys(leading))[: number if number > 1 else 0]
        return [Trial(name, each, seed + 1) for each in repeated]
    if name == "confirmation":
        num_seeds = min(_MAX_SEEDS, plan.num_confirmed // 2)
        finalists = list(dict.fromkeys(leading))[: plan.num_confirmed // num_seeds]
        seeds = range(seed + 2, seed + 2 + num_seeds)
        return [Trial(name, each, fresh) for fresh in seeds for each in finalists]
    wanted = _remove(excess, space) if name == "removal" else _combine(excess, space)
    tried = {trial.candidate for trial in before}
    return [Trial(name, each, seed) for each in wanted if each not in tried][: max(0, number)]


def _limits(plan: SearchPlan) -> dict[str, int]:
    """Returns how many trials there are at most up to each round; what one leaves goes on."""
    total = plan.num_trials
    combined = total // 7
    # Few trials say more of other candidates than of the same ones once more, and one seed alone
    # does not tell which transform of a family to remove.
    removed, repeated = (total // 11, total // 5) if total >= 15 else (0, 0)
    screened = total - 2 * combined - removed - repeated
    numbers = (screened, combined, combined, removed, repeated, plan.num_confirmed)
    return dict(zip(ROUNDS, itertools.accumulate(numbers), strict=True))


def _alone(excess: Mapping[Candidate, np.ndarray]) -> dict[str, tuple[int, np.ndarray]]:
    """Returns technique -> its best level alone and its excess there, the best first."""
    found: dict[str, tuple[int, np.ndarray]] = {}
    for each, values in excess.items():
        if len(each.levels) == 1 and not each.without:
            ((name, level),) = each.levels
            found.setdefault(name, (level, values))
    return found


def _is_helpful(name: str, excess: np.ndarray) -> bool:
    """Returns whether a technique alone lowers the loss; of what is customary, does no harm."""
    return bool(excess.mean() < (standard_error(excess) if name in CUSTOMARY else 0.0))


def _combine(excess: Mapping[Candidate, np.ndarray], space: SearchSpace) -> list[Candidate]:
    """Returns combinations of what lowers the loss, the most promising first.

    All that helps alone beside the best, and what is customary unless it harms; then, of the best
    and of the strongest near it, several operations an image, a published policy for its families,
    one technique more, another level.
    """
    techniques = space.techniques
    helpful = [
        (name, level) for name, (level, own) in _alone(excess).items() if _is_helpful(name, own)
    ]
    best, strongest = next(iter(excess)), strongest_within_one_standard_error(excess)
    together = best
    for name, level in helpful:
        more = together.adding((name, level))
        if name not in dict(together.levels) and is_compatible(more, techniques):
            together = more
    found = [together]
    for start in dict.fromkeys((strongest, best)):
        names = dict(start.levels)
        found += [start.adding((SEVERAL_OPERATIONS, level)) for level in (0, 1)]
        rest = _without(start, lambda name: techniques[name].family)
        found += [_without(rest, PUBLISHED.__contains__).adding((name, 0)) for name in PUBLISHED]
        found += [start.adding(pair) for pair in helpful if pair[0] not in names]
        for name in names:
            found += [start.adding((name, each)) for each in range(len(techniques[name].levels))]
    known = (each for each in found if {name for name, _ in each.levels} <= techniques.keys())
    return [each for each in dict.fromkeys(known) if is_compatible(each, techniques)]


def _without(candidate: Candidate, condition: Callable[[str], bool]) -> Candidate:
    """Returns the candidate without some techniques, and without what needs a family."""
    kept = tuple(
        (name, level)
        for name, level in candidate.levels
        if not condition(name) and name != SEVERAL_OPERATIONS
    )
    return Candidate(kept)


def _remove(excess: Mapping[Candidate, np.ndarray], space: SearchSpace) -> list[Candidate]:
    """Returns the best candidate without its weakest technique, then with one transform less."""
    best = next(iter(excess))
    alone = _alone(excess)
    # What was never tried alone is taken to be of no use alone.
    means = {name: values.mean() for name, (_, values) in alone.items()}
    ordered = sorted(best.levels, key=lambda pair: -means.get(pair[0], 0.0))
    smaller = (best.removing(name) for name, _ in ordered if len(ordered) > 1)
    weakest = [each for each in smaller if is_compatible(each, space.techniques)][:1]
    costs = _union(space.prune_priority.get(name, {}) for name, _ in best.levels)
    transforms = sorted(costs, key=lambda each: -costs[each])
    return weakest + [Candidate(best.levels, (each,)) for each in transforms]


def _union(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    return {name: value for part in parts for name, value in part.items()}
