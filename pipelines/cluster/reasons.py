"""Why a run has not passed: the words of the exception, not the exit code of a pod."""

import re
from collections.abc import Sequence

from kfp_vision.pipelines.cluster.pods import Pods
from kfp_vision.pipelines.cluster.runs import Run
from kfp_vision.pipelines.cluster.workflow import Attempt, Stage
from kfp_vision.pipelines.local.events import failure_reason
from kfp_vision.pipelines.publishing.publish import REJECTED

__all__ = ["attempt_reason", "failed_stage", "rejection_of"]

# Of the last words, which may be a line of data.
_LENGTH = 500
# Lines of KFP's launcher and of Argo's executor, which come after those of the task.
_FOREIGN = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d|time=\"?\d{4}-|Error: exit status \d")
# The last words of KFP's driver.
_FATAL = re.compile(r"F\d{4} [^\]]*\] (.*)")


def attempt_reason(pods: Pods, attempt: Attempt) -> str:
    """Returns why an attempt has failed, in the words of its task where it has any."""
    log = pods.log(attempt.pod)
    lines = _own_lines(log)
    if not any(line.startswith("Traceback (most ") for line in lines):
        # Killed, deleted, never started: that is what Argo says.
        fatal = [match[1] for line in log if (match := _FATAL.match(line))]
        last = next((line for line in reversed([*fatal, *lines]) if line.strip()), "")
        reason = attempt.message or "no reason is given"
        return f"{reason}. Its last words: {last[:_LENGTH]}" if last else reason
    return failure_reason(lines)


def failed_stage(run: Run) -> Stage | None:
    """Returns the first stage that has failed."""
    return next((each for each in run.workflow.stages if each.state == "failed"), None)


def rejection_of(run: Run, pods: Pods) -> str:
    """Returns the line that says why the model is rejected; empty when something else failed."""
    stage = failed_stage(run)
    if stage is None or stage.name != "check-model":
        return ""
    lines = pods.log(stage.attempts[-1].pod)
    return next((line for line in reversed(lines) if line.startswith(REJECTED)), "")


def _own_lines(log: Sequence[str]) -> list[str]:
    return [line for line in log if not _FOREIGN.match(line)]
