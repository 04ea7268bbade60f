"""The `search` artifact: the trials, and what they decided."""

import dataclasses
from collections.abc import Mapping
from typing import Any

__all__ = ["BASELINE", "ROUNDS", "Candidate", "Confirmed", "SearchResult", "Step", "Trial"]

# In their order; a round may have no trials.
ROUNDS = (
    "screening",
    "combination 1",
    "combination 2",
    "removal",
    "repetition",
    "confirmation",
)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Techniques that are tried together.

    Attributes:
        levels: (technique, level) in alphabetical order; a technique that is absent is off.
        without: Transforms that are left out of the techniques.
    """

    levels: tuple[tuple[str, int], ...] = ()
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Orders the techniques; JSON has lists for tuples."""
        pairs = sorted((str(name), int(level)) for name, level in self.levels)
        object.__setattr__(self, "levels", tuple(pairs))
        object.__setattr__(self, "without", tuple(self.without))

    def adding(self, *pairs: tuple[str, int]) -> "Candidate":
        """Returns the candidate with techniques at levels, whatever they were at before."""
        levels = {**dict(self.levels), **dict(pairs)}
        return Candidate(tuple(levels.items()), self.without)

    def removing(self, technique: str) -> "Candidate":
        """Returns the candidate without a technique."""
        return Candidate(tuple(pair for pair in self.levels if pair[0] != technique), self.without)


BASELINE = Candidate()


@dataclasses.dataclass(frozen=True)
class Trial:
    """A candidate that is tried with a seed and, once it has ended, how.

    Attributes:
        round: One of `ROUNDS`.
        candidate: Techniques that are tried.
        seed: Seed of the order of the images and of all random numbers.
        losses: Mean calibrated losses of equal parts of the held-out images in nats, the same
            parts in all trials of a round; empty before the end and when the trial failed.
        seconds: Duration.
        error: Why it failed; empty when it did not.
        out_of_memory: Whether it failed for want of memory, which says nothing of the candidate.
    """

    round: str
    candidate: Candidate
    seed: int
    losses: tuple[float, ...] = ()
    seconds: float = 0.0
    error: str = ""
    out_of_memory: bool = False

    def __post_init__(self) -> None:
        """Takes the lists of JSON for tuples."""
        object.__setattr__(self, "losses", tuple(self.losses))

    @property
    def loss(self) -> float | None:
        """Mean calibrated held-out loss in nats; None before the end and when it failed."""
        return sum(self.losses) / len(self.losses) if self.losses else None

    @property
    def ended(self) -> bool:
        """Whether it has been run."""
        return bool(self.losses or self.error)

    @property
    def key(self) -> tuple[str, Candidate, int]:
        """What the losses depend on."""
        return self.round, self.candidate, self.seed

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Trial":
        """Returns the trial that `json_text` wrote."""
        return cls(**{**values, "candidate": Candidate(**values["candidate"])})


@dataclasses.dataclass(frozen=True)
class Confirmed:
    """A candidate on images and seeds that selection never saw.

    Attributes:
        candidate: The chosen candidate; where that is the baseline, the best of the others.
        accepted: Whether the candidate is used.
        gain: Mean decrease of the held-out loss against the baseline, nats.
        error: Standard error of the gain, from the scatter over seeds and parts of the images.
        threshold: Gain above which it is significant, nats.
        num_seeds: Pairs of trials.
    """

    candidate: Candidate
    accepted: bool
    gain: float
    error: float
    threshold: float
    num_seeds: int


@dataclasses.dataclass(frozen=True)
class Step:
    """One technique on the way from the baseline to the chosen candidate.

    Attributes:
        name: Technique, or `without` and a transform.
        level: Level of the technique.
        gain: Decrease of the held-out loss in nats; None where the step was not tried by itself.
        error: Its standard error over parts of the held-out images.
    """

    name: str
    level: int
    gain: float | None = None
    error: float | None = None


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """`search.json` of the `search` artifact; what was decided is in `recipe.json` beside it.

    Attributes:
        skipped: Why there was no search; empty when there was.
        decision: One sentence.
        notes: What limits what the search can tell, one sentence each.
        techniques: Technique -> its levels in words.
        trials: All trials, in the order of the rounds.
        confirmed: What the confirmation found; None when nothing came that far.
        steps: How the chosen candidate came about, the best technique first.
    """

    skipped: str = ""
    decision: str = ""
    notes: list[str] = dataclasses.field(default_factory=list)
    techniques: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    trials: list[Trial] = dataclasses.field(default_factory=list)
    confirmed: Confirmed | None = None
    steps: list[Step] = dataclasses.field(default_factory=list)
