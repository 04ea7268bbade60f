"""How much memory training steps need at most and at least, and how much was held.

Source of the estimate: what backpropagation keeps, the outputs of all layers.
"""

import math
import re
import resource
from collections.abc import Iterator
from pathlib import Path

import keras
import psutil

from kfp_vision.components.shared.runtime.memory import MIB

__all__ = ["estimate_memory_mib", "held_memory_mib", "least_memory_mib", "peak_memory_mib"]

# Outputs of layers are held once for the backward pass, and once more as their gradients; the rest
# is workspace. Measured over batches, images of 32 to 1024 px and networks: 0.68 to 2.1 times the
# outputs.
_COPIES, _LEAST_COPIES = 4, 0.65
# Of the compiled program. Measured with 2 images a batch: 65 MiB (separable) to 500 MiB
# (efficientnet_v2_b0), weights included.
_PROGRAM_MIB = 512
_STATUS = Path("/proc/self/status")


def estimate_memory_mib(model: keras.Model, batch_size: int) -> float:
    """Returns a generous estimate of what training steps add to the process, in MiB.

    The outputs of all layers in float32 with gradients and workspace, the weights with gradient
    and two moments, and the program. Infinite where a layer does not know its shape.
    """
    outputs_mib = batch_size * sum(_layer_outputs(model)) * 4 / MIB
    return _COPIES * outputs_mib + _weights_mib(model) + _PROGRAM_MIB


def least_memory_mib(model: keras.Model, batch_size: int) -> float:
    """Returns what training steps add to the process at least, in MiB.

    As `estimate_memory_mib`, with no more than every network needs; layers that do not know their
    shape are left out.
    """
    known = sum(size for size in _layer_outputs(model) if math.isfinite(size))
    return _LEAST_COPIES * batch_size * known * 4 / MIB + _weights_mib(model)


def _weights_mib(model: keras.Model) -> float:
    """Returns the weights in float32 with gradient and two moments, in MiB."""
    num_weights: int = sum(math.prod(weight.shape) for weight in model.weights)
    return 16 * num_weights / MIB


def _layer_outputs(model: keras.Model) -> Iterator[float]:
    """Yields the elements that each layer, at any depth, puts out for one image."""
    for layer in model.layers:
        for output in keras.tree.flatten(layer.output):
            sides = output.shape[1:]
            yield math.inf if None in sides else math.prod(sides)
        if isinstance(layer, keras.Model):
            yield from _layer_outputs(layer)


def peak_memory_mib() -> float:
    """Returns the most memory that this program has held."""
    # Linux counts in `ru_maxrss` what a parent held when it started the program, too.
    if _STATUS.exists() and (peak := re.search(r"^VmHWM:\s*(\d+) kB$", _STATUS.read_text(), re.M)):
        return int(peak[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def held_memory_mib() -> float:
    """Returns the memory that this process holds now."""
    held_bytes: int = psutil.Process().memory_info().rss
    return held_bytes / MIB
