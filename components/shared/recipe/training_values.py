"""The values that settings of the section `training` may have."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_args

__all__ = ["OPTIMIZERS", "PRECISIONS", "Optimizer", "check_values"]

Optimizer = Literal["adamw", "sgd", "lamb"]
OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)
PRECISIONS = ("auto", "float32", "mixed_bfloat16")


class _Rule(NamedTuple):
    text: str
    holds: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_POSITIVE = _Rule("a positive number", lambda value: _is_number(value) and value > 0)
_NOT_NEGATIVE = _Rule("a number, at least 0", lambda value: _is_number(value) and value >= 0)
_FACTOR = _Rule("a number in (0, 1]", lambda value: _is_number(value) and 0 < value <= 1)
_SHARE = _Rule("a number in [0, 1)", lambda value: _is_number(value) and 0 <= value < 1)
_RULES = {
    "optimizer": _Rule(f"one of {OPTIMIZERS}", lambda value: value in OPTIMIZERS),
    "precision": _Rule(f"one of {PRECISIONS}", lambda value: value in PRECISIONS),
    "jit_compile": _Rule("true or false", lambda value: isinstance(value, bool)),
    "batch_size": _POSITIVE,
    "learning_rate": _POSITIVE,
    "noise_scale": _Rule("a number", _is_number),
    "epochs": _POSITIVE,
    "steps": _POSITIVE,
    "steps_per_call": _POSITIVE,
    "first_layer_rate": _FACTOR,
    "warmup_steps": _NOT_NEGATIVE,
    "weight_decay": _NOT_NEGATIVE,
    "clip_norm": _NOT_NEGATIVE,
    "label_smoothing": _SHARE,
    "ema_momentum": _SHARE,
    "dropout": _SHARE,
    "stochastic_depth": _SHARE,
}


def check_values(values: Mapping[str, Any]) -> None:
    """Checks settings one by one; rules between them are checked by `hyperparameters.resolve`.

    Raises:
        ValueError: There is no such setting, or its value is of the wrong type or out of range.
    """
    for name, value in values.items():
        if name not in _RULES:
            raise ValueError(
                f"A setting of the section `training` must be one of {', '.join(sorted(_RULES))}. "
                f"Received: `{name}`"
            )
        if not _RULES[name].holds(value):
            raise ValueError(f"`{name}` must be {_RULES[name].text}. Received: {value!r}")
