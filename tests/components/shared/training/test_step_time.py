"""How many steps the measurement of a step takes, on a clock that only the steps move."""

import time

import numpy as np
import pytest

from kfp_vision.components.shared.training.step_time import seconds_per_step


class Steps:
    """A trainer whose first call compiles for 20 s and whose every step takes `step_s`."""

    def __init__(self, step_s, monkeypatch):
        self.calls, self.restored, self._step_s, self._now = [], 0, step_s, 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self._now)

    def state(self):
        return "start"

    def restore(self, state):
        assert state == "start"
        self.restored += 1

    def run_steps(self, images, targets, rates):
        assert len(images) == len(targets["label"]) == len(rates)
        assert not rates.any()
        self._now += len(rates) * self._step_s + (0 if self.calls else 20.0)
        self.calls.append(len(rates))


@pytest.mark.parametrize(
    ("step_s", "calls"), [(0.01, [1, 1, 4, 4]), (0.7, [1, 1, 4]), (2.0, [1, 1, 1]), (9.0, [1, 1])]
)
def test_slow_steps_are_few_and_compiling_does_not_count(step_s, calls, monkeypatch):
    trainer = Steps(step_s, monkeypatch)
    images, targets = np.zeros((2, 4, 4, 3), np.uint8), {"label": np.zeros(2, np.int32)}
    seconds = seconds_per_step(trainer, images, targets)  # type: ignore[arg-type]
    assert seconds == pytest.approx(step_s)
    assert trainer.calls == calls
    assert trainer.restored == 1
