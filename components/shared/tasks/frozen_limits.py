"""How much the baseline of frozen features looks at, for it and for the plan of its time."""

__all__ = ["ENLARGEMENT", "LEAST_SIDE", "MAX_PIXELS"]

# Of all images together: 35 CPU seconds of EfficientNet-Lite0, 52 on busy cores.
MAX_PIXELS = 1.6e8
# Of a side, at most. `make bench-frozen_sides`, validation accuracy at 32, 128 and 224 px:
# cifar10-10k 0.46, 0.79 and 0.81, Fashion-MNIST 0.74, 0.85 and 0.87; 224 px take three times as
# long as 128.
ENLARGEMENT = 4
# Of a side, for large images: rather fewer of them.
LEAST_SIDE = 128
