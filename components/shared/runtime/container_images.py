"""The images that components run in, and the decorator of every component.

The tag is the package version, so that a new version never meets the cache of an old one.
"""

import functools
from importlib.metadata import version

from kfp import dsl

__all__ = ["CPU_IMAGE", "component"]

# `python` in the name: KFP warns of a missing interpreter for every task otherwise.
CPU_IMAGE = f"kfp-vision/python-cpu:{version('kfp-vision')}"

# The package is in the image: KFP must install neither it nor itself when a task starts.
component = functools.partial(
    dsl.component, base_image=CPU_IMAGE, packages_to_install=[], install_kfp_package=False
)
