"""The rounds of the comparison: frozen networks first, then trainings, then longer ones."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from kfp_vision.components.network_choice.candidates import Candidate, LineUp
from kfp_vision.components.network_choice.decision import (
    Contender,
    decide,
    paired_difference,
    project,
)
from kfp_vision.components.network_choice.trials import TrialResult, Trials
from kfp_vision.components.shared.artifacts.network_choice import Augmentation, CandidateResult
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.recipe.initial_weights import PRETRAINED
from kfp_vision.components.shared.recipe.policies import AUGMENTATION, POLICY
from kfp_vision.components.shared.runtime.progress import Progress

__all__ = ["Compared", "Field", "compare"]

_LONGER = 2
# A loss so many times the lowest is not made up for by a longer training.
_HOPELESS = 1.5


@dataclasses.dataclass(frozen=True)
class Compared:
    """A candidate after its trials.

    Attributes:
        candidate: The network.
        recipe: Complete, of this candidate.
        rounds: Results of its trials, the second one of twice the length.
        augmented: Result of that length with flips and shifts; None where they were not tried.
    """

    candidate: Candidate
    recipe: Recipe
    rounds: list[TrialResult]
    augmented: TrialResult | None = None

    @property
    def fits(self) -> bool:
        """Whether it fitted into memory."""
        return self.rounds[0].multiply_adds > 0

    @property
    def is_frozen(self) -> bool:
        """Whether only the head learns."""
        return self.candidate.trainable == "head"

    @property
    def num_images(self) -> int:
        """Training images of all its trials, with repetition."""
        trials = [*self.rounds, self.augmented] if self.augmented else self.rounds
        return sum(each.images_seen for each in trials)

    @property
    def augmentation(self) -> Augmentation | None:
        """What flips and shifts do to the losses; None where that was not tried or diverged."""
        if self.augmented is None or not np.isfinite(self.augmented.losses).all():
            return None
        change, error = paired_difference(self.augmented.losses, self.rounds[-1].losses)
        # A whole training has more to gain from them than a short one.
        return Augmentation(change, error, is_used=change < error)

    def projected(self, planned_images: float) -> np.ndarray:
        """Returns the losses [M] that the whole training is expected to reach.

        Args:
            planned_images: Of that training, with repetition.
        """
        first, last = self.rounds[0], self.rounds[-1]
        if last is first:
            return last.losses
        doublings = math.log2(max(1.0, planned_images / last.images_seen))
        return project(first.losses, last.losses, doublings)


@dataclasses.dataclass(frozen=True)
class Field:
    """All candidates after their trials.

    Attributes:
        frozen: A frozen network at its sizes; none of a model file that keeps its own head.
        size: Index in `frozen` of the size that was chosen.
        start: Index in `frozen` of what the fine-tuned network starts from.
        tuned: The same network, fine-tuned.
        scratch: A network from scratch, or the same model file trained as one; None where it was
            not asked for.
    """

    frozen: list[Compared]
    size: int
    start: int
    tuned: Compared
    scratch: Compared | None

    @property
    def all(self) -> list[Compared]:
        """In the order of their trials."""
        return [*self.frozen, *([self.scratch] if self.scratch else []), self.tuned]

    def summarise(
        self, planned_images: Callable[[Compared], float], can_select: bool
    ) -> tuple[Compared, list[CandidateResult]]:
        """Returns the choice, and what was seen of all.

        A fine-tuned network starts from the frozen one, which is kept where no later checkpoint is
        better: it is expected to be no worse, and taken where enough validation images can tell
        checkpoints apart.

        Args:
            planned_images: Returns the images, with repetition, of the whole training.
            can_select: Whether validation images can tell checkpoints apart.
        """
        projected = [each.projected(planned_images(each)) for each in self.all]
        contending, tuned = [*range(len(self.frozen), len(projected))], len(projected) - 1
        if self.frozen:
            contending.append(self.size)
            means = _mean(projected[self.start]), _mean(projected[tuned])
            if can_select and means[0] <= means[1] < math.inf:
                projected[tuned] = projected[self.start]
        contenders = [
            Contender(
                projected[index],
                self.all[index].rounds[0].multiply_adds,
                int(self.all[index].is_frozen == can_select),
            )
            for index in contending
        ]
        chosen = contending[decide(contenders)]
        best = int(np.argmin([_mean(losses) for losses in projected]))
        results = [
            _result(each, losses, projected[best], is_best=index == best, is_chosen=index == chosen)
            for index, (each, losses) in enumerate(zip(self.all, projected, strict=True))
        ]
        return self.all[chosen], results


def compare(
    trials: Trials,
    candidates: LineUp,
    recipe_of: Callable[[Candidate], Recipe],
    can_tune: Callable[[int], bool],
    limit_s: float,
    progress: Progress,
) -> Field:
    """Runs all trials.

    The size is the smallest at which the frozen network is within one standard error of its best.
    There it is fine-tuned, or at the largest one below for which there is time; that, and the
    network from scratch, are trained for twice as long too, unless they are hopelessly behind. If
    the fine-tuned one leads, it is trained for as long on images that are mirrored and shifted,
    unless the user says how to augment.

    Args:
        trials: Runs them.
        candidates: What is compared.
        recipe_of: Returns the complete recipe of a candidate.
        can_tune: Returns whether there is time to fine-tune a network of so many multiply-adds.
        limit_s: When the trials together have taken so long, no second one begins.
        progress: Counts the trials.
    """
    losses: list[float] = []
    seconds: list[float] = []

    def run(candidate: Candidate) -> Compared:
        held = Compared(candidate, recipe_of(candidate), [])
        return again(held, 1)

    def again(held: Compared, factor: int) -> Compared:
        result = trials.run(held.candidate, held.recipe, factor)
        if held.rounds and not result.multiply_adds:
            return held
        held.rounds.append(result)
        losses.append(_mean(result.losses))
        seconds.append(result.seconds)
        name, loss = held.candidate.name, round(losses[-1], 4)
        progress.update(len(losses), candidate=name, loss=loss)
        return held

    sizes = [run(each) for each in candidates.frozen]
    size, start, tuned = 0, 0, candidates.tuned
    if sizes:
        size = decide([Contender(each.rounds[0].losses, at, 0) for at, each in enumerate(sizes)])
        costs = [each.rounds[0].multiply_adds for each in sizes[: size + 1]]
        # One that does not fit into memory has no cost.
        affordable = [at for at, cost in enumerate(costs) if cost and can_tune(cost)]
        start = max(affordable, default=0)
        tuned = dataclasses.replace(candidates.frozen[start], trainable="all")
    scratches = [run(candidates.scratch)] if candidates.scratch else []
    trained = run(tuned)
    lowest = min(losses)
    for held in (trained, *scratches):
        if _mean(held.rounds[0].losses) <= _HOPELESS * lowest and sum(seconds) < limit_s:
            again(held, _LONGER)
    policy = trained.recipe.get(AUGMENTATION, POLICY)
    is_users = policy is not None and policy.source == "user"
    rival = min((_mean(each.rounds[-1].losses) for each in scratches), default=math.inf)
    # What has diverged, at infinity, never leads.
    leads = _mean(trained.rounds[-1].losses) < rival
    if leads and len(trained.rounds) > 1 and not is_users and sum(seconds) < limit_s:
        augmented = trials.run(trained.candidate, trained.recipe, _LONGER, augmented=True)
        trained = dataclasses.replace(trained, augmented=augmented)
    return Field(sizes, size, start, trained, scratches[0] if scratches else None)


def _result(
    each: Compared, losses: np.ndarray, best: np.ndarray, *, is_best: bool, is_chosen: bool
) -> CandidateResult:
    candidate = each.candidate
    is_finite = bool(np.isfinite(losses).all())
    return CandidateResult(
        architecture=candidate.architecture,
        image_size=[candidate.height, candidate.width],
        trainable=candidate.trainable,
        is_pretrained=candidate.initial_weights == PRETRAINED,
        multiply_adds=each.rounds[0].multiply_adds,
        losses=[_finite(held.losses) for held in each.rounds],
        images_seen=[held.images_seen for held in each.rounds],
        seconds=[held.seconds for held in each.rounds],
        projected=_finite(losses),
        behind=paired_difference(losses, best) if is_finite and not is_best else None,
        chosen=is_chosen,
    )


def _mean(losses: np.ndarray) -> float:
    """Returns the mean; infinity where a loss is not finite."""
    return float(losses.mean()) if np.isfinite(losses).all() else math.inf


def _finite(losses: np.ndarray) -> float | None:
    return float(losses.mean()) if np.isfinite(losses).all() else None
