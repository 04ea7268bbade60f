"""Containers of a Docker engine on this machine, one for each task of a run."""

import codecs
import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import docker
from docker.errors import APIError, DockerException, ImageNotFound
from docker.models.containers import Container
from docker.types import DeviceRequest, Mount

from kfp_vision.components.shared.runtime.container_images import image_name
from kfp_vision.components.shared.runtime.memory import MIB
from kfp_vision.pipelines.local.container_settings import ContainerSettings

__all__ = ["check_engine", "containers_of", "remove_containers", "run_container"]

# Value: the output folder of the run.
_LABEL = "kfp-vision.output"
_HOME = "/tmp"
_HOME_OPTIONS = "mode=1777,size=512m"
# The engine mixes two streams in the middle of lines.
_ONE_STREAM = ("sh", "-c", 'exec "$@" 2>&1', "sh")
_ALL_GPUS = DeviceRequest(count=-1, capabilities=[["gpu"]])


def check_engine() -> bool:
    """Checks that the engine and the image are there; returns whether the engine has GPUs.

    Raises:
        RuntimeError: One of them is not.
    """
    try:
        with contextlib.closing(docker.from_env()) as client:
            gpu = "nvidia" in client.info().get("Runtimes", {})
            client.images.get(_image(gpu))
    except ImageNotFound as error:
        raise RuntimeError(
            f"The runner `docker` needs the image of this code. Received: no {_image(gpu)} on this "
            f"machine. `make images TARGETS={_target(gpu)}` builds it."
        ) from error
    except DockerException as error:
        raise RuntimeError(
            "The runner `docker` needs a Docker engine that this user may use. Received: "
            f"{error}. Start it, or use `--runner subprocess`."
        ) from error
    return gpu


def _target(gpu: bool) -> Literal["cpu", "gpu"]:
    return "gpu" if gpu else "cpu"


def _image(gpu: bool) -> str:
    return image_name(_target(gpu))


@contextlib.contextmanager
def containers_of(output: str) -> Iterator[None]:
    """Removes the containers of an output folder, before and after: some outlive `kill -9`."""
    remove_containers(output)
    try:
        yield
    finally:
        remove_containers(output)


def remove_containers(output: str) -> None:
    """Ends and removes every container that works for an output folder."""
    with contextlib.closing(docker.from_env()) as client:
        found = client.containers.list(all=True, filters={"label": f"{_LABEL}={output}"})
        for container in found:
            _remove(container)


def _remove(container: Container) -> None:
    # It may be gone, or about to go.
    with contextlib.suppress(APIError):
        container.remove(force=True)


def run_container(
    settings: ContainerSettings,
    scratch: Path,
    command: Sequence[str],
    environment: Mapping[str, str],
) -> int:
    """Runs a command in a new container, prints what it writes, and returns its exit code.

    Args:
        settings: Of the run.
        scratch: Folder for temporary files.
        command: Program and arguments.
        environment: Variables of this task.
    """
    with contextlib.closing(docker.from_env()) as client:
        container = client.containers.create(
            _image(settings.gpu),
            [*_ONE_STREAM, *command],
            **_options(settings, scratch, environment),
        )
        try:
            # Before the start: no line is lost, and no container is gone before it is asked for.
            written = container.attach(stream=True)
            container.start()
            _print(written)
            code = int(container.wait()["StatusCode"])
            container.reload()
            if code and container.attrs["State"]["OOMKilled"]:
                print(
                    f"The task needs more memory than its container may use, "
                    f"{settings.memory_bytes // MIB} MiB. `--memory-gib` sets the limit."
                )
        finally:
            _remove(container)
    return code


def _print(written: Iterator[bytes]) -> None:
    # A character may be split between two blocks.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for block in written:
        print(decoder.decode(block), end="")


def _options(
    settings: ContainerSettings, scratch: Path, environment: Mapping[str, str]
) -> dict[str, Any]:
    """Returns how the container is created: what it may not do, may use, and sees."""
    written = filter(None, (settings.output, settings.champions, str(scratch)))
    mounts = [Mount(place, place, "bind") for place in written]
    mounts += [Mount(*places, "bind", read_only=True) for places in settings.inputs.items()]
    return {
        "labels": {_LABEL: settings.output},
        "user": f"{os.getuid()}:{os.getgid()}",
        "group_add": [str(group) for group in os.getgroups()],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "read_only": True,
        "init": True,
        "network_mode": settings.network,
        "cpuset_cpus": ",".join(map(str, settings.cpus)),
        "mem_limit": settings.memory_bytes,
        "memswap_limit": settings.memory_bytes,
        "shm_size": settings.memory_bytes // 2,
        "device_requests": [_ALL_GPUS] if settings.gpu else [],
        "mounts": mounts,
        "tmpfs": {_HOME: _HOME_OPTIONS},
        "environment": {
            "HOME": _HOME,
            "TMPDIR": str(scratch),
            **{name: os.environ[name] for name in settings.variables if name in os.environ},
            **environment,
        },
        "working_dir": settings.working_dir,
    }
