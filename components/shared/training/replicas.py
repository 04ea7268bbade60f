"""Synchronous data parallelism: every replica takes a share of the batch, all take the same step.

Shapes: batches [B, ...]; replica r of n has the images r, r + n, r + 2n ... of a batch.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

__all__ = ["average_replicas", "check_shares", "node_strategy", "on_replicas", "share_gpus"]

# Images of a replica: the probe halves the batch.
_LEAST_SHARE = 2


def share_gpus() -> None:
    """Makes this process take memory of the GPUs as it needs it: by default it reserves all.

    Several processes can then use one GPU. Must come before anything else uses TensorFlow; a
    process that does so already is left as it is.
    """
    for device in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(device, True)
        except RuntimeError as error:
            print(f"The memory of {device.name} stays reserved for this process: {error}")


def node_strategy(batch_size: int) -> tf.distribute.Strategy:
    """Returns the current strategy, or if none is set and there are several GPUs, one over them.

    Of many GPUs and a small batch, as tiny sets have it, over so many that each gets two images.

    Args:
        batch_size: Images a step.
    """
    names = [device.name for device in tf.config.list_logical_devices("GPU")]
    used = names[: batch_size // _LEAST_SHARE]
    if len(used) > 1 and not tf.distribute.has_strategy():
        return tf.distribute.MirroredStrategy(used)
    return tf.distribute.get_strategy()


def check_shares(strategy: tf.distribute.Strategy, batch_size: int) -> None:
    """Raises ValueError where a replica would get no image."""
    num_replicas = strategy.num_replicas_in_sync
    if batch_size < num_replicas:
        raise ValueError(
            "Every replica must get at least one image of a batch. Received: a batch of "
            f"{batch_size} for {num_replicas} replicas. Use a larger `batch_size`."
        )


def on_replicas(
    strategy: tf.distribute.Strategy,
    function: Callable[..., Any],
    batch: tuple[Any, ...],
    *arguments: Any,
) -> Any:
    """Returns the result of `function(*batch, *arguments)`, computed from shares of the batch.

    Args:
        strategy: With one replica, the function is just called.
        function: Returns the same on every replica, for instance by `average_replicas`.
        batch: Structures of tensors [B, ...], which are shared out.
        arguments: Go to every replica.
    """
    num_replicas = strategy.num_replicas_in_sync
    if num_replicas == 1:
        return function(*batch, *arguments)

    def share(context: tf.distribute.experimental.ValueContext) -> tuple[Any, ...]:
        rows = slice(context.replica_id_in_sync_group, None, num_replicas)
        return tuple(tf.nest.map_structure(lambda values: values[rows], part) for part in batch)

    # Cut before they are sent: a replica's device receives no more than its share.
    shares = strategy.experimental_distribute_values_from_function(share)
    results = strategy.run(function, (*shares, *arguments))
    return tf.nest.map_structure(
        lambda result: strategy.experimental_local_results(result)[0], results
    )


def average_replicas(
    loss: tf.Tensor, gradients: list[tf.Tensor | None], num_images: tf.Tensor
) -> tuple[tf.Tensor, list[tf.Tensor | None]]:
    """Returns loss and gradients of the whole batch, exact where the shares differ in size.

    Args:
        loss: Mean over the share of this replica.
        gradients: Of this loss; None for a weight that it does not depend on.
        num_images: In the share.
    """
    count = tf.cast(num_images, tf.float32)
    shares = [count * value for value in (loss, *gradients) if value is not None]
    context = tf.distribute.get_replica_context()
    total, *sums = context.all_reduce(tf.distribute.ReduceOp.SUM, [count, *shares])
    means = iter([value / total for value in sums])
    return next(means), [None if grad is None else next(means) for grad in gradients]
