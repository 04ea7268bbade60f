"""The images that components run in, and the decorator of every component.

The tag is that of the code, so that new code never meets the cache of old code.
"""

import types
from collections.abc import Callable
from typing import Any, Literal

from kfp import dsl

from kfp_vision.components.shared.runtime.code_version import image_tag

__all__ = ["CPU_IMAGE", "Target", "component", "image_name"]

Target = Literal["cpu", "gpu"]


def image_name(target: Target, registry: str = "", digest: str = "") -> str:
    """Returns the name of an image.

    Args:
        target: Of the Dockerfile.
        registry: Host and path before the name, as in `ghcr.io/team`; empty for this machine.
        digest: `sha256:...` of the image in the registry; empty for the tag of this code.
    """
    # `python` in the name: KFP warns of a missing interpreter for every task otherwise.
    name = "/".join(filter(None, [registry.rstrip("/"), f"kfp-vision/python-{target}"]))
    return f"{name}@{digest}" if digest else f"{name}:{image_tag()}"


CPU_IMAGE = image_name("cpu")


def component(function: Callable[..., Any]) -> Any:
    """Makes a KFP component of a function, which stays callable as its `python_func`.

    The package is in the image: KFP must install neither it nor itself when a task starts.
    """
    if not hasattr(dsl, "component"):
        # Within a task kfp has no components; one that runs others needs their functions.
        return types.SimpleNamespace(python_func=function)
    return dsl.component(
        function, base_image=CPU_IMAGE, packages_to_install=[], install_kfp_package=False
    )
