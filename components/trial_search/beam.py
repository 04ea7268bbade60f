"""A beam over techniques in rounds; techniques are not additive, so they are judged together.

Every round is a function of the trials so far: it can be proposed in one process, run in others,
and proposed again after an interruption.
"""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kfp_vision.components.shared.artifacts import ROUNDS
from kfp_vision.components.shared.training.search_plan import CONFIRMATIONS

__all__ = [
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
_EXPANSIONS = {"expansion 1": 4, "expansion 2": 3}
# Of techniques that gain alike the fewest are chosen: alike within this share of the best gain.
_ALIKE_SHARE = 0.1
# A technique that alone costs less than this share of what the best one gains may still help it.
_TOLERATED_SHARE = 0.25


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
    suspicion: Mapping[str, Mapping[str, float]],
    num_screened: int,
    num_combined: int,
    seed: int,
) -> list[Trial]:
    """Returns the trials of a round, none of which has been run.

    Screening tries the plain training and every technique alone; the first expansion the best few
    and all that helped together; the second adds to the best of all these what they do not have;
    pruning leaves one technique or one transform of the best out. Confirmation repeats the best and
    the plain training with fresh seeds.

    Args:
        round_name: One of `ROUNDS`.
        done: Trials of the rounds before.
        techniques: Name -> number of levels, what is worth most first.
        exclusive: Techniques that are tried alone only.
        suspicion: Technique -> transform -> how likely it is that it does harm.
        num_screened: Trials of screening.
        num_combined: Trials of expansions and pruning.
        seed: Of all rounds but the confirmation.
    """
    if round_name == ROUNDS[0]:
        singles = [PLAIN, *_singles(techniques)]
        return [Trial(round_name, each, seed) for each in singles[:num_screened]]
    losses = _losses(done, seed)
    if not losses:
        return []
    if round_name == ROUNDS[-1]:
        return _confirm(losses, seed)
    combined = {name: number for name, number in techniques.items() if name not in exclusive}
    alone = _gains_alone(losses)
    if round_name == "expansion 1":
        wanted = _first_combinations(alone, combined, _EXPANSIONS[round_name])
    elif round_name == "expansion 2":
        wanted = _expand(losses, alone, combined)
    else:
        wanted = _prune(losses, alone, suspicion)
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


def _gains_alone(losses: Mapping[Candidate, float]) -> dict[tuple[str, int], float]:
    """Returns what each technique takes off the loss at its best level, the best technique first.

    Those that do harm are left out.
    """
    singles = {each: loss for each, loss in losses.items() if len(each.levels) == 1}
    if not singles:
        return {}
    plain = losses.get(PLAIN, max(singles.values()))
    tolerated = _TOLERATED_SHARE * max(0.0, plain - min(singles.values()))
    found: dict[str, tuple[tuple[str, int], float]] = {}
    for each, loss in singles.items():
        if loss < plain + tolerated:
            found.setdefault(each.levels[0][0], (each.levels[0], plain - loss))
    return dict(found.values())


def _first_combinations(
    alone: Mapping[tuple[str, int], float], combined: Collection[str], number: int
) -> list[Candidate]:
    """Returns sets of what helped, the largest first, of sizes between all and two."""
    helpful = [pair for pair, gain in alone.items() if gain > 0 and pair[0] in combined]
    if len(helpful) < 2:
        return []
    sizes = {round(size) for size in np.geomspace(2, len(helpful), number)}
    return [Candidate(tuple(sorted(helpful[:size]))) for size in sorted(sizes, reverse=True)]


def _expand(
    losses: Mapping[Candidate, float],
    alone: Mapping[tuple[str, int], float],
    combined: Mapping[str, int],
) -> list[Candidate]:
    """Returns the best candidates with a technique more or one at another level.

    Those of the best one come first: what helped alone, then other levels, then what did not.
    """
    found: list[Candidate] = []
    for held in list(losses)[:_WIDTH]:
        if not set(dict(held.levels)) <= set(combined):
            continue
        names = dict(held.levels)
        added = {pair: gain for pair, gain in alone.items() if pair[0] in {*combined} - {*names}}
        found += [held.adding(*pair) for pair, gain in added.items() if gain > 0]
        for name, level in held.levels:
            found += [held.adding(name, other) for other in range(combined[name]) if other != level]
        found += [held.adding(*pair) for pair, gain in added.items() if gain <= 0]
    return list(dict.fromkeys(found))


def _prune(
    losses: Mapping[Candidate, float],
    alone: Mapping[tuple[str, int], float],
    suspicion: Mapping[str, Mapping[str, float]],
) -> list[Candidate]:
    """Returns the best candidate without its weakest technique, then with one transform less."""
    best = _simplest(losses)
    gains = {name: gain for (name, _), gain in alone.items()}
    smaller = []
    if len(best.levels) > 1:
        weakest = min((name for name, _ in best.levels), key=lambda name: gains.get(name, 0.0))
        smaller.append(best.leaving_out(weakest))
    suspects = {
        transform: harm
        for name, _ in best.levels
        for transform, harm in suspicion.get(name, {}).items()
        # A technique of one transform is left out as a whole.
        if len(suspicion[name]) > 1
    }
    ordered = sorted(suspects, key=lambda each: -suspects[each])
    return smaller + [Candidate(best.levels, (transform,)) for transform in ordered]


def _simplest(losses: Mapping[Candidate, float]) -> Candidate:
    """Returns the candidate of the fewest techniques among those that gain like the best.

    Of these the one of the most transforms: what does no harm is not left out by chance.
    """
    least = min(losses.values())
    alike = _ALIKE_SHARE * max(0.0, losses.get(PLAIN, least) - least)
    near = [each for each, loss in losses.items() if loss <= least + alike]
    return min(near, key=lambda each: (len(each.levels), len(each.without), losses[each]))


def _confirm(losses: Mapping[Candidate, float], seed: int) -> list[Trial]:
    """Returns the plain training and the best candidate with seeds that no choice has seen."""
    best = _simplest(losses)
    if best == PLAIN:
        return []
    return [
        Trial(ROUNDS[-1], each, seed + offset)
        for offset in range(1, CONFIRMATIONS + 1)
        for each in (PLAIN, best)
    ]


@dataclasses.dataclass(frozen=True)
class Gain:
    """What a candidate takes off the plain held-out loss, over fresh seeds in pairs.

    Attributes:
        candidate: Which.
        gain: Mean, nats.
        error: Standard error of the mean, nats.
        noise: Standard deviation of the plain trials, nats.
        accepted: The gain is above two of its errors and above two standard errors of the plain
            trials' mean.
    """

    candidate: Candidate
    gain: float
    error: float
    noise: float
    accepted: bool


def decide(done: Sequence[Trial], seed: int) -> Gain | None:
    """Returns what the confirmed candidate gains; None where none was, or a trial failed."""
    by_key = {trial.key: trial.loss for trial in done}
    seeds = range(seed + 1, seed + 1 + CONFIRMATIONS)
    plain = [by_key.get((PLAIN, each)) for each in seeds]
    if any(loss is None for loss in plain):
        return None
    last = (trial.candidate for trial in done if trial.round == ROUNDS[-1])
    candidate = next((each for each in last if each != PLAIN), PLAIN)
    losses = [by_key.get((candidate, each)) for each in seeds]
    if candidate == PLAIN or any(loss is None for loss in losses):
        return None
    gains = np.array(plain, float) - np.array(losses, float)
    error = float(gains.std(ddof=1) / np.sqrt(len(gains)))
    noise = float(np.std(np.array(plain, float), ddof=1))
    bound = _SIGMAS * max(error, noise / np.sqrt(len(gains)))
    mean = float(gains.mean())
    return Gain(candidate, mean, error, noise, bool(mean > bound))
