"""A run that loses pods, its store, the server and the controller: it ends as if nothing was."""

import dataclasses

import pytest
from cluster_faults import FAULTS, Injector, missing_commands
from kfp_backend import metrics

pytestmark = pytest.mark.e2e
# Progress is printed once a second, after the first steps of an attempt.
SLACK = 0.5


@dataclasses.dataclass(frozen=True)
class Shaken:
    """A run with faults."""

    finished: object
    injector: Injector


@pytest.fixture(scope="module")
def shaken(backend, small_run) -> Shaken:
    injector = Injector(backend)
    return Shaken(small_run(1, "shaken", injector.watch), injector)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_run_ends_green_after(fault, shaken):
    if missing := missing_commands(fault):
        pytest.skip(f"only the operator can do that: set {' and '.join(missing)}")
    assert fault.name in shaken.injector.injected


def test_the_test_metrics_are_those_without_faults(shaken, on_this_machine):
    assert metrics(shaken.finished.report()) == metrics(on_this_machine(1))


def test_no_finished_stage_is_repeated(shaken):
    assert shaken.injector.repeated(shaken.finished.run) == []


def test_the_training_loses_at_most_one_checkpoint_interval(shaken):
    assert shaken.injector.lost_intervals(shaken.finished.run) <= 1 + SLACK
