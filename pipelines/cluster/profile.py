"""A profile: where the tasks of a pipeline run on one kind of cluster, read from a YAML file."""

import dataclasses
import re
import types
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from kfp_vision.pipelines.parameters import check_names
from kfp_vision.pipelines.resources import STAGES, Resources

__all__ = [
    "PROFILES",
    "GpuPool",
    "Pool",
    "Profile",
    "Toleration",
    "check_object",
    "read_profile",
    "typed",
]

_FOLDER = Path(__file__).with_name("profiles")
PROFILES = sorted(path.stem for path in _FOLDER.glob("*.yaml"))
_PART = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_REGISTRY = re.compile(rf"(?:[a-zA-Z0-9.-]+(?::\d+)?(?:/{_PART})*/?)?")
_OBJECT = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
# Fields of a profile that name objects in Kubernetes.
_OBJECTS = (
    *("secret", "google_secret", "image_pull_secret", "service_account", "queue", "workspace"),
)
_EFFECTS = ("", "NoSchedule", "PreferNoSchedule", "NoExecute")


def check_object(field: str, name: str) -> None:
    """Refuses what Kubernetes gives no object as its name; empty is none.

    Raises:
        ValueError: It is no such name.
    """
    if name and not _OBJECT.fullmatch(name):
        raise ValueError(
            f"`{field}` must be the name of an object in Kubernetes: small letters, digits, `-` "
            f"and `.`. Received: {name!r}. `kubectl get` shows the names that there are."
        )


@dataclasses.dataclass(frozen=True)
class Toleration:
    """A taint that a task may run beside; the fields are those of Kubernetes."""

    key: str
    operator: str = "Equal"
    value: str = ""
    effect: str = ""

    def __post_init__(self) -> None:
        """Refuses what Kubernetes refuses when the first pod is made."""
        if self.operator not in ("Equal", "Exists"):
            raise ValueError(f"`operator` must be Equal or Exists. Received: {self.operator!r}")
        if self.effect not in _EFFECTS:
            raise ValueError(f"`effect` must be one of {_EFFECTS}. Received: {self.effect!r}")
        if self.operator == "Exists" and self.value:
            raise ValueError(f"`value` must be empty with Exists. Received: {self.value!r}")


@dataclasses.dataclass(frozen=True)
class Pool:
    """Nodes.

    Attributes:
        node_selector: Labels that a node must have.
        tolerations: Taints that it may have.
        avoid_labels: Labels that it must not have, whatever their value.
    """

    node_selector: dict[str, str] = dataclasses.field(default_factory=dict)
    tolerations: list[Toleration] = dataclasses.field(default_factory=list)
    avoid_labels: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class GpuPool(Pool):
    """Nodes with accelerators.

    Attributes:
        resource: Name of the accelerator, as its device plugin calls it.
        count: Accelerators a task.
    """

    resource: str = "nvidia.com/gpu"
    count: int = 1

    def __post_init__(self) -> None:
        """Refuses a pool that would give nothing."""
        if self.count < 1:
            raise ValueError(
                f"`count` must be at least 1; without `gpu` all tasks use CPUs. "
                f"Received: {self.count}"
            )


@dataclasses.dataclass(frozen=True)
class Profile:
    """A cluster.

    Attributes:
        cpu: For the stages that train nothing.
        gpu: For those that train; None runs them on `cpu`, in the image without CUDA.
        registry: Host and path of the images.
        digests: Target -> `sha256:...`; the tag of this package for a target that is not there.
        image_pull_secret: Kubernetes secret for the registry.
        secret: Kubernetes secret with the access to the storage, see `placement.SECRET_KEYS`.
        google_secret: Kubernetes secret with the `key.json` of a Google service account.
        service_account: For the run; a pipeline cannot name it itself.
        queue: Local queue of Kueue.
        workspace: Claim of a volume that all tasks share, see `placement.WORKSPACE`.
        stages: Stage -> fields of `Resources` that differ from the table.
    """

    cpu: Pool = Pool()
    gpu: GpuPool | None = None
    registry: str = ""
    digests: dict[str, str] = dataclasses.field(default_factory=dict)
    image_pull_secret: str = ""
    secret: str = ""
    google_secret: str = ""
    service_account: str = ""
    queue: str = ""
    workspace: str = ""
    stages: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses unknown targets, stages and resources, and names that nothing can have."""
        if not _REGISTRY.fullmatch(self.registry):
            raise ValueError(
                "`registry` must be host and path of the images, as in ghcr.io/team. Received: "
                f"{self.registry!r}. Leave out https://, tags and capitals."
            )
        for field in _OBJECTS:
            check_object(field, getattr(self, field))
        check_names(self.digests, ("cpu", "gpu"), "Target")
        for target, digest in self.digests.items():
            if not digest.startswith("sha256:") or len(digest) != len("sha256:") + 64:
                raise ValueError(
                    f"The digest of `{target}` must be sha256: and 64 hex digits. "
                    f"Received: {digest!r}"
                )
        if self.digests and not self.registry:
            raise ValueError(
                "Only an image in a registry has a digest. Received: digests, no registry. "
                "Set `registry`, or use `--registry`."
            )
        if self.gpu and not (self.cpu.node_selector or self.cpu.avoid_labels):
            raise ValueError(
                "Tasks without accelerators must be kept off the nodes that have some. Received: "
                "`gpu`, and `cpu` with neither `avoid_labels` nor `node_selector`. Name a label "
                "that only nodes with accelerators have in `cpu.avoid_labels`."
            )
        check_names(self.stages, tuple(STAGES), "Stage")
        for stage in self.stages:
            self.resources(stage)

    def resources(self, stage: str) -> Resources:
        """Returns the line of the table for a stage, as this cluster has it."""
        changes = self.stages.get(stage, {})
        if self.gpu is None:
            changes = {"image": "cpu", **changes}
        line = {**dataclasses.asdict(STAGES[stage]), **changes}
        resources: Resources = typed(Resources, line, stage)
        return resources


def read_profile(name: str, changes: Mapping[str, Any] = MappingProxyType({})) -> Profile:
    """Returns a profile of this package by its name, or one of the user from a YAML file.

    Args:
        name: One of `PROFILES`, or the path of a file.
        changes: Fields that replace those of the profile.

    Raises:
        ValueError: There is no such profile, or it holds what a cluster cannot use.
    """
    path = _FOLDER / f"{name}.yaml" if name in PROFILES else Path(name)
    if not path.is_file():
        raise ValueError(
            f"A profile must be one of {PROFILES} or a YAML file. Received: {name!r}. "
            f"Copy {_FOLDER / 'gke.yaml'} to start one."
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"A profile must be YAML. Received: {path} ({error})") from error
    try:
        if isinstance(content, dict):
            content |= changes
        profile: Profile = typed(Profile, content, "profile")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return profile


def typed(kind: Any, value: Any, place: str) -> Any:
    """Returns a value of a YAML file as the type that a dataclass declares.

    Args:
        kind: A dataclass, a type, or a list, dict or optional of such.
        value: What the file holds, or what was made of it.
        place: Where, for the message.

    Raises:
        ValueError: It is of another type, or names an unknown field.
    """
    if kind is Any or (dataclasses.is_dataclass(kind) and type(value) is kind):
        return value
    if isinstance(kind, types.UnionType):
        return None if value is None else typed(get_args(kind)[0], value, place)
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin is Literal:
        if value not in inner:
            raise ValueError(f"`{place}` must be one of {list(inner)}. Received: {value!r}")
        return value
    expected = dict if dataclasses.is_dataclass(kind) else origin
    if expected is float and type(value) is int:
        return float(value)
    if type(value) is not expected:
        raise ValueError(
            f"`{place}` must be of type {expected.__name__}. Received: {value!r} "
            f"({type(value).__name__}). YAML wants quotes around text like true, 1 and no."
        )
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, place)
    if origin is list:
        return [typed(inner[0], each, f"{place}[{index}]") for index, each in enumerate(value)]
    if origin is dict:
        return {
            typed(inner[0], key, f"a name in {place}"): typed(inner[1], each, f"{place}.{key}")
            for key, each in value.items()
        }
    return value


def _dataclass(kind: Any, value: Mapping[str, Any], place: str) -> Any:
    hints = get_type_hints(kind)
    check_names(map(str, value), tuple(hints), f"In `{place}`, field")
    required = {
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    if missing := required - set(value):
        raise ValueError(f"`{place}` must have {sorted(missing)}. Received: {dict(value)}")
    return kind(
        **{name: typed(hints[name], each, f"{place}.{name}") for name, each in value.items()}
    )
