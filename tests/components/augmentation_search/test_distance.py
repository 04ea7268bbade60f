"""Distances in closed form, and levels of equal distance."""

import numpy as np
import pytest

from kfp_vision.components.augmentation_search.distance import (
    equal_levels,
    frechet_distance,
    null_distance,
)
from kfp_vision.components.augmentation_search.groups import keep_levels, make_groups
from kfp_vision.components.shared.artifacts.augmentation_table import Signals


def _features(seed: int, count: int = 4000) -> np.ndarray:
    return np.random.default_rng(seed).normal([1.0, -2.0, 0.5], [0.5, 2.0, 1.0], (count, 3))


def test_a_shift_and_a_stretch_have_their_closed_form_whatever_the_scale() -> None:
    clean = _features(0)
    assert frechet_distance(clean, clean) == pytest.approx(0.0, abs=1e-12)
    spread = clean.std(axis=0)
    assert frechet_distance(clean + 0.3 * spread, clean) == pytest.approx(0.09)
    stretched = clean.mean(axis=0) + 1.5 * (clean - clean.mean(axis=0))
    assert frechet_distance(stretched, clean) == pytest.approx(0.25)
    scaled = np.array([1.0, 100.0, 1e-3])
    assert frechet_distance(stretched * scaled, clean * scaled) == pytest.approx(0.25)


def test_dead_features_are_left_out_and_all_dead_are_an_error() -> None:
    clean = np.c_[_features(0), np.zeros(4000)]
    moved = np.c_[_features(0), np.ones(4000)]
    assert frechet_distance(moved, clean) == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ValueError, match="must vary"):
        frechet_distance(np.ones((4, 2)), np.ones((4, 2)))


def test_the_null_distance_falls_with_the_number_of_images() -> None:
    few, many = null_distance(_features(1, 100), 0), null_distance(_features(1, 10_000), 0)
    # Means of halves of n scatter by 2 / sqrt(n): their squares fall as 1 / n.
    assert many < few / 20


def test_levels_invert_the_distance_and_stop_at_the_greatest_magnitude() -> None:
    magnitudes = np.linspace(0.1, 1.0, 10)
    # Noise makes one value fall; the isotonic fit pools it with its neighbour.
    distances = magnitudes**2
    distances[4], distances[5] = distances[5], distances[4]
    levels = equal_levels(magnitudes, distances, np.array([0.04, 0.64, 9.0]))
    assert levels[0] == pytest.approx(0.2)
    assert levels[1] == pytest.approx(0.8)
    assert levels[2] == 1.0


def _rows(name: str, distances: list[float], affinities: list[float]) -> list[Signals]:
    magnitudes = np.arange(1, len(distances) + 1) / len(distances)
    return [
        Signals(name, float(magnitude), distance, affinity)
        for magnitude, distance, affinity in zip(magnitudes, distances, affinities, strict=True)
    ]


def test_what_destroys_the_labels_is_refused_and_the_rest_has_equal_distances() -> None:
    table = [
        *_rows("rotate", [0.1, 0.4, 0.9], [0.95, 0.9, 0.3]),
        *_rows("shear_x", [0.05, 0.2, 0.4], [0.97, 0.95, 0.9]),
        *_rows("zoom_in", [0.5, 0.9, 1.0], [0.4, 0.3, 0.2]),
        Signals("horizontal_flip", 1.0, 0.001, 1.0),
        Signals("vertical_flip", 1.0, 0.06, 0.3),
    ]
    kept = {each.transform: each for each in keep_levels(table)}
    assert kept["vertical_flip"].reason == "the labels do not survive it"
    # Of a transform that destroys them at once only what is weaker than that is left.
    # Its affinity falls along a line from 1 to 0.4 at a third: 0.5 is at five eighteenths.
    zoom = kept["zoom_in"]
    assert zoom.kept == [magnitude <= 5 / 18 for magnitude in zoom.levels]
    assert any(zoom.kept)
    # A flip that nothing tells from the clean images stays.
    assert kept["horizontal_flip"].levels == [0.5] * 6
    # The strongest distance with labels kept is 0.4; the fourth level of six is (4/6)^2 of it.
    distance = 0.4 * (4 / 6) ** 2
    assert kept["rotate"].levels[3] == pytest.approx(
        np.interp(distance, [0.1, 0.4], [1 / 3, 2 / 3])
    )
    assert kept["shear_x"].levels[5] == pytest.approx(1.0)
    groups = {group.name: group for group in make_groups(list(kept.values()))}
    # No shift of every image: this table says nothing of translation.
    assert set(groups) == {"horizontal_flip", "geometry"}
    assert (groups["horizontal_flip"].always, groups["geometry"].always) == (True, False)
    assert [len(level) for level in groups["geometry"].levels] == [3, 3]
    weak, strong = groups["geometry"].levels
    assert all(weak[name] <= strong[name] for name in weak)


def test_small_shifts_of_every_image_are_a_group_where_both_axes_keep_the_labels() -> None:
    rows = [*_rows("translate_x", [0.1, 0.2], [1.0, 0.9]), *_rows("translate_y", [0.1], [0.9])]
    (shift,) = (group for group in make_groups(keep_levels(rows)) if group.name == "shift")
    assert shift.always
    assert [list(level.values()) for level in shift.levels] == [[0.125, 0.125], [0.25, 0.25]]
    halves = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    broken = [*_rows("translate_x", halves, [0.9] * 6), *_rows("translate_y", halves, [0.2] * 6)]
    assert "shift" not in {group.name for group in make_groups(keep_levels(broken))}
