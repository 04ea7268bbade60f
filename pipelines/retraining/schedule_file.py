"""The YAML file of a schedule; several stand below each other, `---` between them."""

import dataclasses
from pathlib import Path
from typing import Any

import yaml

from kfp_vision.pipelines.cluster.profile import check_object, typed
from kfp_vision.pipelines.cluster.submission import check_version
from kfp_vision.pipelines.parameter_file import read_mapping
from kfp_vision.pipelines.parameters import Parameters, make_parameters
from kfp_vision.pipelines.retraining.cron import read_cron, read_zone
from kfp_vision.pipelines.retraining.triggers import Triggers

__all__ = ["Schedule", "read_schedules"]

_PARAMETERS = "parameters"
# What a published version has been compiled with.
_COMPILED = ("profile", "registry", "secret")


@dataclasses.dataclass(frozen=True)
class Schedule:
    """When a pipeline runs, and with what.

    Attributes:
        name: Of the recurring run; one of a file, and of a server's namespace.
        cron: Second, minute, hour, day of the month, month, day of the week.
        parameters: Of the run, as in params.yaml.
        triggers: What makes a run train.
        time_zone: Of `cron`, a name of the IANA list, for a server in UTC; empty: the server's.
        checkpoint_uri: Folder for checkpoints; empty: in the output.
        profile: Of the cluster: gke, eks, aks, local or the path of a file.
        registry: Host and path of the images; empty: that of the profile.
        secret: Kubernetes secret with the access to the storage; empty: that of the profile.
        version: Name of a published version of the pipeline; empty: that of this package.
        service_account: Of the pods; empty: that of the profile.
        experiment: That the runs belong to.
        enabled: False keeps the schedule on the server, but starts nothing.
    """

    name: str
    cron: str
    parameters: Parameters
    triggers: Triggers = dataclasses.field(default_factory=Triggers)
    time_zone: str = ""
    checkpoint_uri: str = ""
    profile: str = "local"
    registry: str = ""
    secret: str = ""
    version: str = ""
    service_account: str = ""
    experiment: str = "kfp-vision"
    enabled: bool = True

    def __post_init__(self) -> None:
        """Refuses what the server would refuse, or take for something else."""
        if not self.name.strip():
            raise ValueError(f"`name` must be set. Received: {self.name!r}")
        read_cron(self.cron)
        if self.time_zone:
            read_zone(self.time_zone)
        check_object("service_account", self.service_account)
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        compiled = [name for name in _COMPILED if getattr(self, name) != defaults[name]]
        check_version(self.version, self.parameters, compiled)
        if not self.parameters.champion_uri:
            raise ValueError(
                "A schedule must have `champion_uri` among its parameters: the last success is "
                f"recorded there. Received: none in {self.name!r}"
            )


def read_schedules(path: Path) -> list[Schedule]:
    """Returns the schedules of a file.

    Raises:
        ValueError: There is no file, or it holds an unknown key, a value that cannot be used, no
            schedule, or two of one name; the message says where.
    """
    if not path.is_file():
        raise ValueError(f"The file of a schedule must exist. Received: {path}")
    try:
        documents = list(yaml.compose_all(path.read_text(encoding="utf-8"), yaml.SafeLoader))
        schedules = [_schedule(node) for node in documents if node is not None]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"A schedule must be YAML. Received: {path} ({error})") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    names = [each.name for each in schedules]
    if not names or len({*names}) < len(names):
        raise ValueError(f"{path}: schedules must have names of their own. Received: {names}")
    return schedules


def _schedule(root: yaml.Node) -> Schedule:
    if not isinstance(root, yaml.MappingNode):
        raise ValueError("A schedule must hold `key: value` lines. Received: others")
    lines = [(str(key.value), node) for key, node in root.value]
    names = [name for name, _ in lines]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"A key must be set once. Received: {name} twice")
    # The types of parameters are those of params.yaml, not what YAML makes of them.
    given = [node for name, node in lines if name == _PARAMETERS]
    parameters = make_parameters(
        read_mapping(given[0], _PARAMETERS)
        if given and isinstance(given[0], yaml.MappingNode)
        else {}
    )
    root.value = [(key, node) for key, node in root.value if key.value != _PARAMETERS]
    content: dict[str, Any] = yaml.SafeLoader("").construct_document(root)
    schedule: Schedule = typed(Schedule, {**content, _PARAMETERS: parameters}, "schedule")
    return schedule
