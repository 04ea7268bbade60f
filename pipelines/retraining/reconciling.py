"""Schedules on a Kubeflow Pipelines server: made what their files say, and else left alone.

The server has no call that changes a schedule: another one is made, then the old one is deleted. A
call that ends in between leaves two, of which the next one deletes the old one.
"""

import contextlib
import io
import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import kfp
from kfp_server_api import V2beta1RecurringRun

from kfp_vision.pipelines.arguments import Arguments
from kfp_vision.pipelines.cluster.compiling import compile_pipeline
from kfp_vision.pipelines.cluster.profile import Profile, read_profile
from kfp_vision.pipelines.cluster.submission import check_places, inputs_for, make_arguments
from kfp_vision.pipelines.cluster.versions import Version, find_version, publish_version
from kfp_vision.pipelines.retraining.cron import read_zone, server_cron
from kfp_vision.pipelines.retraining.schedule_file import Schedule
from kfp_vision.pipelines.retraining.triggers import CREATED_AT, LocalTime

__all__ = ["Outcome", "apply_schedule", "delete_schedule", "list_schedules"]

Outcome = Literal["created", "replaced", "unchanged"]

_PIPELINE = "kfp-vision-retraining"
# Starts the description of every schedule that is made here; those of others are left alone.
_MADE_HERE = "Made by `kfp-vision schedule apply`"
_PAGE = 100
_ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


def apply_schedule(client: kfp.Client, schedule: Schedule) -> tuple[Outcome, list[str]]:
    """Makes a schedule on the server what its file says.

    Runs that are under way go on; those to come are the new one's, for which the server does not
    count them: one of each may run at the same time.

    Returns:
        What was done, and the IDs of the runs under way of schedules that were deleted.

    Raises:
        ValueError: A parameter cannot be used on a cluster, there is no such version, or a
            recurring run of this name was not made here.
        BackendError: The server does not answer, or refuses.
    """
    changes = {"registry": schedule.registry, "secret": schedule.secret}
    profile = read_profile(
        schedule.profile, {name: value for name, value in changes.items() if value}
    )
    found = _found(client, schedule.name)
    account = schedule.service_account or profile.service_account
    wanted = _wanted(client, schedule, profile, account)
    same = [each for each in found if _facts(each) == wanted]
    if not same:
        _create(client, wanted, account)
    stale = [each for each in found if each not in same[:1]]
    going_on = [run for each in stale for run in _under_way(client, each)]
    for each in stale:
        _delete(client, each)
    return "created" if not found else "replaced" if stale else "unchanged", going_on


def delete_schedule(client: kfp.Client, name: str) -> bool:
    """Deletes a schedule; its runs that are under way go on. Returns whether there was one.

    Raises:
        ValueError: The recurring run of this name was not made here.
        BackendError: The server does not answer, or refuses.
    """
    found = _found(client, name)
    for each in found:
        _delete(client, each)
    return bool(found)


def list_schedules(client: kfp.Client) -> Iterator[V2beta1RecurringRun]:
    """Yields the schedules that were made here.

    Raises:
        BackendError: The server does not answer, or refuses.
    """
    yield from filter(_is_made_here, _recurring_runs(client))


def _wanted(
    client: kfp.Client, schedule: Schedule, profile: Profile, service_account: str
) -> dict[str, Any]:
    """Returns the `_facts` of the recurring run that a schedule asks for."""
    mounted = bool(schedule.version or profile.workspace)
    arguments = make_arguments(schedule.parameters, schedule.checkpoint_uri, mounted)
    version = _version(client, schedule, profile, arguments)
    check_places(arguments, version.workspace)
    # The SDK prints a link.
    with contextlib.redirect_stdout(io.StringIO()):
        experiment = client.create_experiment(
            schedule.experiment, namespace=client.get_user_namespace() or None
        )
    cron, times = schedule.cron, LocalTime()
    if schedule.time_zone:
        times = LocalTime(schedule.cron, schedule.time_zone, CREATED_AT)
        cron = server_cron(schedule.cron, read_zone(schedule.time_zone), datetime.now(UTC))
    account = service_account or "that of the server"
    return {
        "name": schedule.name,
        "description": f"{_MADE_HERE}: change its file instead. Service account: {account}.",
        "cron": cron,
        "enabled": schedule.enabled,
        "concurrency": 1,
        "no_catchup": True,
        "pipeline": (version.pipeline_id, version.version_id),
        "experiment": experiment.experiment_id,
        "parameters": {
            name: value
            for given in (arguments, schedule.triggers, times)
            for name, value in inputs_for(given, version).items()
        },
    }


def _version(
    client: kfp.Client, schedule: Schedule, profile: Profile, arguments: Arguments
) -> Version:
    if schedule.version:
        return find_version(client, schedule.version, _PIPELINE)
    with tempfile.TemporaryDirectory(prefix="kfp-vision-") as scratch:
        package = Path(scratch, "pipeline.yaml")
        compile_pipeline(
            package,
            profile,
            arguments.trial_workers,
            scheduled=True,
            teacher_workers=arguments.teacher_workers,
        )
        return publish_version(client, package)


def _facts(found: V2beta1RecurringRun) -> dict[str, Any]:
    """Returns what there is to compare of a recurring run; a part that it lacks is None."""
    reference, trigger = found.pipeline_version_reference, found.trigger
    cron = trigger and trigger.cron_schedule
    return {
        "name": found.display_name,
        "description": found.description,
        "cron": cron and cron.cron,
        "enabled": found.status == "ENABLED",
        "concurrency": int(found.max_concurrency or 0),
        "no_catchup": found.no_catchup,
        "pipeline": reference and (reference.pipeline_id, reference.pipeline_version_id),
        "experiment": found.experiment_id,
        "parameters": found.runtime_config and found.runtime_config.parameters,
    }


def _create(client: kfp.Client, wanted: dict[str, Any], service_account: str) -> None:
    pipeline_id, version_id = wanted["pipeline"]
    client.create_recurring_run(
        wanted["experiment"],
        wanted["name"],
        wanted["description"],
        cron_expression=wanted["cron"],
        max_concurrency=wanted["concurrency"],
        no_catchup=wanted["no_catchup"],
        params=wanted["parameters"],
        pipeline_id=pipeline_id,
        version_id=version_id,
        enabled=wanted["enabled"],
        service_account=service_account or None,
    )


def _delete(client: kfp.Client, found: V2beta1RecurringRun) -> None:
    # Not `client.delete_recurring_run`: the runs of the schedule would be deleted with it.
    client._recurring_run_api.recurring_run_service_delete_recurring_run(
        recurring_run_id=found.recurring_run_id, propagation_policy="ORPHAN"
    )


def _under_way(client: kfp.Client, found: V2beta1RecurringRun) -> list[str]:
    """Returns the IDs of the newest runs of a schedule that have not ended."""
    equals = {
        "operation": "EQUALS",
        "key": "recurring_run_id",
        "stringValue": found.recurring_run_id,
    }
    listed = client.list_runs(
        sort_by="created_at desc",
        namespace=client.get_user_namespace() or None,
        filter=json.dumps({"predicates": [equals]}),
    )
    return [each.run_id for each in listed.runs or [] if each.state not in _ENDED]


def _found(client: kfp.Client, name: str) -> list[V2beta1RecurringRun]:
    """Returns the schedules of a name, newest first."""
    equals = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
    found = list(_recurring_runs(client, json.dumps({"predicates": [equals]})))
    if not all(map(_is_made_here, found)):
        raise ValueError(
            "A schedule must not have the name of a recurring run that others have made. "
            f"Received: {name!r}. Choose another name, or delete that run on the server."
        )
    return sorted(found, key=lambda each: each.created_at, reverse=True)


def _recurring_runs(client: kfp.Client, chosen: str = "") -> Iterator[V2beta1RecurringRun]:
    token = ""
    while True:
        page = client.list_recurring_runs(
            page_token=token,
            page_size=_PAGE,
            namespace=client.get_user_namespace() or None,
            filter=chosen or None,
        )
        yield from page.recurring_runs or []
        token = page.next_page_token
        if not token:
            return


def _is_made_here(found: V2beta1RecurringRun) -> bool:
    return (found.description or "").startswith(_MADE_HERE)
