"""Seeds of every size for generators that take 32 bits."""

import numpy as np

__all__ = ["MAX_SEED", "seed_word"]

# Kubeflow Pipelines hands numbers on as doubles, which tell integers apart up to here.
MAX_SEED = 2**53 - 1


def seed_word(seed: int) -> int:
    """Returns 32 bits that stand for a seed: itself below 2^32, else a hash of it.

    Args:
        seed: Not negative, of any size.
    """
    return seed if seed < 2**32 else int(np.random.SeedSequence(seed).generate_state(1)[0])
