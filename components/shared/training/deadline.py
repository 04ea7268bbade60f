"""A training that turns out to be slower than planned is cut, so that it ends in time."""

from kfp_vision.components.shared.training.history import History
from kfp_vision.components.shared.training.run import TrainingRun

__all__ = ["Deadline"]

# Of the steps that there is time for: so many are taken, and outside of these bounds the length
# changes; the rest is for the last evaluation.
_SHARE, _LEAST, _MOST = 0.9, 0.8, 0.95
# Of the time that is left: what is seen in less of it may not last.
_OBSERVED = 0.05


class Deadline:
    """The end of a training in time, by the pace that it has in this process."""

    def __init__(self, run: TrainingRun, history: History) -> None:
        """Begins to watch.

        Args:
            run: The training.
            history: Of it; `ends` is the end.
        """
        self._run, self._history = run, history
        self._first_steps = history.total_steps
        self._since: tuple[int, float, int] | None = None

    def keep(self) -> bool:
        """Sets `total_steps` to what there is time for; returns whether it has changed.

        To be called after some steps. Evaluations and checkpoints count as they come. A training
        that was cut is longer again where it is fast again: after an evaluation, which may take
        long, as long as it would be without a limit at most.
        """
        history, now = self._history, self._run.watch.seconds
        if history.ends is None or history.step >= history.total_steps:
            return False
        if self._since is None:
            # The first steps of a process may compile.
            self._since = history.step, now, len(history.curves)
            return False
        step, began, num_rows = self._since
        left, before = max(0.0, history.ends - now), history.total_steps
        if now - began < _OBSERVED * left:
            return False
        affordable = left * (history.step - step) / max(now - began, 1e-9)
        if not _LEAST * affordable <= before - history.step <= _MOST * affordable:
            wanted = history.step + int(_SHARE * affordable)
            has_evaluated = len(history.curves) > num_rows
            most = history.planned_steps if has_evaluated else max(before, self._first_steps)
            history.total_steps = min(most, wanted)
        return history.total_steps != before
