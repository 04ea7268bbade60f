"""What a container of `kfp-vision run --runner docker` may see and use.

A task finds every folder under its own path, as in a process: nothing in the pipeline has to know
of containers. Inputs are read-only, and only the output folder and `/tmp` can be written.
"""

import dataclasses
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from kfp_vision.components.shared.architectures.names import is_user_model
from kfp_vision.components.shared.recipe.document import named_architecture
from kfp_vision.components.shared.runtime.memory import available_memory_bytes
from kfp_vision.components.shared.runtime.processes import usable_cpus
from kfp_vision.components.shared.runtime.storage import is_remote, local_path
from kfp_vision.pipelines.local.run_record import local_folder
from kfp_vision.pipelines.parameters import Parameters

__all__ = ["ContainerSettings", "Limits", "container_settings"]

_GIB = 2**30
# TensorFlow alone takes more.
_LEAST_GIB = 0.5
# Variables that reach the tasks, by their beginning: of libraries that compute, of storage
# and of an MLflow server.
# `TF_` alone would be Terraform's, tokens included.
_COMPUTING = (
    *("CUDA_", "KERAS_", "MKL_", "NVIDIA_", "OMP_", "OPENBLAS_", "XLA_"),
    *("TF_CPP_", "TF_DETERMINISTIC_", "TF_ENABLE_", "TF_FORCE_", "TF_GPU_", "TF_NUM_", "TF_XLA_"),
)
_STORING = ("AWS_", "GOOGLE_", "STORAGE_EMULATOR_HOST")
_TRACKING = ("MLFLOW_",)
_CONNECTING = (
    *("REQUESTS_CA_BUNDLE", "SSL_CERT_"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)
_TRACKER = "MLFLOW_TRACKING_URI"
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "STORAGE_EMULATOR_HOST", _TRACKER)
# Data sets that are one file and name others.
_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Folders of the system, which a container has itself; mounted from here they would hide its own.
_SYSTEM = ("/", "/dev", "/etc", "/opt", "/run", "/tmp", "/var")
# The same with all folders below them.
_PROGRAMS = (
    *("/bin", "/boot", "/lib", "/lib32", "/lib64", "/libx32", "/opt/kfp-vision", "/proc"),
    *("/sbin", "/sys", "/usr"),
)
# Below the home folder, which is `/tmp` in a container: downloaded weights and credentials.
_WEIGHTS = ".keras/models"
_CREDENTIALS = (".aws", ".config/gcloud")


@dataclasses.dataclass(frozen=True)
class Limits:
    """What the containers of a run may use; 0 stands for all that this process may use.

    Attributes:
        cpus: Number of CPUs; they are the same for all containers.
        memory_gib: Memory of each container, `/dev/shm` included.
    """

    cpus: int = 0
    memory_gib: float = 0.0

    def __post_init__(self) -> None:
        """Refuses what this machine does not have."""
        if not 0 <= self.cpus <= len(usable_cpus()):
            raise ValueError(
                f"`cpus` must be between 0 and {len(usable_cpus())}, which this process may use. "
                f"Received: {self.cpus}"
            )
        if self.memory_gib and not _LEAST_GIB <= self.memory_gib < math.inf:
            raise ValueError(
                f"`memory_gib` must be 0, or at least {_LEAST_GIB} and finite. Received: "
                f"{self.memory_gib}"
            )


@dataclasses.dataclass(frozen=True)
class ContainerSettings:
    """How the tasks of one run are contained; travels to `worker.py` as JSON.

    Attributes:
        output: Local folder of the run; the label by which its containers are found.
        champions: Folder of champions on this machine, which can be written too; empty without one.
        inputs: Files and folders that can be read, place in the container -> place here.
        variables: Names of the variables that a task gets from the environment of the worker: no
            value, which may be a key, stands in an argument.
        network: `none`, `bridge`, or `host` for a store that listens on this machine only.
        working_dir: What relative paths in the parameters are relative to.
        cpus: Numbers of the CPUs.
        memory_bytes: Of each container.
        gpu: Whether the containers get the GPUs.
    """

    output: str
    champions: str
    inputs: dict[str, str]
    variables: list[str]
    network: Literal["none", "bridge", "host"]
    working_dir: str
    cpus: list[int]
    memory_bytes: int
    gpu: bool


def container_settings(parameters: Parameters, limits: Limits, gpu: bool) -> ContainerSettings:
    """Returns the settings for a run.

    Raises:
        ValueError: The run reads what a container cannot see.
    """
    _check(parameters)
    architecture = named_architecture(parameters.architecture, parameters.recipe_uri)
    model_file = architecture if is_user_model(architecture) else ""
    datasets, files = (
        [uri for uri in uris if uri]
        for uris in (
            (parameters.dataset_uri, parameters.unlabeled_uri),
            (parameters.recipe_uri, model_file),
        )
    )
    champions = next(_local(uri for uri in [parameters.champion_uri] if uri), None)
    output = local_folder(parameters.output_uri)
    written = (parameters.output_uri, parameters.champion_uri or parameters.output_uri)
    stores = any(is_remote(uri) for uri in (*datasets, *files, *written))
    tracks = bool(os.environ.get(_TRACKER))
    needs = (_STORING if stores else ()) + (_TRACKING if tracks else ())
    variables = _variables(_COMPUTING + needs + (_CONNECTING if needs else ()))
    inputs = {**_dataset_places(_local(datasets)), **_places(_local(files))}
    for folder in filter(None, (*map(Path, inputs), output, champions)):
        if _is_system(folder):
            raise ValueError(
                "Containers see folders of this machine under their own paths, and have system "
                f"folders themselves. Received: {folder}. Choose another folder, or use "
                "`--runner subprocess`."
            )
    named = (Path(value) for value in variables.values() if value.startswith("/"))
    inputs |= _places(path for path in named if not _is_system(path))
    inputs |= _home_places((_WEIGHTS, *_CREDENTIALS) if stores else (_WEIGHTS,))
    return ContainerSettings(
        output=str(output),
        champions=os.path.normpath(champions) if champions else "",
        inputs=inputs,
        variables=sorted(variables),
        network=_network(variables) if needs else "none",
        working_dir=str(Path.cwd()),
        cpus=usable_cpus()[: limits.cpus or None],
        memory_bytes=int(limits.memory_gib * _GIB) or available_memory_bytes(),
        gpu=gpu,
    )


def _check(parameters: Parameters) -> None:
    if parameters.follow_links:
        raise ValueError(
            "A container sees the dataset's folder, not what links in it lead to. Received: "
            "follow_links=True with the runner `docker`. Copy the files into the folder, or use "
            "`--runner subprocess`."
        )
    if parameters.dataset_uri.startswith("tfds:"):
        raise ValueError(
            "The image has no tensorflow-datasets. Received: "
            f"dataset_uri={parameters.dataset_uri!r} with the runner `docker`. Use "
            "`--runner subprocess`."
        )


def _variables(beginnings: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(beginnings)}


def _local(uris: Iterable[str]) -> Iterator[Path]:
    for uri in uris:
        if not is_remote(uri):
            yield local_path(uri, "uri")


def _dataset_places(paths: Iterable[Path]) -> dict[str, str]:
    """Returns the folders of datasets; of one that is a table, the folder to which it may refer."""
    folders = [path.parent if path.suffix.lower() in _TABLES else path for path in paths]
    for folder in folders:
        if folder.resolve() in (Path("/"), Path("/tmp"), Path.home().resolve()):
            raise ValueError(
                "A table's images are looked for in its folder, which the containers see as a "
                f"whole. Received: a table in {folder}. Move table and images into a folder of "
                "their own, or use `--runner subprocess`."
            )
    # Absolute links in a folder name its real path.
    return _places(place for folder in folders for place in (folder, folder.resolve()))


def _is_system(path: Path) -> bool:
    """Returns whether a path, or what it links to, is a folder that every system has."""
    for each in (Path(os.path.normpath(path)), path.resolve()):
        programs = any(each.is_relative_to(folder) for folder in _PROGRAMS)
        if (programs or str(each) in _SYSTEM) and not each.is_file():
            return True
    return False


def _places(paths: Iterable[Path]) -> dict[str, str]:
    # Without `..`: two names of one place would be mounted twice.
    return {os.path.normpath(path): str(path.resolve()) for path in paths if path.exists()}


def _home_places(names: Iterable[str]) -> dict[str, str]:
    found = {f"/tmp/{name}": Path.home() / name for name in names}
    return {place: str(path.resolve()) for place, path in found.items() if path.is_dir()}


def _network(variables: Mapping[str, str]) -> Literal["bridge", "host"]:
    hosts = {urlsplit(variables.get(name, "")).hostname for name in _ENDPOINTS}
    return "host" if hosts & set(_LOOPBACK) else "bridge"
