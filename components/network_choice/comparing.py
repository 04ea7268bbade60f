"""The rounds of the comparison: frozen networks first, then trainings, then longer ones."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from kfp_vision.components.network_choice.candidates import Candidate
from kfp_vision.components.network_choice.decision import (
    Contender,
    decide,
    paired_difference,
    project,
)
from kfp_vision.components.network_choice.trials import TrialResult, Trials
from kfp_vision.components.shared.architectures.zoo import is_pretrained
from kfp_vision.components.shared.artifacts.network_choice import CandidateResult
from kfp_vision.components.shared.recipe.document import Recipe
from kfp_vision.components.shared.runtime.progress import Progress

__all__ = ["Compared", "compare", "summarise"]

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
    """

    candidate: Candidate
    recipe: Recipe
    rounds: list[TrialResult]

    @property
    def loss(self) -> float:
        """Mean loss of the first round."""
        return float(self.rounds[0].losses.mean())

    @property
    def fits(self) -> bool:
        """Whether it fitted into memory."""
        return self.rounds[0].multiply_adds > 0

    def contender(self, planned_images: float, can_select: bool) -> Contender:
        """Returns what the decision looks at.

        A fine-tuned network starts from the frozen one, which is kept where no later checkpoint is
        better: of the two it is taken where enough validation images can tell that.

        Args:
            planned_images: Of the whole training, with repetition.
            can_select: Whether validation images can tell checkpoints apart.
        """
        first, last = self.rounds[0], self.rounds[-1]
        losses = last.losses
        if last is not first:
            doublings = math.log2(max(1.0, planned_images / last.images_seen))
            losses = project(first.losses, losses, doublings)
        is_frozen = self.candidate.trainable == "head"
        return Contender(losses, first.multiply_adds, int(is_frozen == can_select))


def compare(
    trials: Trials,
    frozen: Sequence[Candidate],
    scratch: Candidate | None,
    recipe_of: Callable[[Candidate], Recipe],
    deadline: float,
) -> list[Compared]:
    """Runs all trials and returns what was compared, in the order of the first round.

    The network is fine-tuned at the size at which it does best when frozen and at the next smaller
    one. The better of the two, and the network from scratch, are trained for twice as long too,
    unless they are hopelessly behind.

    Args:
        trials: Runs them.
        frozen: A frozen network at several sizes, the smallest first.
        scratch: A network that is trained from scratch; None for none.
        recipe_of: Returns the complete recipe of a candidate.
        deadline: By `time.monotonic`; no trial of the second round begins after it.
    """
    compared: list[Compared] = []
    progress = Progress("choose_network", 0, "trials")

    def run(candidate: Candidate) -> Compared:
        recipe = recipe_of(candidate)
        held = Compared(candidate, recipe, [trials.run(candidate, recipe, 1)])
        compared.append(held)
        report(held)
        return held

    def report(held: Compared) -> None:
        done = sum(len(each.rounds) for each in compared)
        loss = round(float(held.rounds[-1].losses.mean()), 4)
        progress.update(done, candidate=held.candidate.name, loss=loss)

    best = min([run(each) for each in frozen], key=lambda each: each.loss).candidate
    smaller = frozen[max(0, frozen.index(best) - 1)]
    scratches = [run(scratch)] if scratch else []
    tuned = [
        run(dataclasses.replace(each, trainable="all")) for each in dict.fromkeys((smaller, best))
    ]
    lowest = min(each.loss for each in compared if math.isfinite(each.loss))
    for held in (min(tuned, key=lambda each: each.loss), *scratches):
        if held.loss <= _HOPELESS * lowest and time.monotonic() < deadline:
            held.rounds.append(trials.run(held.candidate, held.recipe, _LONGER))
            report(held)
    return compared


def summarise(
    compared: Sequence[Compared],
    planned_images: Callable[[Compared], float],
    can_select: bool,
) -> tuple[Compared, list[CandidateResult]]:
    """Returns the choice, and what was seen of all.

    Args:
        compared: After their trials.
        planned_images: Returns the images, with repetition, of the whole training of a candidate.
        can_select: Whether validation images can tell checkpoints apart.
    """
    contenders = [each.contender(planned_images(each), can_select) for each in compared]
    means = [np.nan_to_num(each.losses.mean(), nan=np.inf) for each in contenders]
    best, chosen = int(np.argmin(means)), decide(contenders)
    results = [
        CandidateResult(
            architecture=each.candidate.architecture,
            image_size=[each.candidate.height, each.candidate.width],
            trainable=each.candidate.trainable,
            is_pretrained=is_pretrained(each.candidate.architecture),
            multiply_adds=each.rounds[0].multiply_adds,
            losses=[_finite(held.losses.mean()) for held in each.rounds],
            images_seen=[held.images_seen for held in each.rounds],
            seconds=[held.seconds for held in each.rounds],
            projected=_finite(contender.losses.mean()),
            behind=None
            if index == best or not np.isfinite(contender.losses).all()
            else paired_difference(contender.losses, contenders[best].losses),
            chosen=index == chosen,
        )
        for index, (each, contender) in enumerate(zip(compared, contenders, strict=True))
    ]
    return compared[chosen], results


def _finite(loss: float) -> float | None:
    return float(loss) if math.isfinite(loss) else None
