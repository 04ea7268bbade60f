"""The verdict on differences whose sign is known."""

import pytest

from kfp_vision.components.evaluation.verdict import judge

CLEARLY_ABOVE, CLEARLY_BELOW, UNCLEAR = (0.02, 0.18), (-0.08, -0.02), (-0.03, 0.03)


def baseline(**intervals):
    return {
        metric: {
            "value": 0.8 - sum(bounds) / 2,
            "ci95": [0.7, 0.9],
            "difference": {"value": sum(bounds) / 2, "ci95": list(bounds)},
        }
        for metric, bounds in intervals.items()
    }


def verdict(primary, **baselines):
    scores = {
        name: {"value": 0.8, "ci95": [0.75, 0.85]}
        for name in ("accuracy", "balanced_accuracy", "auroc", "mean_average_precision")
    }
    return judge(primary, scores, baselines)


@pytest.mark.parametrize(
    ("zero_rule", "linear", "outcome", "reasons"),
    [
        (CLEARLY_ABOVE, CLEARLY_ABOVE, "better", []),
        (CLEARLY_ABOVE, UNCLEAR, "indistinguishable", []),
        (CLEARLY_ABOVE, CLEARLY_BELOW, "rejected", ["clearly below the baseline `linear`"]),
        (UNCLEAR, CLEARLY_ABOVE, "rejected", ["not clearly above 0.8000, what the baseline"]),
        (CLEARLY_BELOW, CLEARLY_ABOVE, "rejected", ["clearly below the baseline `zero_rule`"]),
        (UNCLEAR, CLEARLY_BELOW, "rejected", ["not clearly above", "clearly below"]),
    ],
)
@pytest.mark.parametrize("primary", ["accuracy", "mean_average_precision"])
def test_outcome(primary, zero_rule, linear, outcome, reasons):
    found = verdict(
        primary, zero_rule=baseline(**{primary: zero_rule}), linear=baseline(**{primary: linear})
    )
    assert found.outcome == outcome
    assert len(found.reasons) == len(reasons)
    for reason, words in zip(found.reasons, reasons, strict=True):
        assert words in reason


@pytest.mark.parametrize(
    ("balanced_accuracy", "auroc", "accuracy", "outcome"),
    [
        (UNCLEAR, CLEARLY_BELOW, CLEARLY_BELOW, "rejected"),
        (UNCLEAR, CLEARLY_BELOW, CLEARLY_ABOVE, "rejected"),
        (UNCLEAR, UNCLEAR, CLEARLY_BELOW, "rejected"),
        (UNCLEAR, CLEARLY_ABOVE, CLEARLY_BELOW, "indistinguishable"),
        (UNCLEAR, UNCLEAR, UNCLEAR, "indistinguishable"),
        (CLEARLY_ABOVE, CLEARLY_BELOW, CLEARLY_BELOW, "better"),
        (CLEARLY_BELOW, CLEARLY_ABOVE, CLEARLY_ABOVE, "rejected"),
    ],
)
def test_with_unequal_classes_the_order_of_the_scores_breaks_a_tie(
    balanced_accuracy, auroc, accuracy, outcome
):
    rival = baseline(balanced_accuracy=balanced_accuracy, auroc=auroc, accuracy=accuracy)
    floor = baseline(balanced_accuracy=CLEARLY_ABOVE, auroc=CLEARLY_ABOVE, accuracy=CLEARLY_BELOW)
    found = verdict("balanced_accuracy", zero_rule=floor, linear=rival)
    assert found.outcome == outcome


@pytest.mark.parametrize(
    ("linear", "outcome"),
    [(CLEARLY_ABOVE, "outperformed"), (UNCLEAR, "outperformed"), (CLEARLY_BELOW, "rejected")],
)
def test_a_model_below_pretrained_features_passes_with_advice(linear, outcome):
    found = verdict(
        "accuracy",
        zero_rule=baseline(accuracy=CLEARLY_ABOVE),
        linear=baseline(accuracy=linear),
        frozen_features=baseline(accuracy=CLEARLY_BELOW),
    )
    assert found.outcome == outcome
    assert bool(found.reasons) == (outcome == "rejected")
    if outcome == "outperformed":
        assert (
            "clearly below the baseline `frozen_features`: test accuracy 0.8000" in found.sentence
        )
        assert "--architecture auto" in found.sentence


@pytest.mark.parametrize(("is_frozen", "outcome"), [(True, "better"), (False, "indistinguishable")])
def test_a_frozen_network_is_level_with_itself(is_frozen, outcome):
    scores = {"accuracy": {"value": 0.8, "ci95": [0.75, 0.85]}}
    baselines = {
        "zero_rule": baseline(accuracy=CLEARLY_ABOVE),
        "frozen_features": baseline(accuracy=UNCLEAR),
    }
    found = judge("accuracy", scores, baselines, is_frozen=is_frozen)
    assert found.outcome == outcome
    assert ("is the same method as this model" in found.sentence) == is_frozen


def test_with_equal_classes_only_the_primary_metric_decides():
    rival = baseline(accuracy=UNCLEAR, auroc=CLEARLY_BELOW)
    found = verdict("accuracy", zero_rule=baseline(accuracy=CLEARLY_ABOVE), linear=rival)
    assert found.outcome == "indistinguishable"


def test_what_it_cannot_be_told_from_is_named_and_not_what_is_best():
    near, unsure = baseline(accuracy=(0.01, 0.03)), baseline(accuracy=(-0.01, 0.09))
    floor = baseline(accuracy=CLEARLY_ABOVE)
    found = verdict("accuracy", zero_rule=floor, linear=near, nearest_centroid=unsure)
    assert (found.outcome, found.baseline) == ("indistinguishable", "linear")
    assert "cannot be told from the baseline `nearest_centroid`" in found.sentence


def test_a_few_images_pass_where_they_are_above_the_class_frequencies():
    """Four of four right: above 0.5, but that is no clear difference from any baseline."""
    scores = {"accuracy": {"value": 1.0, "ci95": [0.51, 1.0]}}
    floor = baseline(accuracy=(-0.2, 1.0))
    floor["accuracy"]["value"] = 0.5
    assert judge("accuracy", scores, {"zero_rule": floor}).outcome == "indistinguishable"


def test_a_reason_names_the_baseline_both_values_the_difference_and_its_interval():
    rival = baseline(accuracy=CLEARLY_BELOW)
    found = verdict("accuracy", zero_rule=baseline(accuracy=CLEARLY_ABOVE), linear=rival)
    assert found.baseline == "linear"
    assert found.sentence == found.reasons[0]
    assert found.sentence == (
        "The model is clearly below the baseline `linear`: test accuracy 0.8000 against 0.8500, "
        "difference -0.0500 (95 % interval -0.0800 to -0.0200)."
    )


def test_a_comparison_on_a_part_of_the_test_images_names_their_number():
    rivals = {
        "zero_rule": baseline(accuracy=CLEARLY_ABOVE),
        "frozen_features": baseline(accuracy=(-0.01, 0.03)),
    }
    scores = {"accuracy": {"value": 0.888, "ci95": [0.88, 0.9]}}
    found = judge("accuracy", scores, rivals, parts={"frozen_features": 4251})
    assert (
        "the baseline `frozen_features`: test accuracy, on 4,251 of the test images for both, "
        "0.8000 against 0.7900, difference"
    ) in found.sentence
    assert "test images for both" not in judge("accuracy", scores, rivals).sentence


def test_a_metric_that_the_test_split_does_not_define_is_named():
    found = judge("auroc", {"accuracy": {"value": 1.0, "ci95": [0.3, 1.0]}}, {"zero_rule": {}})
    assert found.outcome == "rejected"
    assert "`auroc` is not defined on the test split" in found.sentence
