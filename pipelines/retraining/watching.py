"""A schedule without a cluster: one process that looks, and trains when there is something new.

It keeps nothing of its own: a run that was killed is continued by the next start, because only a
run that has succeeded is recorded.
"""

import contextlib
import dataclasses
import fcntl
import json
import time
from collections.abc import Iterator
from datetime import datetime

from rich.console import Console

from kfp_vision.components.shared.runtime.code_version import code_digest
from kfp_vision.components.shared.runtime.storage import read_document
from kfp_vision.pipelines.local.cache import remove_earlier
from kfp_vision.pipelines.local.closing_lines import describe_failure, print_summary
from kfp_vision.pipelines.local.container_settings import Limits
from kfp_vision.pipelines.local.launcher import Runner, run_locally
from kfp_vision.pipelines.local.processes import hold_folder
from kfp_vision.pipelines.local.run_record import check_output, local_folder
from kfp_vision.pipelines.parameters import Parameters
from kfp_vision.pipelines.publishing.publish import ARTIFACTS_FILE
from kfp_vision.pipelines.retraining.deciding import plan_here
from kfp_vision.pipelines.retraining.triggers import Triggers

__all__ = ["watch"]

_CHAMPIONS = "champions"


def watch(
    parameters: Parameters,
    triggers: Triggers,
    pause_s: float,
    console: Console,
    runner: Runner = "subprocess",
    limits: Limits | None = None,
) -> bool:
    """Looks for something new, trains it, pauses and looks again.

    Args:
        parameters: Of every run; without `champion_uri` champions and record lie in the output.
        triggers: What makes a run.
        pause_s: Between the end of a run and the next look; 0: one look and at most one run.
        console: Shows what happens.
        runner: As of `run_locally`.
        limits: The same.

    Returns:
        Whether the last look found nothing new, or ended in a model that is not rejected; never,
        with a pause, but by a signal. A look that fails is said and counted.

    Raises:
        ValueError: The output cannot be used, or places of the run lie in each other.
        RuntimeError: Another watch uses the output.
    """
    check_output(parameters)
    if not parameters.champion_uri:
        champions = f"{parameters.output_uri.rstrip('/')}/{_CHAMPIONS}"
        parameters = dataclasses.replace(parameters, champion_uri=champions)
    failures = 0
    with _alone(parameters.output_uri):
        while True:
            try:
                succeeded, failures = _look(parameters, triggers, console, runner, limits), 0
            # Of one look: a file that is being written, or a share that is not mounted, may be
            # there at the next.
            except (ValueError, OSError, RuntimeError) as error:
                succeeded, failures = False, failures + 1
                again = f" ({failures} looks in a row have failed)" if failures > 1 else ""
                _say(console, f"{error}{again}")
            if not pause_s:
                return succeeded
            time.sleep(pause_s)


@contextlib.contextmanager
def _alone(output_uri: str) -> Iterator[None]:
    """Holds the lock of an output, which ends with the process, killed or not."""
    folder = local_folder(output_uri) / ".kfp-vision"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "watch.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError(
                f"One watch at a time may use an output. Received: {output_uri}, which another one "
                "uses. End it, or choose another `--output`."
            ) from error
        yield


def _look(
    parameters: Parameters,
    triggers: Triggers,
    console: Console,
    runner: Runner,
    limits: Limits | None,
) -> bool:
    """Looks once; returns whether nothing is new, or the model is not rejected."""
    plan = plan_here(dataclasses.asdict(parameters), triggers)
    _say(console, plan.reason)
    if not plan.train:
        return True
    started = time.time()
    result = run_locally(dataclasses.replace(parameters, seed=plan.seed), console, runner, limits)
    if result.status == "failed":
        raise RuntimeError(describe_failure(result))
    _tidy(parameters.output_uri, console, started)
    print_summary(result, parameters.output_uri, console)
    return result.status == "passed"


def _tidy(output_uri: str, console: Console, since: float) -> None:
    """Removes what earlier runs have left: no other data are asked for again."""
    content = read_document(f"{output_uri.rstrip('/')}/{ARTIFACTS_FILE}")
    if content is None:
        return
    state = local_folder(output_uri) / ".kfp-vision"
    with hold_folder(state, console):
        uris = json.loads(content).values()
        remove_earlier(state, state / "cache" / code_digest(), uris, since)


def _say(console: Console, text: str) -> None:
    line = f"{datetime.now():%Y-%m-%d %H:%M:%S}  {text}"
    console.print(line, markup=False, highlight=False, soft_wrap=True)
