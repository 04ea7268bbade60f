"""One teacher from all members: what is made of them, where that is better than the model.

Shapes: M members, the trained model first; N validation images; C classes.
"""

import dataclasses
from collections.abc import Callable, Sequence

import keras
import numpy as np

from kfp_vision.components.shared.artifacts.teachers_result import Member, TeachersResult
from kfp_vision.components.shared.recipe.unlabeled import ENOUGH_JUDGES
from kfp_vision.components.shared.tasks.calibration import negative_log_likelihood
from kfp_vision.components.teachers.ensemble import WAYS, Average, Stack, disagreement
from kfp_vision.components.teachers.ensemble_model import build_ensemble
from kfp_vision.components.teachers.judges import Fit, Judges
from kfp_vision.components.teachers.soup import greedy_soup, mean_weights

__all__ = ["AskedMember", "choose_teacher"]

# With fewer validation images one way alone is tried, so that its interval need not hold for more:
# the one that can be each member alone and the average of all.
_WITH_FEW_JUDGES = "greedy"
# A stack has a weight for each output of a member, which takes so many images (Peduzzi, 1996).
_STACK, _IMAGES_PER_OUTPUT = "stacking", 10
_SOUP = "soup"


@dataclasses.dataclass(frozen=True)
class AskedMember:
    """A network, and what it says of the validation images.

    Attributes:
        told: What is reported of it; how it is judged, and its weight, are not known yet.
        model: Works in float32.
        outputs: Raw, [N, C].
        can_be_mixed: Whether the mean of its weights and of those of others like it may be a
            network: all began with the same pretrained ones.
    """

    told: Member
    model: keras.Model
    outputs: np.ndarray
    can_be_mixed: bool


def choose_teacher(
    members: Sequence[AskedMember],
    judges: Judges,
    ask: Callable[[keras.Model], np.ndarray],
    size: tuple[int, int],
) -> tuple[TeachersResult, keras.Model | None]:
    """Returns what was tried, and the teacher; None where nothing is better than the model.

    Args:
        members: At least two, the trained model first.
        judges: The validation images.
        ask: From a network like the trained model to its outputs [N, C].
        size: (height, width) of what the teacher takes.
    """
    outputs = np.stack([each.outputs for each in members])

    def made_by(way: str, rows: np.ndarray) -> Average | Stack:
        return WAYS[way](outputs[:, rows], judges.labels[rows], judges.image_weights(rows))

    def by(way: str) -> Fit:
        return lambda rows: made_by(way, rows)(outputs)

    are_few = len(judges) < ENOUGH_JUDGES
    ways = {name: by(name) for name in ((_WITH_FEW_JUDGES,) if are_few else WAYS)}
    if len(judges) < _IMAGES_PER_OUTPUT * len(members) * outputs.shape[-1]:
        ways.pop(_STACK, None)
    soup = _Soup([at for at, each in enumerate(members) if each.can_be_mixed], members, judges, ask)
    if len(soup) > 1 and not are_few:
        ways[_SOUP] = soup
    tried, kept = judges.try_ways(outputs[0], ways)
    weights, teacher = np.zeros(len(members)), None
    every = np.arange(len(judges))
    if kept:
        combination: Average | Stack
        if kept == _SOUP:
            chosen = list(soup.chosen(every))
            weights[chosen] = 1 / len(chosen)
            networks, combination = (
                [soup.network(chosen)],
                Average(np.ones(1), np.ones(1), _is_multi(judges)),
            )
        else:
            networks = [each.model for each in members]
            combination = made_by(kept, every)
            weights = combination.weights if isinstance(combination, Average) else weights + 1
        teacher = build_ensemble(networks, combination, size)
    result = TeachersResult(
        members=[
            _judged(each, judges, weight)
            for each, weight in zip(members, weights.tolist(), strict=True)
        ],
        judges=len(judges),
        tried=tried,
        kept=kept,
        disagreement=disagreement(outputs, _is_multi(judges)).tolist(),
        calibration_error=judges.calibration_error(ways[kept]) if kept else None,
        image_size=list(size) if teacher else [],
        parameters=teacher.count_params() if teacher else 0,
    )
    return result, teacher


def _is_multi(judges: Judges) -> bool:
    return judges.labels.ndim == 2


def _judged(member: AskedMember, judges: Judges, weight: float) -> Member:
    return dataclasses.replace(
        member.told,
        loss=float(judges.losses(member.outputs).mean()),
        value=judges.value(member.outputs),
        calibration_error=judges.calibration_error(lambda _: member.outputs),
        weight=weight,
    )


class _Soup:
    """The mean of the weights of some members, as a way; what was asked once is kept."""

    def __init__(
        self,
        places: Sequence[int],
        members: Sequence[AskedMember],
        judges: Judges,
        ask: Callable[[keras.Model], np.ndarray],
    ) -> None:
        self._places, self._members = places, members
        self._judges, self._ask = judges, ask
        self._said: dict[tuple[int, ...], np.ndarray] = {
            (at,): members[at].outputs for at in places
        }

    def __len__(self) -> int:
        return len(self._places)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Returns the outputs [N, C] of the soup that is the best one on some images."""
        return self._outputs(self.chosen(rows))

    def chosen(self, rows: np.ndarray) -> tuple[int, ...]:
        """Returns which members that soup is of."""
        labels, weights = self._judges.labels[rows], self._judges.image_weights(rows)

        def loss(chosen: tuple[int, ...]) -> float:
            outputs = self._outputs([self._places[at] for at in chosen])
            return negative_log_likelihood(labels, outputs[rows], weights=weights)

        return tuple(self._places[at] for at in greedy_soup(len(self._places), loss))

    def network(self, chosen: Sequence[int]) -> keras.Model:
        """Returns the mean of some members."""
        model = keras.models.clone_model(self._members[chosen[0]].model)
        model.set_weights(mean_weights([self._members[at].model.get_weights() for at in chosen]))
        return model

    def _outputs(self, chosen: Sequence[int]) -> np.ndarray:
        key = tuple(sorted(chosen))
        if key not in self._said:
            self._said[key] = self._ask(self.network(key))
        return self._said[key]
