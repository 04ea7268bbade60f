"""The bootstrap on problems whose answer is known."""

import tracemalloc

import numpy as np
import pytest
from scipy.stats import beta, binomtest, norm

from kfp_vision.components.evaluation.bootstrap import (
    draw_counts,
    score_against_rivals,
    score_with_intervals,
)
from kfp_vision.components.shared.tasks import get_task
from kfp_vision.components.shared.tasks.records import whole_set_metrics


def records(labels, probabilities):
    return {"label": labels, "probabilities": probabilities}


def two_class_sample(generator, num_images, accuracy):
    labels = generator.integers(2, size=num_images)
    predicted = np.where(generator.random(num_images) < accuracy, labels, 1 - labels)
    return records(labels, np.eye(2)[predicted])


def normal_scores(generator, counts, separations):
    """Returns two classes and the probabilities of one model a separation.

    Scores are normal with equal deviation, so accuracy and AUROC are known; half of the noise is
    the image's own, which all models see.
    """
    labels = np.repeat([0, 1], counts)
    shared = generator.normal(size=len(labels))
    models = []
    for separation in separations:
        noise = (shared + generator.normal(size=len(labels))) / np.sqrt(2)
        score = separation * (labels - 0.5) + noise
        positive = 1 / (1 + np.exp(-separation * score))
        models.append(np.stack([1 - positive, positive], axis=1))
    return [records(labels, each) for each in models]


def test_every_resample_has_as_many_images_as_the_set():
    counts = np.concatenate(list(draw_counts(50, 30, seed=3)), axis=1)
    assert counts.shape == (50, 30)
    assert (counts.sum(axis=0) == 50).all()


def test_same_seed_same_resamples():
    first, again = (next(draw_counts(20, 5, seed=1)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first != next(draw_counts(20, 5, seed=2))).any()


def test_interval_of_accuracy_is_the_binomial_one():
    sample = two_class_sample(np.random.default_rng(0), 1000, 0.8)
    scores = score_with_intervals(get_task("binary", 1), sample, 2000, seed=0)
    value, (low, high) = scores["accuracy"]["value"], scores["accuracy"]["ci95"]
    expected = binomtest(round(1000 * value), 1000).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("counts", [(30, 30), (58, 2)])
def test_sixty_right_of_sixty_is_not_certain(counts):
    labels = np.repeat([0, 1], counts)
    scores = score_with_intervals(
        get_task("binary", 1), records(labels, np.eye(2)[labels]), 200, seed=0
    )
    assert scores["accuracy"]["ci95"] == [pytest.approx(0.940, abs=5e-4), 1.0]
    # Two images of a class are no sixty: the mean over classes is much less sure.
    low = 0.940 if counts == (30, 30) else 0.668
    for name in ("balanced_accuracy", "auroc", "average_precision"):
        assert scores[name]["ci95"] == [pytest.approx(low, abs=5e-4), 1.0], name


def test_every_label_right_is_not_certain():
    present = np.tile([[1, 0], [0, 1], [1, 1]], (20, 1)).astype(np.uint8)
    scores = score_with_intervals(
        get_task("multilabel"), records(present, present.astype(float)), 200, seed=0
    )
    for name in ("mean_average_precision", "micro_f1", "macro_f1"):
        assert scores[name]["ci95"] == [pytest.approx(0.940, abs=5e-4), 1.0], name


# Of 100 trials 95 are expected, with a standard error of 2.2. The percentiles of a bootstrap cover
# 52 to 89 % of such samples, those of AUROC least.
@pytest.mark.parametrize(
    ("counts", "separation"), [((50, 50), 4.1), ((100, 100), 2.0), ((20, 180), 3.0), ((5, 55), 3.0)]
)
def test_intervals_cover_the_truth(counts, separation):
    generator, task = np.random.default_rng(4), get_task("binary", 1)
    accuracy, auroc = norm.cdf(separation / 2), norm.cdf(separation / np.sqrt(2))
    truth = {"accuracy": accuracy, "balanced_accuracy": accuracy, "auroc": auroc}
    covered = dict.fromkeys(truth, 0)
    for trial in range(100):
        (model,) = normal_scores(generator, counts, [separation])
        scores = score_with_intervals(task, model, 100, seed=trial)
        for name, value in truth.items():
            low, high = scores[name]["ci95"]
            covered[name] += low <= value <= high
    assert min(covered.values()) >= 89, covered


@pytest.mark.parametrize(
    ("counts", "separations"), [((60, 60), (2.0, 1.5)), ((20, 180), (2.0, 2.0))]
)
def test_paired_differences_cover_the_truth(counts, separations):
    generator, task = np.random.default_rng(5), get_task("binary", 1)
    first, second = (np.array([norm.cdf(s / 2), norm.cdf(s / np.sqrt(2))]) for s in separations)
    covered = np.zeros(2, int)
    for trial in range(100):
        model, rival = normal_scores(generator, counts, separations)
        _, rivals = score_against_rivals(task, model, {"rival": rival}, 100, seed=trial)
        bounds = [rivals["rival"][name]["difference"]["ci95"] for name in ("accuracy", "auroc")]
        low, high = np.transpose(bounds)
        covered += (low <= first - second) & (first - second <= high)
    assert covered.min() >= 89, covered


def masks_of_few_images(generator, num_images):
    """Returns the pixels of two classes as told by a model and by a worse one.

    How much of a class is found is a beta variable of the image, half of it the same for both.
    """
    share = generator.beta(8, 2, num_images)
    true = 1000 * np.stack([share, 1 - share], axis=1)
    both = generator.normal(size=num_images)
    models = []
    for found in (0.9, 0.75):
        each = (both + generator.normal(size=num_images)) / np.sqrt(2)
        shared = true * beta.ppf(norm.cdf(each), 15 * found, 15 * (1 - found))[:, None]
        predicted = shared + (true - shared)[:, ::-1]
        models.append({"shared": shared, "true": true, "predicted": predicted})
    return models


# Percentiles of a bootstrap cover 85 to 92 % of these. Were an image right or wrong, so few would
# tell nothing.
@pytest.mark.parametrize(("num_images", "least_clear", "width"), [(5, 60, 0.33), (12, 95, 0.17)])
def test_few_masks_tell_a_model_from_a_worse_one(num_images, least_clear, width):
    generator, task = np.random.default_rng(9), get_task("semantic_segmentation")
    many = masks_of_few_images(generator, 200_000)
    truths = [whole_set_metrics(task, each) for each in many]
    names, covered, widths = ("mean_iou", "pixel_accuracy"), np.zeros((2, 2), int), []
    clear = np.zeros(2, int)
    for trial in range(100):
        model, rival = masks_of_few_images(generator, num_images)
        scores, rivals = score_against_rivals(task, model, {"rival": rival}, 100, seed=trial)
        for n, name in enumerate(names):
            (low, high), truth = scores[name]["ci95"], truths[0][name]
            covered[n, 0] += low <= truth <= high
            low, high = rivals["rival"][name]["difference"]["ci95"]
            covered[n, 1] += low <= truth - truths[1][name] <= high
            clear[n] += low > 0
            widths.append(high - low)
    assert covered.min() >= 89, covered
    assert clear.min() >= least_clear, clear
    assert max(np.mean(widths[::2]), np.mean(widths[1::2])) == pytest.approx(width, rel=0.1)


def test_a_difference_is_clear_where_the_intervals_overlap():
    """The model errs where its rival does, and nowhere else."""
    labels = np.arange(400) % 2
    model, rival = labels.copy(), labels.copy()
    model[:40], rival[:60] = 1 - model[:40], 1 - rival[:60]
    scores, rivals = score_against_rivals(
        get_task("binary", 1),
        records(labels, np.eye(2)[model]),
        {"r": records(labels, np.eye(2)[rival])},
        500,
        0,
    )
    assert rivals["r"]["accuracy"]["ci95"][1] > scores["accuracy"]["ci95"][0]
    assert rivals["r"]["accuracy"]["difference"]["value"] == pytest.approx(0.05)
    assert rivals["r"]["accuracy"]["difference"]["ci95"][0] > 0.02
    assert "difference" not in rivals["r"]["ece"]


def test_a_rival_of_a_part_of_the_images_is_compared_on_that_part():
    generator = np.random.default_rng(3)
    task, model = get_task("binary", 1), two_class_sample(generator, 300, 0.8)
    rival, part = two_class_sample(generator, 300, 0.7), np.arange(0, 300, 3)
    ours, theirs = ({name: held[part] for name, held in each.items()} for each in (model, rival))
    theirs["label"] = ours["label"]
    _, alone = score_against_rivals(task, ours, {"r": theirs}, 200, 0)
    _, found = score_against_rivals(task, model, {"r": {**theirs, "row": part}}, 200, 0)
    assert found == alone


def calibrated_sample(generator, num_images):
    positive = generator.random(num_images)
    labels = (generator.random(num_images) < positive).astype(int)
    return records(labels, np.stack([1 - positive, positive], axis=1))


def test_the_interval_of_a_perfect_calibration_holds_zero():
    generator, task, held, inside = np.random.default_rng(6), get_task("binary", 1), 0, 0
    for trial in range(60):
        sample = calibrated_sample(generator, 2000)
        score = score_with_intervals(task, sample, 100, seed=trial)["ece"]
        assert score["ci95"][0] <= score["value"] <= score["ci95"][1]
        held += score["ci95"][0] == 0.0
        inside += score["chance95"][0] <= score["value"] <= score["chance95"][1]
    assert held >= 55
    assert inside >= 53


def test_the_interval_of_a_bad_calibration_holds_it_and_not_zero():
    sample = calibrated_sample(np.random.default_rng(7), 2000)
    sure = records(sample["label"], np.eye(2)[sample["probabilities"].argmax(axis=1)])
    score = score_with_intervals(get_task("binary", 1), sure, 200, seed=0)["ece"]
    # Always certain, right three times in four.
    assert 0.2 < score["ci95"][0] < 0.25 < score["ci95"][1] < 0.3


def test_many_classes_need_bounded_memory():
    generator, task = np.random.default_rng(8), get_task("multiclass")
    labels = np.arange(1_000) % 500
    probabilities = generator.random((1_000, 500), np.float32)
    tracemalloc.start()
    score_with_intervals(task, records(labels, probabilities), 100, seed=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6


@pytest.mark.parametrize("labels", [[0, 0], [0, 1], [1]])
def test_the_smallest_sets_have_wide_intervals_and_no_nan(labels):
    held = records(np.array(labels), np.array([[0.9, 0.1]] * len(labels)))
    scores, rivals = score_against_rivals(get_task("binary", 1), held, {"same": held}, 100, 0)
    assert np.isfinite([score["ci95"] for score in scores.values()]).all()
    low, high = rivals["same"]["accuracy"]["difference"]["ci95"]
    assert low < 0 < high
    assert high - low > 1
