"""A beam over techniques in rounds; techniques are not additive, so they are judged together.

Every round is a function of the trials so far: it can be proposed in one process, run in others,
and proposed again after an interruption.
"""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kfp_vision.components.shared.artifacts import ROUNDS

__all__ = [
    "LEAST_SHARE",
    "PLAIN",
    "Candidate",
    "Gain",
    "Trial",
    "decide",
    "propose",
]

_WIDTH = 2
_SIGMAS = 2.0
# Trials at most of each expansion; the rest prunes.
_EXPANSIONS = {"expansion 1": 3, "expansion 2": 3}
# Of the best gain: what gains so much in short trials may be the best in a training.
_NEAR_SHARE = 0.75
# Of the plain loss: what gains less is not worth the trials that it takes to be sure of it.
LEAST_SHARE = 0.02


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Techniques that are tried together.

    Attributes:
        levels: (technique, level) in alphabetical order; a technique that is absent is off.
        without: Transforms that are left out of the techniques.
    """

    levels: tuple[tuple[str, int], ...] = ()
    without: tuple[str, ...] = ()

    def adding(self, technique: str, level: int) -> "Candidate":
        """Returns the candidate with a technique at a level, whatever it was at before."""
        levels = {**dict(self.levels), technique: level}
        return Candidate(tuple(sorted(levels.items())), self.without)

    def leaving_out(self, technique: str) -> "Candidate":
        """Returns the candidate without a technique."""
        return Candidate(tuple(pair for pair in self.levels if pair[0] != technique), self.without)


PLAIN = Candidate()


@dataclasses.dataclass(frozen=True)
class Trial:
    """A candidate that is tried with a seed and, once it has ended, how.

    Attributes:
        round: One of `ROUNDS`.
        candidate: What is tried.
        seed: Of the images, their order and everything random.
        loss: Validation loss in nats; None before the end and when the trial failed.
        seconds: That it took.
        error: Why it failed; empty when it did not.
    """

    round: str
    candidate: Candidate
    seed: int
    loss: float | None = None
    seconds: float = 0.0
    error: str = ""

    @property
    def key(self) -> tuple[Candidate, int]:
        """Returns what the loss depends on."""
        return self.candidate, self.seed

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        levels, without = dict(self.candidate.levels), list(self.candidate.without)
        return {**dataclasses.asdict(self), "candidate": {"levels": levels, "without": without}}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Trial":
        """Returns what `to_json` wrote, before or after a trip through a file."""
        held = values["candidate"]
        # KFP makes floats of integers on the way.
        levels = tuple(sorted((name, int(level)) for name, level in held["levels"].items()))
        candidate = Candidate(levels, tuple(held["without"]))
        return cls(**{**values, "candidate": candidate, "seed": int(values["seed"])})


def propose(
    round_name: str,
    done: Sequence[Trial],
    techniques: Mapping[str, int],
    exclusive: Collection[str],
    needs: Mapping[str, Collection[str]],
    suspicion: Mapping[str, Mapping[str, float]],
    num_screened: int,
    num_combined: int,
    num_confirmed: int,
    seed: int,
) -> list[Trial]:
    """Returns the trials of a round, none of which has been run.

    Screening tries the plain training and every technique alone; the first expansion the best few
    and all that helped together; the second adds to the best of all these what they do not have;
    pruning leaves one technique or one transform of the best out. Confirmation repeats the plain
    training, the best candidate and, with six trials, the richest one near it with fresh seeds.

    Args:
        round_name: One of `ROUNDS`.
        done: Trials of the rounds before.
        techniques: Name -> number of levels, what is worth most first.
        exclusive: Techniques that are tried alone only.
        needs: Techniques that are never tried alone -> others, of which they need one.
        suspicion: Technique -> transform -> how likely it is that it does harm.
        num_screened: Trials of screening.
        num_combined: Trials of expansions and pruning.
        num_confirmed: Trials of the confirmation.
        seed: Of all rounds but the confirmation.
    """
    if round_name == ROUNDS[0]:
        alone = {name: number for name, number in techniques.items() if name not in needs}
        singles = [PLAIN, *_singles(alone)]
        return [Trial(round_name, each, seed) for each in singles[:num_screened]]
    losses = _losses(done, seed)
    if PLAIN not in losses or _best(losses) == PLAIN:
        return []
    if round_name == ROUNDS[-1]:
        return _confirm(losses, num_confirmed, seed)
    combined = {name: number for name, number in techniques.items() if name not in exclusive}
    helpful = [pair for pair in _helpful(losses) if pair[0] not in exclusive]
    if round_name == "expansion 1":
        wanted = _first_combinations(helpful, _EXPANSIONS[round_name])
    elif round_name == "expansion 2":
        wanted = _expand(losses, helpful, combined, needs)
    else:
        wanted = _prune(losses, helpful, needs, suspicion)
    tried = {trial.candidate for trial in done}
    left = num_combined - sum(trial.round != ROUNDS[0] for trial in done)
    new = [each for each in wanted if each not in tried]
    return [
        Trial(round_name, each, seed)
        for each in new[: max(0, min(_EXPANSIONS.get(round_name, left), left))]
    ]


def _losses(done: Iterable[Trial], seed: int) -> dict[Candidate, float]:
    """Returns the losses of the finished trials of one seed, the best first."""
    found = {
        trial.candidate: trial.loss
        for trial in done
        if trial.seed == seed and trial.loss is not None
    }
    return dict(sorted(found.items(), key=lambda item: (item[1], len(item[0].levels))))


def _singles(techniques: Mapping[str, int]) -> list[Candidate]:
    """Returns each technique alone, all at their strongest levels before the weaker ones."""
    ordered = sorted(
        (number - level, place, name, level)
        for place, (name, number) in enumerate(techniques.items())
        for level in range(number)
    )
    return [PLAIN.adding(name, level) for _, _, name, level in ordered]


def _helpful(losses: Mapping[Candidate, float]) -> list[tuple[str, int]]:
    """Returns the techniques that alone lower the loss, at their best levels, the best first."""
    found: dict[str, int] = {}
    for each, loss in losses.items():
        if len(each.levels) == 1 and loss < losses[PLAIN]:
            found.setdefault(*each.levels[0])
    return list(found.items())


def _first_combinations(helpful: Sequence[tuple[str, int]], number: int) -> list[Candidate]:
    """Returns sets of what helped, the largest first, of sizes between all and two."""
    if len(helpful) < 2:
        return []
    sizes = {round(size) for size in np.geomspace(2, len(helpful), number)}
    return [Candidate(tuple(sorted(helpful[:size]))) for size in sorted(sizes, reverse=True)]


def _expand(
    losses: Mapping[Candidate, float],
    helpful: Sequence[tuple[str, int]],
    combined: Mapping[str, int],
    needs: Mapping[str, Collection[str]],
) -> list[Candidate]:
    """Returns the best candidates with a technique more or one at another level.

    Those of the best one come first: what is never tried alone, what helped alone, other levels.
    """
    found: list[Candidate] = []
    for held in list(losses)[:_WIDTH]:
        names = dict(held.levels)
        if not set(names) <= set(combined):
            continue
        for name, others in needs.items():
            if name not in names and {*others} & {*names}:
                found += [held.adding(name, level) for level in reversed(range(combined[name]))]
        found += [held.adding(*pair) for pair in helpful if pair[0] not in names]
        for name, level in held.levels:
            found += [held.adding(name, other) for other in range(combined[name]) if other != level]
    return list(dict.fromkeys(found))


def _prune(
    losses: Mapping[Candidate, float],
    helpful: Sequence[tuple[str, int]],
    needs: Mapping[str, Collection[str]],
    suspicion: Mapping[str, Mapping[str, float]],
) -> list[Candidate]:
    """Returns the best candidate without its weakest technique, then with one transform less."""
    best = _best(losses)
    smaller = []
    names = [name for name, _ in best.levels if name not in needs]
    if len(names) > 1:
        ranks = {name: rank for rank, (name, _) in enumerate(helpful)}
        rest = best.leaving_out(max(names, key=ranks.__getitem__))
        for name, others in needs.items():
            if not {*others} & {*dict(rest.levels)}:
                rest = rest.leaving_out(name)
        smaller.append(rest)
    suspects = {
        transform: harm
        for name, _ in best.levels
        for transform, harm in suspicion.get(name, {}).items()
        # A technique of one transform is left out as a whole.
        if len(suspicion[name]) > 1
    }
    ordered = sorted(suspects, key=lambda each: -suspects[each])
    return smaller + [Candidate(best.levels, (transform,)) for transform in ordered]


def _best(losses: Mapping[Candidate, float]) -> Candidate:
    """Returns the candidate of the least loss, the plain one where even that gains too little."""
    best = next(iter(losses))
    return best if losses[PLAIN] - losses[best] >= LEAST_SHARE * losses[PLAIN] else PLAIN


def _richest(losses: Mapping[Candidate, float]) -> Candidate:
    """Returns the candidate of the most techniques among those that gain somewhat like the best.

    A training is a hundred times as long as a trial: it pays what a technique costs at first, and
    has more that it prevents.
    """
    plain, least = losses[PLAIN], min(losses.values())
    near = [each for each, loss in losses.items() if plain - loss >= _NEAR_SHARE * (plain - least)]
    return max(near, key=lambda each: (len(each.levels), -len(each.without), -losses[each]))


def _confirm(losses: Mapping[Candidate, float], number: int, seed: int) -> list[Trial]:
    """Returns the plain training and what may be best with seeds that no choice has seen."""
    candidates = list(dict.fromkeys((PLAIN, _best(losses), _richest(losses))))
    # A mean has an error from two of them on.
    candidates = candidates[: number // 2]
    return [
        Trial(ROUNDS[-1], each, seed + offset)
        for offset in range(1, number // len(candidates) + 1)
        for each in candidates
    ]


@dataclasses.dataclass(frozen=True)
class Gain:
    """What a candidate takes off the plain held-out loss, over fresh seeds in pairs.

    Attributes:
        candidate: The better one of those that were confirmed.
        gain: Mean, nats.
        error: Standard error of the mean, nats, from the scatter of the pairs of all that were.
        noise: Standard deviation of the plain trials, nats.
        num_pairs: How many the mean is of.
        accepted: The gain is above two of its errors and above two standard errors of the plain
            trials' mean.
    """

    candidate: Candidate
    gain: float
    error: float
    noise: float
    num_pairs: int
    accepted: bool


def decide(done: Sequence[Trial]) -> Gain | None:
    """Returns what the best confirmed candidate gains.

    It is None where none was confirmed, or a trial of the plain training or of each one failed.
    """
    last = [trial for trial in done if trial.round == ROUNDS[-1]]
    losses = {trial.key: trial.loss for trial in last}
    seeds = sorted({trial.seed for trial in last})
    held = {
        candidate: np.array([losses.get((candidate, seed)) for seed in seeds], float)
        for candidate in dict.fromkeys(trial.candidate for trial in last)
    }
    # What failed is not a number.
    finished = {candidate: each for candidate, each in held.items() if np.isfinite(each).all()}
    if PLAIN not in finished or len(finished) < 2:
        return None
    plain = finished.pop(PLAIN)
    gains = {candidate: plain - each for candidate, each in finished.items()}
    best = max(gains, key=lambda candidate: float(gains[candidate].mean()))
    pairs = len(plain)
    scatter = np.mean([each.var(ddof=1) for each in gains.values()])
    error, noise = float(np.sqrt(scatter / pairs)), float(plain.std(ddof=1))
    mean = float(gains[best].mean())
    bound = _SIGMAS * max(error, noise / np.sqrt(pairs))
    return Gain(best, mean, error, noise, pairs, bool(mean > bound))
