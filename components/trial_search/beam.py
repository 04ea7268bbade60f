"""A beam over techniques in rounds; techniques are not additive, so they are judged together.

Every round is a function of the trials so far: it can be proposed in one process, run in others,
and proposed again after an interruption.
"""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import stdtrit

from kfp_vision.components.shared.artifacts.search_result import ROUNDS

__all__ = [
    "LEAST_SHARE",
    "PLAIN",
    "Candidate",
    "Gain",
    "Trial",
    "decide",
    "gain_error",
    "presume",
    "propose",
    "standard_error",
]

_SIGMAS = 2.0
# A gain that chance alone reaches less often than this, one-sided, is accepted. One of two
# candidates is chosen after both were confirmed: together they stay below twice as much.
_LEVEL = 0.025
# Seeds of the last round: with two, the scatter between them would be known from one difference.
_FRESH_SEEDS = 3
# Trials of the first round: where nothing of what is worth most helps, the rest is not tried.
_FIRST = 6
# Trials at most of each expansion; the rest prunes.
_EXPANSIONS = {"expansion 1": 3, "expansion 2": 3}
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
        losses: Mean losses in nats of equal parts of the held-out images, the same parts in all
            trials; empty before the end and when the trial failed.
        seconds: That it took.
        error: Why it failed; empty when it did not.
        out_of_memory: It failed for want of memory, which says nothing of the candidate.
    """

    round: str
    candidate: Candidate
    seed: int
    losses: tuple[float, ...] = ()
    seconds: float = 0.0
    error: str = ""
    out_of_memory: bool = False

    @property
    def loss(self) -> float | None:
        """Returns the mean loss of the held-out images in nats, None where there is none."""
        return float(np.mean(self.losses)) if self.losses else None

    @property
    def key(self) -> tuple[Candidate, int]:
        """Returns what the loss depends on."""
        return self.candidate, self.seed

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        levels, without = dict(self.candidate.levels), list(self.candidate.without)
        return {
            **dataclasses.asdict(self),
            "candidate": {"levels": levels, "without": without},
            "losses": list(self.losses),
            "loss": self.loss,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Trial":
        """Returns what `to_json` wrote, before or after a trip through a file."""
        values = {name: value for name, value in values.items() if name != "loss"}
        held = values["candidate"]
        # KFP makes floats of integers on the way.
        levels = tuple(sorted((name, int(level)) for name, level in held["levels"].items()))
        candidate = Candidate(levels, tuple(held["without"]))
        losses = tuple(values["losses"])
        return cls(
            **{**values, "candidate": candidate, "seed": int(values["seed"]), "losses": losses}
        )


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

    Screening tries the plain training and five techniques alone. Where one of them helps, the first
    expansion tries the other techniques, and the best few and all that helped together; the second
    adds what they do not have to the richest candidate near the best, and to the best; pruning
    leaves one technique or one transform of the best out. Confirmation repeats the plain training,
    the richest near the best and, with nine trials, the best itself with fresh seeds. Without a
    confirmation the first round is all: the plain training, each technique alone, all together.

    Args:
        round_name: One of `ROUNDS`.
        done: Trials of the rounds before.
        techniques: Name -> number of levels, what is worth most first.
        exclusive: Techniques that are tried alone only.
        needs: Techniques that are never tried alone -> others, of which they need one.
        suspicion: Technique -> transform -> how likely it is that it does harm.
        num_screened: Trials of the plain training and of techniques alone.
        num_combined: Trials of techniques together.
        num_confirmed: Trials of the confirmation.
        seed: Of all rounds but the confirmation.
    """
    if not num_confirmed:
        customary = _customary(techniques) if round_name == ROUNDS[0] else []
        return [Trial(round_name, each, seed) for each in customary[:num_screened]]
    alone = {name: number for name, number in techniques.items() if name not in needs}
    screened = [PLAIN, *_singles(alone)][:num_screened]
    if round_name == ROUNDS[0]:
        return [Trial(round_name, each, seed) for each in screened[:_FIRST]]
    losses = _losses(done, seed)
    if PLAIN not in losses or _best(losses) == PLAIN:
        return []
    if round_name == ROUNDS[-1]:
        return _confirm(done, num_confirmed, seed)
    combined = {name: number for name, number in techniques.items() if name not in exclusive}
    helpful = [pair for pair in _helpful(losses) if pair[0] not in exclusive]
    if round_name == "expansion 1":
        wanted = _first_combinations(helpful, _EXPANSIONS[round_name])
    elif round_name == "expansion 2":
        starts = list(dict.fromkeys((_richest(losses, _parts(done, seed)), _best(losses))))
        wanted = _expand(starts, helpful, combined, needs)
    else:
        wanted = _prune(losses, helpful, needs, suspicion)
    tried = {trial.candidate for trial in done}
    left = num_combined - len(tried.difference(screened))
    new = [each for each in wanted if each not in tried]
    new = new[: max(0, min(_EXPANSIONS.get(round_name, left), left))]
    rest = screened[_FIRST:] if round_name == ROUNDS[1] else []
    return [Trial(round_name, each, seed) for each in rest + new]


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


def _customary(techniques: Mapping[str, int]) -> list[Candidate]:
    """Returns the plain candidate, each technique alone and all of them, at their strongest."""
    strongest = [(name, number - 1) for name, number in techniques.items()]
    alone = [PLAIN.adding(*pair) for pair in strongest]
    return list(dict.fromkeys((PLAIN, *alone, Candidate(tuple(sorted(strongest))))))


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
    starts: Sequence[Candidate],
    helpful: Sequence[tuple[str, int]],
    combined: Mapping[str, int],
    needs: Mapping[str, Collection[str]],
) -> list[Candidate]:
    """Returns the starts with a technique more or one at another level.

    Of each of them, in turn: what is never tried alone, at its weakest level, what helped alone,
    other levels.
    """
    found: list[Candidate] = []
    for held in starts:
        names = dict(held.levels)
        if not set(names) <= set(combined):
            continue
        met = [name for name, others in needs.items() if {*others} & {*names}]
        found += [held.adding(name, 0) for name in met if name not in names]
        found += [held.adding(*pair) for pair in helpful if pair[0] not in names]
        for name in dict.fromkeys((*met, *names)):
            found += [held.adding(name, other) for other in range(combined[name])]
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


def _parts(done: Iterable[Trial], seed: int) -> dict[Candidate, np.ndarray]:
    """Returns the losses [1, part] of the finished trials of one seed."""
    return {
        trial.candidate: np.array([trial.losses])
        for trial in done
        if trial.seed == seed and trial.losses
    }


def _richest(losses: Mapping[Candidate, float], parts: Mapping[Candidate, np.ndarray]) -> Candidate:
    """Returns the richest candidate among those that may be as good as the best.

    A training is a hundred times as long as a trial: it pays what a technique costs at first, and
    has more that it prevents.
    """
    best = _best(losses)
    gaining = [each for each, loss in losses.items() if loss < losses[PLAIN]]
    near = [each for each in gaining if _is_near(parts[each], parts[best])]
    return max(near, key=_richness)


def _richness(candidate: Candidate) -> tuple[int, int, int]:
    """Returns what tells the richer of two candidates: more techniques, and each of them weaker."""
    return (
        len(candidate.levels),
        -len(candidate.without),
        -sum(level for _, level in candidate.levels),
    )


def _is_near(losses: np.ndarray, others: np.ndarray, sigmas: float = 1.0) -> bool:
    """Returns whether losses [seed, part] are above others by at most so many standard errors."""
    excess = losses - others
    return bool(excess.mean() <= sigmas * standard_error(excess))


def standard_error(values: np.ndarray) -> float:
    """Returns that of the mean over [seed, part], both drawn at random; of one seed, over parts."""
    axes = [axis for axis in (0, 1) if values.shape[axis] > 1]
    variance = sum(values.mean(1 - axis).var(ddof=1) / values.shape[axis] for axis in axes)
    return float(variance**0.5)


def _confirm(done: Sequence[Trial], number: int, seed: int) -> list[Trial]:
    """Returns the plain training and what may be best with seeds that no choice has seen."""
    losses, parts = _losses(done, seed), _parts(done, seed)
    candidates = list(dict.fromkeys((PLAIN, _richest(losses, parts), _best(losses))))
    return [
        Trial(ROUNDS[-1], each, seed + 1 + offset)
        for offset in range(_FRESH_SEEDS)
        for each in candidates[: number // _FRESH_SEEDS]
    ]


@dataclasses.dataclass(frozen=True)
class Gain:
    """What a candidate takes off the plain held-out loss, over fresh seeds in pairs.

    Attributes:
        candidate: The richest of those that were confirmed and are near the best.
        gain: Mean, nats.
        error: Standard error of the mean, nats, from the scatter over seeds and over parts of the
            held-out images: another seed, or other images, would give another gain.
        threshold: What chance alone exceeds once in forty times, nats: the error times the
            quantile of a t distribution, whose degrees of freedom are those of the error.
        noise: Standard deviation of the plain trials over the seeds, nats.
        num_pairs: How many the mean is of.
        accepted: The gain is above the threshold.
    """

    candidate: Candidate
    gain: float
    error: float
    threshold: float
    noise: float
    num_pairs: int
    accepted: bool


def decide(done: Sequence[Trial]) -> Gain | None:
    """Returns the gain of the richest confirmed candidate near the best.

    It is None where none was confirmed, or a trial of the plain training or of each one failed.
    """
    last = [trial for trial in done if trial.round == ROUNDS[-1]]
    losses = {trial.key: trial.losses for trial in last}
    seeds = sorted({trial.seed for trial in last})
    # Candidate -> losses [seed, part].
    finished = {
        candidate: np.array([losses[candidate, seed] for seed in seeds])
        for candidate in dict.fromkeys(trial.candidate for trial in last)
        if all(losses.get((candidate, seed)) for seed in seeds)
    }
    if PLAIN not in finished or len(finished) < 2:
        return None
    others = [each for each in finished if each != PLAIN]
    # In an order that is not that of the workers, on ties too.
    ordered = sorted(others, key=lambda each: (float(finished[each].mean()), each.levels))
    near = [each for each in ordered if _is_near(finished[each], finished[ordered[0]])]
    chosen, plain = max(near, key=_richness), finished[PLAIN]
    gains = plain - finished[chosen]
    means = np.stack([finished[each].mean(1) for each in (PLAIN, *ordered)])
    error, degrees = gain_error(gains, means)
    threshold = error * stdtrit(degrees, 1 - _LEVEL)
    return Gain(
        candidate=chosen,
        gain=float(gains.mean()),
        error=error,
        threshold=float(threshold),
        noise=float(plain.mean(1).std(ddof=1)),
        num_pairs=len(seeds),
        accepted=bool(gains.mean() > threshold),
    )


def gain_error(gains: np.ndarray, losses: np.ndarray) -> tuple[float, float]:
    """Returns the standard error of a mean gain, and how many degrees of freedom it has.

    Two variances add up. That between seeds is what is left of the losses when the means of their
    candidates and of their seeds are taken off: of one candidate there are too few to tell, so that
    all are taken alike. That between images is the scatter over their parts.

    Args:
        gains: Plain losses minus those of the candidate, [S seeds, P parts].
        losses: Of all candidates, the plain one included, [C, S].

    Reference: Satterthwaite, 1946, Biometrics Bulletin 2, 110 (degrees of freedom of a sum).
    """
    (num_seeds, num_parts), num_candidates = gains.shape, len(losses)
    rest = losses - losses.mean(0) - losses.mean(1, keepdims=True) + losses.mean()
    seed_degrees, part_degrees = (num_candidates - 1) * (num_seeds - 1), num_parts - 1
    # A gain is the difference of two losses.
    of_seeds = 2 * (rest**2).sum() / seed_degrees / num_seeds
    of_parts = gains.mean(0).var(ddof=1) / num_parts
    variance = of_seeds + of_parts
    if variance == 0:
        return 0.0, float(part_degrees)
    degrees = variance**2 / (of_seeds**2 / seed_degrees + of_parts**2 / part_degrees)
    return float(np.sqrt(variance)), float(degrees)


def presume(done: Sequence[Trial], seed: int) -> Gain | None:
    """Returns the richest candidate that does no harm, of trials that cannot show what helps.

    Harm is a loss above the plain one by more than two standard errors. What it gains is not asked
    for: that it helps is presumed. It is None where the plain trial failed.

    Args:
        done: Trials of one seed, without a confirmation.
        seed: Theirs.
    """
    losses = _losses(done, seed)
    if PLAIN not in losses:
        return None
    parts = _parts(done, seed)
    harmless = [each for each in losses if _is_near(parts[each], parts[PLAIN], _SIGMAS)]
    chosen = max(harmless, key=_richness)
    gains = parts[PLAIN] - parts[chosen]
    error = standard_error(gains)
    return Gain(
        candidate=chosen,
        gain=float(gains.mean()),
        error=error,
        threshold=_SIGMAS * error,
        noise=0.0,
        num_pairs=1,
        accepted=chosen != PLAIN,
    )
