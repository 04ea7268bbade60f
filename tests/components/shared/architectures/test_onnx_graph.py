"""Maps that are resized keep their size in ONNX."""

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

from kfp_vision.components.shared.architectures.onnx_graph import INPUT, convert_to_onnx


@pytest.mark.parametrize(("side", "wanted"), [(5, 9), (23, 45), (6, 12), (7, 3), (45, 180)])
def test_resized_maps_are_those_of_tensorflow(side, wanted):
    def enlarge(pixels):
        # The sum needs the declared size.
        resized = tf.image.resize(pixels, (wanted, wanted))
        return [resized + tf.ones((wanted, wanted, 1))]

    graph = convert_to_onnx(enlarge, (side, side, 2), tf.float32, ["enlarged"])
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    images = np.random.default_rng(0).uniform(0, 1, (3, side, side, 2)).astype(np.float32)
    (found,) = session.run(None, {INPUT: images})
    np.testing.assert_allclose(found, enlarge(images)[0], atol=1e-4)
