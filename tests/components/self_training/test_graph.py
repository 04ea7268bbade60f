"""What spreads over the graph of neighbours: a closed form, and clusters that labels fill."""

import numpy as np
import pytest

from kfp_vision.components.self_training.graph import neighbour_graph, spread


@pytest.fixture(scope="module")
def clusters() -> np.ndarray:
    """Two clusters of forty, one after the other, [80, 8]."""
    centres = np.repeat(np.eye(8)[:2] * 4, 40, axis=0)
    return centres + np.random.default_rng(0).normal(size=(80, 8))


def test_a_row_adds_up_to_1_and_no_image_is_its_own_neighbour(clusters):
    graph = neighbour_graph(clusters)
    np.testing.assert_allclose(graph.sum(axis=1), 1.0, rtol=1e-6)
    assert graph.diagonal().max() == 0
    # Ten of its own, and whose neighbour it is.
    assert np.diff(graph.indptr).min() >= 10


def test_neighbours_are_the_nearest_by_cosine(clusters):
    unit = clusters / np.linalg.norm(clusters, axis=1, keepdims=True)
    alike = unit @ unit.T
    np.fill_diagonal(alike, -1)
    graph = neighbour_graph(5.0 * clusters).toarray()
    for row in range(80):
        assert (graph[row, np.argsort(-alike[row])[:10]] > 0).all()


def test_what_is_spread_solves_the_equation_of_label_propagation(clusters):
    graph = neighbour_graph(clusters)
    start = np.random.default_rng(1).dirichlet(np.ones(3), 80)
    exact = 0.1 * np.linalg.solve(np.eye(80) - 0.9 * graph.toarray(), start)
    found = spread(graph, start)
    np.testing.assert_allclose(found, exact, atol=1e-3)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-6)


def test_a_label_of_each_cluster_is_enough(clusters):
    start = np.full((80, 2), 0.5)
    start[[0, 40]] = np.eye(2)
    found = spread(neighbour_graph(clusters), start)
    np.testing.assert_array_equal(found.argmax(axis=1), np.repeat([0, 1], 40))


@pytest.mark.parametrize("count", [2, 5])
def test_few_images_are_neighbours_of_all_others(count):
    graph = neighbour_graph(np.random.default_rng(0).normal(size=(count, 4)))
    assert (np.diff(graph.indptr) == count - 1).all()


def test_images_without_any_feature_keep_what_is_said_of_them():
    found = spread(neighbour_graph(np.zeros((30, 4))), np.full((30, 2), 0.5))
    np.testing.assert_allclose(found, 0.5)
