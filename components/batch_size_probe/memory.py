"""How much memory training steps may need, how much is free, and how much was held.

Source of the estimate: what backpropagation keeps, the outputs of all layers.
"""

import math
import resource
from pathlib import Path

import keras
import psutil

__all__ = ["MIB", "estimate_memory_mib", "free_memory_mib", "held_memory_mib", "peak_memory_mib"]

MIB = 2**20
# Outputs of layers are held once for the backward pass, and once more as their gradients; the rest
# is workspace. Measured over batches: 0.8 to 2.1 times the outputs.
_COPIES = 4
# Of the compiled program. Measured with 2 images a batch: 65 MiB (separable) to 500 MiB
# (efficientnet_v2_b0), weights included.
_PROGRAM_MIB = 512
# Limit and use of a container's memory, cgroup v2 and v1.
_CGROUP_FILES = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)


def estimate_memory_mib(model: keras.Model, batch_size: int) -> float:
    """Returns a generous estimate of what training steps add to the process, in MiB.

    The outputs of all layers in float32 with gradients and workspace, the weights with gradient
    and two moments, and the program. Infinite where a layer does not know its shape.
    """
    weights = sum(math.prod(weight.shape) for weight in model.weights)
    outputs_mib = 4 * _COPIES * batch_size * _num_outputs(model) / MIB
    return outputs_mib + 16 * weights / MIB + _PROGRAM_MIB


def _num_outputs(model: keras.Model) -> float:
    """Returns the elements that the layers of a model, at any depth, put out for one image."""
    total = 0.0
    for layer in model.layers:
        for output in keras.tree.flatten(layer.output):
            sides = output.shape[1:]
            total += math.inf if None in sides else math.prod(sides)
        if isinstance(layer, keras.Model):
            total += _num_outputs(layer)
    return total


def free_memory_mib(cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """Returns what may still be allocated: of the machine, and of the container it runs in."""
    free = psutil.virtual_memory().available
    for limit_file, used_file in _CGROUP_FILES:
        limit = (cgroup / limit_file).read_text().strip() if (cgroup / limit_file).exists() else ""
        if limit.isdecimal():
            free = min(free, int(limit) - int((cgroup / used_file).read_text()))
    return free / MIB


def peak_memory_mib() -> float:
    """Returns the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def held_memory_mib() -> float:
    """Returns the memory that this process holds now."""
    return psutil.Process().memory_info().rss / MIB
