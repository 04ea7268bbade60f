"""Whether the weights of ImageNet of a network of the zoo are on this machine."""

from kfp_vision.components.shared.architectures import squeezenet
from kfp_vision.components.shared.architectures.applications import (
    APPLICATIONS,
    check_downloaded,
)
from kfp_vision.components.shared.architectures.efficientnet_lite import LITES
from kfp_vision.components.shared.architectures.weights_package import check_packaged

__all__ = ["missing_weights"]

_PACKAGES = {
    "squeezenet": squeezenet.WEIGHTS,
    **{name: lite.weights for name, lite in LITES.items()},
}


def missing_weights(architecture: str) -> str | None:
    """Returns why the weights of `architecture` cannot be used without a network, and what to do.

    None means that they are at hand. What is said names the network, so that it can be printed as
    it is.

    Args:
        architecture: A name of the zoo, `efficientnet_lite0_imagenet`.
    """
    network = architecture.removesuffix("_imagenet")
    try:
        if network in _PACKAGES:
            check_packaged(_PACKAGES[network])
        elif network in APPLICATIONS:
            check_downloaded(network)
        else:
            return f"`{network}` has no weights of ImageNet."
    except (ModuleNotFoundError, ConnectionError, ValueError) as error:
        return str(error)
    return None
