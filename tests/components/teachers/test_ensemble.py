"""Averages, greedy selection, stacking, soups and bootstraps: closed forms and references."""

import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from kfp_vision.components.shared.tasks.calibration import (
    fit_temperature,
    negative_log_likelihood,
)
from kfp_vision.components.teachers.ensemble import (
    Average,
    average,
    disagreement,
    select_greedily,
    stack,
)
from kfp_vision.components.teachers.resampling import boosting_weights, bootstrap_rows
from kfp_vision.components.teachers.soup import greedy_soup, mean_weights


def noisy_members(
    strengths: list[float], num_images: int = 400, num_classes: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Returns outputs [M, N, C] that know the label by so much, and labels [N]."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, num_classes, num_images)
    truth = np.eye(num_classes)[labels]
    noise = generator.normal(size=(len(strengths), num_images, num_classes))
    return np.stack([s * truth for s in strengths]) + noise, labels


def test_an_average_has_the_mean_probability():
    outputs, _ = noisy_members([1.0, 2.0, 0.0])
    weights = np.array([0.5, 0.3, 0.2])
    expected = np.tensordot(weights, softmax(outputs, axis=-1), 1)
    raw = Average(weights, np.ones(3), multilabel=False)(outputs)
    np.testing.assert_allclose(softmax(raw, axis=-1), expected, rtol=1e-6)
    np.testing.assert_allclose(np.exp(raw), expected, rtol=1e-6)


def test_an_average_of_independent_classes_has_the_mean_of_each():
    outputs, _ = noisy_members([1.0, 3.0])
    raw = Average(np.array([0.25, 0.75]), np.array([1.0, 2.0]), multilabel=True)(outputs)
    np.testing.assert_allclose(
        expit(raw), 0.25 * expit(outputs[0]) + 0.75 * expit(outputs[1] / 2), rtol=1e-5
    )


@pytest.mark.parametrize("multilabel", [False, True])
def test_an_average_of_equals_is_what_each_says(multilabel):
    outputs = np.repeat(noisy_members([2.0])[0], 3, axis=0)
    raw = Average(np.full(3, 1 / 3), np.ones(3), multilabel)(outputs)
    expected = outputs[0] if multilabel else log_softmax(outputs[0], axis=-1)
    np.testing.assert_allclose(raw, expected, atol=1e-6)


def test_a_certain_member_is_certain_within_reason():
    raw = Average(np.ones(1), np.ones(1), multilabel=False)(np.array([[[1e4, 0.0]]]))
    assert np.isfinite(raw).all()


def test_greedy_selection_is_no_worse_than_the_best_member_or_the_plain_average():
    outputs, labels = noisy_members([2.0, 1.5, 0.5, -1.0])
    chosen = select_greedily(outputs, labels, None)
    loss = negative_log_likelihood(labels, chosen(outputs))
    scaled = outputs / chosen.temperatures[:, None, None]
    assert loss <= min(negative_log_likelihood(labels, each) for each in scaled)
    assert loss <= negative_log_likelihood(labels, average(outputs, labels, None)(outputs))
    assert chosen.weights.sum() == pytest.approx(1)
    assert chosen.weights[3] == 0


def test_greedy_selection_follows_the_algorithm_of_the_paper():
    outputs, labels = noisy_members([1.2, 1.0, 1.1], num_images=60)
    scaled = np.stack([each / fit_temperature(labels, each) for each in outputs])
    probabilities = softmax(scaled, axis=-1)
    bag: list[int] = []
    seen = []
    for _ in range(20):
        means = [probabilities[[*bag, m]].mean(axis=0) for m in range(3)]
        losses = [-np.log(mean[np.arange(60), labels]).mean() for mean in means]
        bag.append(int(np.argmin(losses)))
        seen.append(min(losses))
    best = bag[: int(np.argmin(seen)) + 1]
    expected = np.bincount(best, minlength=3) / len(best)
    np.testing.assert_allclose(select_greedily(outputs, labels, None).weights, expected)


def test_members_that_are_copies_count_once():
    outputs, labels = noisy_members([2.0])
    chosen = select_greedily(np.repeat(outputs, 3, axis=0), labels, None)
    assert chosen.weights.tolist() == [1, 0, 0]


def test_a_stack_is_as_good_as_the_logistic_regression_of_scikit_learn():
    outputs, labels = noisy_members([1.0, -2.0], num_images=2000)
    fitted, held = np.arange(1000), np.arange(1000, 2000)
    ours = stack(outputs[:, fitted], labels[fitted], None)
    features = np.concatenate(list(log_softmax(outputs, axis=-1)), axis=-1)
    theirs = LogisticRegression().fit(features[fitted], labels[fitted])
    expected = -theirs.predict_log_proba(features[held])[np.arange(1000), labels[held]].mean()
    loss = negative_log_likelihood(labels[held], ours(outputs[:, held]))
    assert loss == pytest.approx(expected, abs=0.01)
    # A member that is wrong on purpose tells as much as one that is right: no average knows that.
    mean = select_greedily(outputs[:, fitted], labels[fitted], None)
    assert loss < negative_log_likelihood(labels[held], mean(outputs[:, held])) - 0.1


def test_a_stack_of_independent_classes_has_one_output_a_class():
    outputs, labels = noisy_members([1.0, 2.0])
    present = np.eye(3, dtype=np.uint8)[labels]
    stacked = stack(outputs, present, None)
    best = negative_log_likelihood(present, outputs[1])
    assert stacked(outputs).shape == (400, 3)
    assert negative_log_likelihood(present, stacked(outputs)) < best


def test_members_disagree_with_others_as_often_as_they_decide_otherwise():
    outputs = np.array([[[1.0, 0], [1, 0], [1, 0], [1, 0]], [[0, 1], [1, 0], [1, 0], [0, 1]]])
    np.testing.assert_array_equal(disagreement(outputs, multilabel=False), [[0, 0.5], [0.5, 0]])
    # Of eight decisions: two classes of four images, a tie is "not there".
    np.testing.assert_array_equal(disagreement(outputs, multilabel=True), [[0, 0.5], [0.5, 0]])


def test_a_bootstrap_leaves_out_a_share_of_1_over_e():
    rows = bootstrap_rows(100_000, seed=1)
    assert len(rows) == 100_000
    assert len(np.unique(rows)) / 100_000 == pytest.approx(1 - np.exp(-1), abs=0.005)
    assert (rows == bootstrap_rows(100_000, seed=1)).all()
    assert (rows != bootstrap_rows(100_000, seed=2)).any()


@pytest.mark.parametrize("num_classes", [2, 5])
@pytest.mark.parametrize("error", [0.01, 0.2, 0.45])
def test_boosting_leaves_the_members_before_no_better_than_a_guess(num_classes, error):
    is_wrong = np.arange(1000) < 1000 * error
    weights = boosting_weights(is_wrong, num_classes)
    assert weights.sum() == pytest.approx(1)
    assert weights[is_wrong].sum() == pytest.approx(1 - 1 / num_classes)
    drawn = bootstrap_rows(1000, 0, weights)
    assert is_wrong[drawn].mean() == pytest.approx(1 - 1 / num_classes, abs=0.05)


def test_boosting_shrinks_to_bagging():
    is_wrong = np.arange(100) < 10
    odds = [
        weights[0] / weights[-1]
        for weights in (boosting_weights(is_wrong, 10, share) for share in (0.0, 0.5, 1.0))
    ]
    np.testing.assert_allclose(odds, [1, 9, 81])


def test_a_bold_member_counts_no_more_than_a_timid_one():
    outputs, labels = noisy_members([1.5, 1.5], num_images=2000)
    outputs *= np.array([10.0, 0.1])[:, None, None]
    chosen = select_greedily(outputs, labels, None)
    assert chosen.weights.min() > 0.3
    assert chosen.temperatures[0] / chosen.temperatures[1] == pytest.approx(100, rel=0.2)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.0])
def test_boosting_is_bagging_where_there_is_nothing_to_learn_from_mistakes(share):
    weights = boosting_weights(np.arange(10) < 10 * share, 2)
    np.testing.assert_allclose(weights, 0.1)


def test_a_soup_has_what_lowers_the_loss_of_the_mean():
    target = np.array([1.0, 1.0])
    networks = [[target + each] for each in ([0.0, 1.0], [0.0, -0.9], [5.0, 5.0])]

    def loss(chosen):
        mean = mean_weights([networks[at] for at in chosen])
        return float(((mean[0] - target) ** 2).sum())

    chosen = greedy_soup(3, loss)
    assert chosen == (1, 0)
    np.testing.assert_allclose(mean_weights([networks[at] for at in chosen])[0], [1.0, 1.05])
    assert loss(chosen) < min(loss((at,)) for at in range(3))


def test_a_soup_of_what_gets_worse_together_is_the_best_one():
    assert greedy_soup(2, lambda chosen: 0.9 if len(chosen) > 1 else 0.1 * chosen[0]) == (0,)


def test_a_soup_keeps_number_types_and_wants_one_architecture():
    counts = [[np.array([2], np.int64)], [np.array([4], np.int64)]]
    assert mean_weights(counts)[0].dtype == np.int64
    with pytest.raises(ValueError, match="of one architecture"):
        mean_weights([[np.zeros(2)], [np.zeros(3)]])
