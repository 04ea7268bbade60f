"""Starts a run of the training pipeline on a server, with the parameters of `run`."""

import contextlib
import dataclasses
import io
import tempfile
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import kfp

from kfp_vision.components.data_profiling.component import check_codes
from kfp_vision.components.shared.architectures.names import is_user_model
from kfp_vision.components.shared.runtime.storage import is_remote
from kfp_vision.components.shared.runtime.storage.uris import bucket_and_key
from kfp_vision.pipelines.arguments import SHAPE, Arguments
from kfp_vision.pipelines.cluster.compiling import compile_pipeline
from kfp_vision.pipelines.cluster.placement import WORKSPACE
from kfp_vision.pipelines.cluster.profile import Profile, check_object
from kfp_vision.pipelines.cluster.versions import Version, find_version, publish_version
from kfp_vision.pipelines.local.architecture_check import check_architecture
from kfp_vision.pipelines.parameters import Parameters
from kfp_vision.pipelines.places import check_apart

__all__ = [
    "Submission",
    "check_places",
    "check_version",
    "inputs_for",
    "make_arguments",
    "start_run",
]

_TFDS = "tfds:"


@dataclasses.dataclass(frozen=True)
class Submission:
    """How a run is started.

    Attributes:
        arguments: Of the pipeline.
        profile: Of the cluster, for a pipeline that is compiled now.
        version: Name of a published version instead; empty: compiled now.
        experiment: That the run belongs to; it is created when there is none.
        service_account: Of the pods; empty: the server's default.
        pipeline_root: Where artifacts go; empty: the server's default.
    """

    arguments: Arguments
    profile: Profile
    version: str = ""
    experiment: str = "kfp-vision"
    service_account: str = ""
    pipeline_root: str = ""

    def __post_init__(self) -> None:
        """Refuses what the server, or the first pod, would refuse."""
        if not self.experiment.strip():
            raise ValueError(f"`experiment` must be a name. Received: {self.experiment!r}")
        check_object("service_account", self.service_account)
        if self.pipeline_root and not is_remote(self.pipeline_root):
            raise ValueError(
                "`pipeline_root` must be in a bucket: artifacts of all pods go there. Received: "
                f"{self.pipeline_root!r}. Use gs:// or s3://."
            )


def check_version(version: str, parameters: Parameters, compiled: Iterable[str]) -> None:
    """Refuses what decides how a pipeline is compiled, where a published one is named.

    Args:
        version: Its name; empty: one is compiled.
        parameters: Of the user.
        compiled: Names of what else is set.

    Raises:
        ValueError: Something is set.
    """
    shape = [
        field.name
        for field in dataclasses.fields(parameters)
        if field.name in SHAPE and getattr(parameters, field.name) != field.default
    ]
    given = ", ".join([*compiled, *shape])
    if version and given:
        raise ValueError(
            "`version` names a pipeline that is compiled already, for other nodes and workers "
            f"perhaps. Received: version={version!r} and {given}. Leave one of the two out."
        )


def make_arguments(parameters: Parameters, checkpoint_uri: str, workspace: bool) -> Arguments:
    """Returns the arguments of a pipeline; checkpoints lie in the output unless placed elsewhere.

    Args:
        parameters: Of the user.
        checkpoint_uri: Empty: in the output.
        workspace: Whether tasks may see the volume of a profile.

    Raises:
        ValueError: A URI names what pods cannot see, places lie in each other, a code of a finding
            is unknown, or the architecture cannot be built.
    """
    checkpoints = checkpoint_uri or f"{parameters.output_uri.rstrip('/')}/checkpoints"
    arguments = Arguments(**dataclasses.asdict(parameters), checkpoint_uri=checkpoints)
    check_places(arguments, workspace)
    check_apart(arguments)
    check_codes(arguments.accept_findings)
    if not is_user_model(arguments.architecture):
        check_architecture(arguments.architecture, arguments.image_size)
    return arguments


def check_places(arguments: Arguments, workspace: bool) -> None:
    """Refuses what pods cannot see.

    Args:
        arguments: Of the pipeline.
        workspace: Whether its tasks see the volume of a profile.

    Raises:
        ValueError: A URI names no bucket, a path of this machine, or one on a volume that is not
            there.
    """
    for name, value in _uris(arguments):
        if not value or value.startswith(_TFDS):
            continue
        if is_remote(value):
            bucket_and_key(value)
            continue
        path = PurePosixPath(value.removeprefix("file://"))
        if not path.is_relative_to(WORKSPACE) or ".." in path.parts:
            raise ValueError(
                f"`{name}` must be in a bucket: the pods of a cluster do not see the files of this "
                f"machine. Received: {value!r}. Use gs:// or s3://, or `kfp-vision run` here."
            )
        if not workspace:
            raise ValueError(
                f"`{name}` must be where pods see it: they have a {WORKSPACE} when the pipeline is "
                f"compiled with the claim of a volume. Received: {value!r}. Set `workspace` in "
                "the file of `--profile`, or use gs:// or s3://."
            )


def _uris(arguments: Arguments) -> list[tuple[str, str]]:
    values = dataclasses.asdict(arguments)
    named = [(name, value) for name, value in values.items() if name.endswith("_uri")]
    # The output first: the default place of the checkpoints lies in it.
    named.sort(key=lambda each: each[0] == "checkpoint_uri")
    if is_user_model(arguments.architecture):
        named.append(("architecture", arguments.architecture))
    return named


def start_run(client: kfp.Client, submission: Submission) -> tuple[str, Version]:
    """Returns the ID of a run that has been created, and the version of the pipeline that it runs.

    Raises:
        ValueError: There is no such version, or it does not know a parameter that is set.
        BackendError: The server does not answer, or refuses.
    """
    arguments = submission.arguments
    if submission.version:
        version = find_version(client, submission.version)
        check_places(arguments, version.workspace)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            package = Path(scratch, "pipeline.yaml")
            compile_pipeline(
                package,
                submission.profile,
                arguments.trial_workers,
                teacher_workers=arguments.teacher_workers,
            )
            version = publish_version(client, package)
    given = inputs_for(arguments, version)
    # The SDK prints links.
    with contextlib.redirect_stdout(io.StringIO()):
        experiment = client.create_experiment(
            submission.experiment, namespace=client.get_user_namespace() or None
        )
        run = client.run_pipeline(
            experiment.experiment_id,
            _run_name(arguments.dataset_uri),
            params=given,
            pipeline_id=version.pipeline_id,
            version_id=version.version_id,
            pipeline_root=submission.pipeline_root or None,
            service_account=submission.service_account or None,
        )
    return str(run.run_id), version


def inputs_for(arguments: Any, version: Version) -> dict[str, Any]:
    """Returns the arguments that a version takes, of a dataclass of arguments.

    Raises:
        ValueError: One that is set is none of them: the version is that of another package.
    """
    given = {}
    for field in dataclasses.fields(arguments):
        value = getattr(arguments, field.name)
        if field.name in version.inputs:
            given[field.name] = value
        elif field.name not in SHAPE and value != field.default:
            raise ValueError(
                f"A parameter must be one of the version {version.name}. Received: {field.name}="
                f"{value!r}. Without a version, that of this package is published, which knows it."
            )
    return given


def _run_name(dataset_uri: str) -> str:
    """Returns `photos 2026-11-27 09:30:00` for `s3://team/photos.csv`."""
    dataset = PurePosixPath(dataset_uri.removeprefix(_TFDS)).name.partition(".")[0]
    return f"{dataset} {datetime.now():%Y-%m-%d %H:%M:%S}"
