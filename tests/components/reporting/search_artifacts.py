"""What a search wrote on digits that had been rotated, sheared, zoomed and shifted.

Measured with 120 epochs of 1,000 images; most transforms, trials and steps are left out.
"""

from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter, rotate

from kfp_vision.components.shared.artifacts.augmentation_table import AugmentationTable
from kfp_vision.components.shared.artifacts.search_result import TrialSummary
from kfp_vision.components.shared.recipe.document import Recipe, Setting

_ROTATE = {"transform": "rotate", "low": 0.0, "high": 0.2877, "probability": 1.0}
_SHIFT = {"transform": "translate_x", "low": 0.0, "high": 0.125, "probability": 1.0}
_KEYS = ("transform", "magnitude", "distance", "affinity", "loss_shift", "loss_shift_error")

TABLE = AugmentationTable(
    checkpoint_steps=422,
    null_distance=0.1181,
    signals=[
        dict(zip(_KEYS, row, strict=True))
        for row in (
            ("horizontal_flip", 1.0, 0.06159, 0.4462, 1.082, 0.1376),
            ("rotate", 0.1667, 0.07598, 0.8154, 0.2747, 0.09695),
            ("rotate", 0.3333, 0.1839, 0.4, 1.041, 0.135),
            ("rotate", 0.5, 0.1998, 0.2, 1.436, 0.1344),
            ("rotate", 0.6667, 0.1763, 0.2615, 1.275, 0.1279),
            ("rotate", 0.8333, 0.07033, 0.4154, 1.043, 0.1307),
            ("rotate", 1.0, 0.0293, 0.4308, 1.131, 0.127),
            ("blur", 0.1667, 2.938e-14, 1.0, 0.0, 0.0),
            ("blur", 0.3333, 0.0008157, 1.0, -0.01003, 0.003165),
            ("blur", 0.5, 0.06057, 1.015, -0.0692, 0.02674),
            ("blur", 0.6667, 0.1775, 1.015, -0.0639, 0.0457),
            ("blur", 0.8333, 0.3085, 0.9846, -0.002398, 0.05814),
            ("blur", 1.0, 0.4664, 0.9846, 0.09923, 0.07061),
        )
    ],
    kept=[
        {
            "transform": "horizontal_flip",
            "levels": [0.5] * 6,
            "kept": [False] * 6,
            "reason": "the labels do not survive it",
        },
        {
            "transform": "rotate",
            "levels": [0.02842, 0.1137, 0.2877, 1.0, 1.0, 1.0],
            "kept": [True] * 3 + [False] * 3,
            "reason": "",
        },
        {
            "transform": "blur",
            "levels": [0.3672, 0.4756, 0.5799, 0.7046, 0.8496, 1.0],
            "kept": [True] * 6,
            "reason": "",
        },
    ],
    groups=[
        {"name": "shift", "levels": [[_SHIFT]], "always": True},
        {"name": "geometry", "levels": [[_ROTATE], [_ROTATE]], "always": False},
    ],
    regularisers={"label_smoothing": 0.1},
)


def _trial(
    round_name: str, levels: dict[str, int], seed: int, loss: float | None
) -> dict[str, Any]:
    return {
        "round": round_name,
        "candidate": {"levels": levels, "without": []},
        "seed": seed,
        "loss": loss,
        "seconds": 0.9,
        "error": "" if loss is not None else "the held-out loss is not finite",
    }


_BEST = {"geometry": 1, "label_smoothing": 0, "shift": 0}
SEARCH = TrialSummary(
    decision="The best of 16 trials lowers the loss of 300 images that chose nothing by 0.4044 "
    "nats over 3 fresh seeds (standard error 0.0339; chance alone reaches 0.1194 once in forty "
    "times): it is used.",
    notes=["1 of 16 trials ran out of memory, once more when alone in it: cutmix."],
    accepted=True,
    plan={
        "steps": 51,
        "batch_size": 32,
        "peak_rate": 0.002973,
        "num_settling": 64,
        "num_held_out": 400,
        "num_scored": 100,
        "num_confirming": 300,
        "num_screened": 11,
        "num_combined": 7,
        "num_confirmed": 6,
    },
    techniques=[
        {"name": "shift", "levels": ["translate_x 0.12"]},
        {"name": "geometry", "levels": ["rotate 0.29", "rotate 0.29, zoom_in 0.49"]},
        {"name": "cutmix", "levels": ["0.5"]},
        {"name": "label_smoothing", "levels": ["0.0", "0.2"]},
    ],
    trials=[
        _trial("screening", {}, 0, 1.132),
        _trial("screening", {"shift": 0}, 0, 0.8692),
        _trial("screening", {"geometry": 1}, 0, 0.8261),
        _trial("screening", {"cutmix": 0}, 0, None),
        _trial("screening", {"label_smoothing": 0}, 0, 1.053),
        _trial("expansion 1", {"geometry": 1, "shift": 0}, 0, 0.7536),
        _trial("expansion 2", _BEST, 0, 0.6695),
        _trial("pruning", {"label_smoothing": 0, "shift": 0}, 0, 0.7771),
        _trial("confirmation", {}, 1, 1.14),
        _trial("confirmation", _BEST, 1, 0.7551),
        _trial("confirmation", {}, 2, 1.126),
        _trial("confirmation", _BEST, 2, 0.7678),
        _trial("confirmation", {}, 3, 1.143),
        _trial("confirmation", _BEST, 3, 0.6726),
    ],
    confirmed={
        "candidate": {"levels": _BEST, "without": []},
        "gain": 0.4044,
        "error": 0.0339,
        "threshold": 0.1194,
        "noise": 0.0091,
        "num_pairs": 3,
    },
    steps=[
        {"name": "geometry", "level": 1, "gain": 0.2679, "error": 0.0588},
        {"name": "shift", "level": 0, "gain": 0.0365, "error": 0.0588},
        {"name": "label_smoothing", "level": 0, "gain": 0.0841, "error": 0.0588},
    ],
    lengthening={
        "factor": 1.418,
        "measured": 1.418,
        "low": 1.245,
        "high": 1.614,
        "plain_losses": [3.309, 2.118, 1.244, 0.939, 0.679],
        "policy_losses": [3.327, 2.129, 1.368, 1.253, 0.856],
    },
)
POLICY = Recipe().with_settings(
    "augmentation",
    {
        "policy": Setting(
            {
                "branches": [
                    {"operations": [], "weight": 0.3},
                    {"operations": [_ROTATE], "weight": 0.7},
                ],
                "always": [_SHIFT],
                "draws": [1, 1],
                "chains": 1,
                "mixing": {
                    "mixup_probability": 0.0,
                    "mixup_alpha": 0.2,
                    "cutmix_probability": 0.5,
                    "cutmix_alpha": 1.0,
                },
            },
            "beam over short trials",
        )
    },
)


def examples(image: np.ndarray) -> dict[str, np.ndarray]:
    """Returns an image [H, W] under the transforms of `TABLE`, uint8 [6, H, W, 1] each."""
    pictures = {
        "horizontal_flip": [image[:, ::-1]] * 6,
        "rotate": [rotate(image, 15 * level, reshape=False) for level in range(1, 7)],
        "blur": [gaussian_filter(image, 0.3 * level) for level in range(1, 7)],
    }
    stacks = {name: np.stack(held)[..., None] for name, held in pictures.items()}
    return {"original": image[..., None], **stacks}
