import keras
import numpy as np
import pytest

from kfp_vision.components.shared.architectures.stochastic_depth import drop_branch, linear_rates
from kfp_vision.components.shared.architectures.zoo import ARCHITECTURES, build_model
from kfp_vision.components.shared.tasks import get_task


def test_rates_are_the_linear_decay_rule():
    # Huang et al., 2016, section 3: p_l = 1 - (l / L)(1 - p_L), for p_L = 0.5 and L = 54.
    expected = [1 - (1 - layer / 54 * (1 - 0.5)) for layer in range(1, 55)]
    assert linear_rates(0.5, 54) == pytest.approx(expected)


def test_the_expected_number_of_branches_is_that_of_the_paper():
    # Section 3: with p_L = 0.5, E(L) = (3 L - 1) / 4, 40 of 54 branches.
    survivors = sum(1 - rate for rate in linear_rates(0.5, 54))
    assert survivors == pytest.approx((3 * 54 - 1) / 4)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_a_branch_lives_or_dies_as_a_whole_and_keeps_its_mean(rate):
    keras.utils.set_random_seed(0)
    branch = keras.Input((3, 3, 2))
    model = keras.Model(branch, drop_branch(branch, rate, "drop"))
    kept = np.asarray(model(np.ones((4000, 3, 3, 2), np.float32), training=True))
    alive = kept[:, 0, 0, 0] > 0
    np.testing.assert_allclose(
        kept, np.where(alive, 1 / (1 - rate), 0)[:, None, None, None] * np.ones((3, 3, 2))
    )
    # Four standard errors of a binomial share.
    assert alive.mean() == pytest.approx(1 - rate, abs=4 * np.sqrt(rate * (1 - rate) / 4000))


def test_inference_keeps_every_branch():
    branch = keras.Input((3, 3, 2))
    ones = np.ones((5, 3, 3, 2), np.float32)
    np.testing.assert_array_equal(keras.Model(branch, drop_branch(branch, 0.5, "drop"))(ones), ones)


def in_order(model: keras.Model) -> list[keras.layers.Layer]:
    """All layers from the pixels to the logits, those of models inside included."""
    nested = [in_order(layer) if hasattr(layer, "layers") else [layer] for layer in model.layers]
    return sum(nested, [])


@pytest.mark.parametrize(
    "name",
    sorted(n for n, row in ARCHITECTURES.items() if row.droppable and not n.endswith("_imagenet")),
)
def test_the_deepest_branch_of_a_network_has_the_rate_asked_for(name):
    for rate in (0.0, 0.2):
        model = build_model(name, get_task("binary"), (64, 64, 3), 2, stochastic_depth=rate)
        rates = [
            layer.rate
            for layer in in_order(model)
            if isinstance(layer, keras.layers.Dropout) and layer.noise_shape is not None
        ]
        assert max(rates, default=0.0) == pytest.approx(rate)
        assert rates == sorted(rates)
