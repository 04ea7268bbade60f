"""One network from several of the same architecture that began with the same weights.

Shapes: M networks, each with the same list of weights.
"""

from collections.abc import Callable, Sequence

import numpy as np

__all__ = ["Weights", "greedy_soup", "mean_weights"]

Weights = Sequence[np.ndarray]


def mean_weights(networks: Sequence[Weights]) -> list[np.ndarray]:
    """Returns the mean of each weight, in its number type.

    Raises:
        ValueError: The networks are not of one architecture.
    """
    shapes = {tuple(each.shape for each in weights) for weights in networks}
    if len(shapes) != 1:
        raise ValueError(
            "`networks` must be at least one, of one architecture. "
            f"Received: {len(networks)} with {len(shapes)} lists of shapes"
        )
    return [
        np.mean(each, axis=0, dtype=np.float64).astype(each[0].dtype)
        for each in zip(*networks, strict=True)
    ]


def greedy_soup(num_networks: int, loss: Callable[[tuple[int, ...]], float]) -> tuple[int, ...]:
    """Returns of which networks the mean is taken, the best one first.

    They are tried once each, the best first; one that raises the loss is left out.

    Args:
        num_networks: M.
        loss: Of the mean of some of them, on held-out images.

    Reference: Wortsman et al., 2022, Model soups, arXiv:2203.05482, recipe 1.
    """
    alone = [loss((at,)) for at in range(num_networks)]
    first, *others = np.argsort(alone, kind="stable").tolist()
    chosen: tuple[int, ...] = (first,)
    lowest = alone[first]
    for at in others:
        tried = loss((*chosen, at))
        if tried <= lowest:
            chosen, lowest = (*chosen, at), tried
    return chosen
