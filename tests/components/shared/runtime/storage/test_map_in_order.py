"""Work of many threads, in order, with bounds on what is in memory."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kfp_vision.components.shared.runtime.storage.reading import map_in_order


@pytest.mark.parametrize("most", [1, 50, 100, 10_000])
def test_bytes_and_number_of_items_are_bounded(most):
    sizes = np.random.default_rng(0).integers(0, 100, 300).tolist()
    used = 0

    def check(number: int) -> int:
        # Submitted, and not used before.
        held = sizes[used : number + 1]
        assert len(held) <= 9
        assert len(held) == 1 or sum(held) <= most or sum(held[1:]) == 0
        return number

    with ThreadPoolExecutor(4) as pool:
        for place, number in enumerate(
            map_in_order(pool, check, range(300), 8, sizes.__getitem__, most)
        ):
            assert number == place
            used = place + 1
    assert used == 300
