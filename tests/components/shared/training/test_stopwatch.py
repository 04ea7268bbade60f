"""The seconds of a stage over all of its processes."""

from types import SimpleNamespace

import pytest

from kfp_vision.components.shared.training import checkpoints
from kfp_vision.components.shared.training.checkpoints import Stopwatch


@pytest.mark.parametrize("earlier", [[], [7.0], [7.0, 90.0], [90.0, 7.0], [90.0, 90.0]])
def test_of_several_checkpoints_of_processes_before_the_latest_counts_once(
    earlier: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: clock.now))
    watch = Stopwatch()
    for seconds in earlier:
        clock.now += 10.0
        watch.resume(seconds)
    clock.now += 10.0
    assert watch.seconds == max(earlier, default=0.0) + 10.0 * (len(earlier) + 1)
