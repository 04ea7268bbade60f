"""SimCLR: an image is told from all others by another view of it.

Shapes: B images, embeddings [B, D] of one view of each.
"""

import tensorflow as tf

__all__ = ["nt_xent_loss"]

# exp(-1e9) is 0 in float32.
_NEVER = -1e9


def nt_xent_loss(first: tf.Tensor, second: tf.Tensor, temperature: float = 0.5) -> tf.Tensor:
    """Returns the mean of -log(exp(s_ij / T) / sum_(k != i) exp(s_ik / T)), a float32 scalar.

    Over all 2B views i; j is the other view of the same image, s the cosine.

    Args:
        first: Embeddings of one view of each image, [B, D], of any float type.
        second: Those of another view, [B, D].
        temperature: T; the paper's 0.5 for CIFAR-10 (appendix B.9).

    Reference: Chen et al., 2020, arXiv:2002.05709, equation 1 and algorithm 1.
    """
    values = tf.cast(tf.concat([first, second], 0), tf.float32)
    views = tf.math.l2_normalize(values, axis=1)
    similarity = tf.matmul(views, views, transpose_b=True) / temperature
    count = tf.shape(views)[0]
    others = tf.linalg.set_diag(similarity, tf.fill([count], _NEVER))
    partner = tf.math.floormod(tf.range(count) + count // 2, count)
    agreement = tf.gather(similarity, partner, axis=1, batch_dims=1)
    return tf.reduce_mean(tf.reduce_logsumexp(others, 1) - agreement)
