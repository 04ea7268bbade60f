"""A beam over techniques in rounds; techniques are not additive, so they are judged together.

Every round is a function of the trials so far: it can be proposed in one process, run in others,
and proposed again after an interruption.
"""

import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kfp_vision.components.shared.artifacts import ROUNDS
from kfp_vision.components.shared.training.search_plan import LEAST_TRIALS

__all__ = [
    "CONFIRMATIONS",
    "PLAIN",
    "Candidate",
    "Gain",
    "Trial",
    "decide",
    "propose",
]

# Seeds that the choice has not seen.
CONFIRMATIONS = 3
_WIDTH = 2
_SIGMAS = 2.0
# Of the trials before confirmation, those of the screening.
_SCREENING_SHARE = 0.7
# Of the trials after screening and confirmation, those of each expansion; the rest prunes.
_EXPANSION_SHARE = 0.45


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
    affordable: int,
    seed: int,
) -> list[Trial]:
    """Returns the trials of a round, none of which has been run.

    Screening tries every technique alone; two expansions add techniques that helped alone to the
    best candidates; pruning leaves one technique or one transform of the best out; confirmation
    repeats the best two and the plain training with fresh seeds.

    Args:
        round_name: One of `ROUNDS`.
        done: Trials of the rounds before.
        techniques: Name -> number of levels, what is worth most first.
        exclusive: Techniques that are tried alone only.
        suspicion: Technique -> transform -> how likely it is that it does harm.
        affordable: Trials of all rounds together.
        seed: Of all rounds but the confirmation.
    """
    losses = _losses(done, seed)
    # The second candidate is confirmed only where there are trials for both.
    reserved = CONFIRMATIONS * (1 + _WIDTH if affordable >= 2 * LEAST_TRIALS else 2)
    left = affordable - len(done) - (reserved if round_name != "confirmation" else 0)
    wanted: Iterable[Candidate]
    if round_name == "screening" and affordable < LEAST_TRIALS:
        wanted = ()
    elif round_name == "screening":
        singles = [PLAIN, *_singles(techniques)]
        wanted = singles[: round(left * _SCREENING_SHARE)]
    elif not losses:
        wanted = ()
    elif round_name.startswith("expansion"):
        later = affordable - reserved - sum(trial.round == "screening" for trial in done)
        wanted = _expand(losses, {*techniques} - {*exclusive})[: round(later * _EXPANSION_SHARE)]
    elif round_name == "pruning":
        wanted = _prune(losses, suspicion)[: max(0, left)]
    else:
        return _confirm(losses, left, seed)
    return [Trial(round_name, each, seed) for each in wanted if each not in losses]


def _losses(done: Iterable[Trial], seed: int) -> dict[Candidate, float]:
    """Returns the losses of the finished trials of one seed, the best first."""
    found = {
        trial.candidate: trial.loss
        for trial in done
        if trial.seed == seed and trial.loss is not None
    }
    return dict(sorted(found.items(), key=lambda item: (item[1], len(item[0].levels))))


def _singles(techniques: Mapping[str, int]) -> list[Candidate]:
    """Returns each technique alone, at its strongest level first."""
    return [
        PLAIN.adding(name, level)
        for name, number in techniques.items()
        for level in reversed(range(number))
    ]


def _expand(losses: Mapping[Candidate, float], combined: Collection[str]) -> list[Candidate]:
    """Returns candidates one technique larger, those of the greatest expected gain first."""
    plain = losses.get(PLAIN, max(losses.values()))
    alone = {
        each.levels[0]: plain - loss
        for each, loss in losses.items()
        if len(each.levels) == 1 and each.levels[0][0] in combined
    }
    helpful = {pair: gain for pair, gain in alone.items() if gain > 0}
    best_levels: dict[str, tuple[str, int]] = {}
    for pair in sorted(helpful, key=lambda pair: -helpful[pair]):
        best_levels.setdefault(pair[0], pair)
    everything = PLAIN
    for pair in best_levels.values():
        everything = everything.adding(*pair)
    scored: dict[Candidate, float] = {everything: sum(helpful.values())} if helpful else {}
    for held, loss in list(losses.items())[:_WIDTH]:
        if held.without or not set(dict(held.levels)) <= set(combined):
            continue
        for pair, gain in helpful.items():
            if pair not in held.levels:
                scored.setdefault(held.adding(*pair), plain - loss + gain)
    ordered = sorted(scored, key=lambda each: -scored[each])
    return [each for each in ordered if each not in losses]


def _prune(
    losses: Mapping[Candidate, float], suspicion: Mapping[str, Mapping[str, float]]
) -> list[Candidate]:
    """Returns the best candidate with one technique less, then with one transform less."""
    best = next(iter(losses))
    smaller = [best.leaving_out(name) for name, _ in best.levels] if len(best.levels) > 1 else []
    suspects = {
        transform: harm
        for name, _ in best.levels
        for transform, harm in suspicion.get(name, {}).items()
    }
    if len(suspects) > 1:
        for transform in sorted(suspects, key=lambda each: -suspects[each]):
            smaller.append(Candidate(best.levels, (transform,)))
    return [each for each in smaller if each not in losses]


def _confirm(losses: Mapping[Candidate, float], left: int, seed: int) -> list[Trial]:
    """Returns the plain training and the best candidates with seeds that no choice has seen."""
    plain = losses.get(PLAIN, np.inf)
    better = [each for each, loss in losses.items() if loss < plain][:_WIDTH]
    # Without a second candidate where the trials are few.
    better = better[: left // CONFIRMATIONS - 1]
    if not better:
        return []
    return [
        Trial(ROUNDS[-1], each, seed + offset)
        for offset in range(1, CONFIRMATIONS + 1)
        for each in (PLAIN, *better)
    ]


@dataclasses.dataclass(frozen=True)
class Gain:
    """What a candidate takes off the plain validation loss, over fresh seeds in pairs.

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
    """Returns the best of the confirmed candidates; None where none was confirmed."""
    by_key = {trial.key: trial.loss for trial in done}
    seeds = range(seed + 1, seed + 1 + CONFIRMATIONS)
    plain = [by_key.get((PLAIN, each)) for each in seeds]
    if any(loss is None for loss in plain):
        return None
    confirmed = {trial.candidate for trial in done if trial.round == ROUNDS[-1]} - {PLAIN}
    found = []
    for candidate in sorted(confirmed, key=lambda each: json.dumps(each.levels)):
        losses = [by_key.get((candidate, each)) for each in seeds]
        if any(loss is None for loss in losses):
            continue
        gains = np.array(plain, float) - np.array(losses, float)
        error = float(gains.std(ddof=1) / np.sqrt(len(gains)))
        noise = float(np.std(np.array(plain, float), ddof=1))
        bound = _SIGMAS * max(error, noise / np.sqrt(len(gains)))
        mean = float(gains.mean())
        found.append(Gain(candidate, mean, error, noise, bool(mean > bound)))
    return max(found, key=lambda each: each.gain, default=None)
