"""What is known of images, spread over the graph of their nearest neighbours.

Label propagation as in Zhou et al., 2004 (Learning with Local and Global Consistency, equation 5);
it starts from the probabilities of a model where there is no label, as Correct and Smooth does
(Huang et al., 2021, arXiv:2010.13993, section 2.3). Shapes: N images, F features, C classes.
"""

import numpy as np
from scipy.sparse import csr_array, diags_array

__all__ = ["MAX_NODES", "neighbour_graph", "spread"]

# Every image is compared with every other, and the features of all are held in memory.
MAX_NODES = 20_000
_NEIGHBOURS, _POWER = 10, 3
# Of the neighbours in what is said of an image; after the steps the rest is below 0.1 %.
_SHARE, _STEPS = 0.9, 70
_ROWS = 1024


def neighbour_graph(features: np.ndarray) -> csr_array:
    """Returns the weights of the neighbours of each image, [N, N]; a row adds up to 1.

    Those of an image are its ten nearest by cosine, and whose nearest it is; their weight is the
    cosine to the power of 3 (Iscen et al., 2019, arXiv:1904.04717, section 4.1).

    Args:
        features: [N, F], N > 1, as a network gives them.
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
    count = min(_NEIGHBOURS, len(unit) - 1)
    nearest, cosines = [], []
    for start in range(0, len(unit), _ROWS):
        alike = unit[start : start + _ROWS] @ unit.T
        own = np.arange(len(alike))
        alike[own, start + own] = -np.inf
        found = np.argpartition(-alike, count - 1, axis=1)[:, :count]
        nearest.append(found)
        cosines.append(np.take_along_axis(alike, found, axis=1))
    rows = np.repeat(np.arange(len(unit)), count)
    # An image that is like no other keeps the sum of its row.
    weights = np.clip(np.concatenate(cosines), 1e-3, None).ravel() ** _POWER
    places = (rows, np.concatenate(nearest).ravel())
    one_way = csr_array((weights, places), shape=(len(unit), len(unit)))
    both = one_way + one_way.T
    return csr_array(diags_array(1 / both.sum(axis=1)) @ both)


def spread(graph: csr_array, probabilities: np.ndarray) -> np.ndarray:
    """Returns Z = (1 - a) P + a W Z: what is said of an image follows its neighbours, [N, C].

    Args:
        graph: W, of `neighbour_graph`.
        probabilities: P, [N, C]: labels where there are some, else those of a model.
    """
    found = probabilities
    for _ in range(_STEPS):
        found = (1 - _SHARE) * probabilities + _SHARE * (graph @ found)
    return found
