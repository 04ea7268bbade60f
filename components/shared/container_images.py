"""The names of the images that components run in; the tag is the package version."""

from importlib.metadata import version

__all__ = ["CPU_IMAGE"]

# `python` in the name: KFP warns of a missing interpreter for every task otherwise.
CPU_IMAGE = f"kfp-vision/python-cpu:{version('kfp-vision')}"
