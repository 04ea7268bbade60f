"""How long stages take, estimated before they begin from what has been measured so far."""

from collections.abc import Mapping, Sequence

from kfp_vision.components.shared.artifacts.cost import START_UP, StageCost

__all__ = ["closing_seconds", "start_up_seconds"]

# In start-ups of a task that trains, the unit in which this machine is as fast as it is now: those
# of two tasks, baselines, conversions, the report; and the frozen features of 3,000 images.
_CLOSING_STARTS, _FROZEN_STARTS, _FROZEN_IMAGES = 5.0, 2.0, 3000
# Five formats and their reference, int8 on one core.
_EXPORT_PASSES, _EXPORTED_IMAGES = 8, 10_000


def start_up_seconds(spent: Sequence[StageCost]) -> float:
    """Returns what the start of the task took that asks; 0 where that is not known."""
    return sum(cost.seconds for cost in spent if cost.name == START_UP)


def closing_seconds(splits: Mapping[str, int], start_up_s: float, image_s: float) -> float:
    """Returns what evaluation, export, report and publication take.

    Args:
        splits: Images of each split.
        start_up_s: Of a task that trains.
        image_s: Of one image through the model.
    """
    validation, test = splits["validation"], splits["test"]
    frozen = _FROZEN_STARTS * min(1.0, sum(splits.values()) / _FROZEN_IMAGES)
    passes = validation + 2 * test + _EXPORT_PASSES * min(test, _EXPORTED_IMAGES)
    return (_CLOSING_STARTS + frozen) * start_up_s + passes * image_s
