"""The hyperparameters of one training and how they are read from, and written to, the recipe."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from kfp_vision.components.shared.recipe import Recipe, Setting

__all__ = ["OPTIMIZERS", "SECTION", "Hyperparameters", "default_epochs", "from_recipe", "resolve"]

SECTION = "training"
OPTIMIZERS = ("adamw", "sgd", "lamb")
_MILD = "kfp-vision default after ResNet-RS (arXiv:2103.07579); its strength was tried on elpv"
_DEFAULT_RATES = {"adamw": 3e-3, "sgd": 0.1, "lamb": 1e-2}


@dataclasses.dataclass(frozen=True)
class Hyperparameters:
    """What one training depends on beside the data and the architecture.

    Attributes:
        optimizer: One of `OPTIMIZERS`.
        batch_size: Images a step.
        learning_rate: Peak rate, at `batch_size`.
        steps: Optimizer steps.
        warmup_steps: Steps of linear warm-up from 0; a cosine to 0 follows.
        weight_decay: Decoupled (Loshchilov and Hutter, 2019), not on biases and norms.
        clip_norm: Global gradient norm above which gradients are scaled down; 0 never.
        label_smoothing: Share of the label given to the uniform distribution.
        ema_momentum: Of the exponential moving average of the weights; 0 for none.
        dropout: Rate before the head.
        stochastic_depth: Drop rate of the deepest residual branch.
        steps_per_call: At most so many steps in one call of the compiled loop.
        jit_compile: Compile the step with XLA.
    """

    optimizer: str
    batch_size: int
    learning_rate: float
    steps: int
    warmup_steps: int
    weight_decay: float
    clip_norm: float
    label_smoothing: float
    ema_momentum: float
    dropout: float
    stochastic_depth: float
    steps_per_call: int
    jit_compile: bool

    def __post_init__(self) -> None:
        """Refuses values that no training can use."""
        rules = {
            f"`optimizer` must be one of {OPTIMIZERS}": self.optimizer in OPTIMIZERS,
            "`batch_size` must be positive": self.batch_size > 0,
            "`learning_rate` must be positive": self.learning_rate > 0,
            "`steps` must be positive": self.steps > 0,
            "`warmup_steps` must be in [0, steps)": 0 <= self.warmup_steps < self.steps,
            "`weight_decay` must not be negative": self.weight_decay >= 0,
            "`clip_norm` must not be negative": self.clip_norm >= 0,
            "`label_smoothing` must be in [0, 1)": 0 <= self.label_smoothing < 1,
            "`ema_momentum` must be in [0, 1)": 0 <= self.ema_momentum < 1,
            "`dropout` must be in [0, 1)": 0 <= self.dropout < 1,
            "`stochastic_depth` must be in [0, 1)": 0 <= self.stochastic_depth < 1,
            "`steps_per_call` must be positive": self.steps_per_call > 0,
        }
        broken = [rule for rule, holds in rules.items() if not holds]
        if broken:
            raise ValueError(f"{'; '.join(broken)}. Received: {self}")


def default_epochs(num_images: int) -> int:
    """Returns the epochs of a plain training: 500,000 images in all, within 8 and 25 epochs.

    Small sets need many passes to be fitted and large ones few.
    """
    return max(8, min(25, round(500_000 / num_images)))


def resolve(recipe: Recipe, overrides: Mapping[str, Any], num_images: int) -> Recipe:
    """Returns the recipe with a complete `training` section.

    What a user has set or a stage has learned stays; defaults of an earlier run are made anew,
    because they followed its data.

    Args:
        recipe: May hold some of the settings already.
        overrides: Settings of the user: `batch_size`, `learning_rate`, `optimizer`, `epochs`.
        num_images: Training images, N.

    Raises:
        ValueError: A setting is of the wrong type.
    """
    held = {
        name: setting
        for name, setting in recipe.sections.get(SECTION, {}).items()
        # A number of steps holds for one batch size and one number of epochs.
        if setting.source != "default"
        and not (name == "steps" and {"epochs", "batch_size"} & {*overrides})
    }
    for name, value in overrides.items():
        held[name] = Setting(value, "pipeline parameter", source="user")
    _check_types(held)

    def settle(name: str, value: Any, method: str, **evidence: Any) -> Any:
        held.setdefault(name, Setting(value, method, evidence, "default"))
        return held[name].value

    optimizer = settle("optimizer", "adamw", "kfp-vision default")
    batch_size = settle(
        "batch_size",
        max(1, min(64, num_images // 4)),
        "64, at most a quarter of the training images",
        num_images=num_images,
    )
    settle("learning_rate", _DEFAULT_RATES.get(optimizer, 0.0), f"default for {optimizer}")
    epochs = settle(
        "epochs",
        default_epochs(num_images),
        "500,000 images in all, within 8 and 25 epochs",
        num_images=num_images,
    )
    steps = settle(
        "steps",
        max(2, round(epochs * num_images / max(batch_size, 1))),
        "epochs x images / batch size",
        num_images=num_images,
    )
    warmup_steps = min(max(100, steps // 20), steps // 2)
    settle("warmup_steps", warmup_steps, "5 % of the steps, at least 100, at most half")
    settle("weight_decay", 0.02, "kfp-vision default")
    settle("clip_norm", 5.0, "kfp-vision default: stops spikes, idle otherwise")
    settle("label_smoothing", 0.1, _MILD)
    settle("dropout", 0.2, _MILD)
    settle("ema_momentum", 0.99, _MILD)
    settle("stochastic_depth", 0.0, "off: the default network is shallow")
    settle("steps_per_call", 32, "kfp-vision default: the call costs less than 1 % of the steps")
    settle("jit_compile", False, "off: XLA is slower for depthwise networks on a CPU")
    return Recipe({**recipe.sections, SECTION: held})


def _check_types(settings: Mapping[str, Setting]) -> None:
    kinds: dict[str, tuple[str, type | tuple[type, ...]]] = {
        "optimizer": ("a name", str),
        "jit_compile": ("true or false", bool),
    }
    for name, setting in settings.items():
        text, kind = kinds.get(name, ("a number", (int, float)))
        if not isinstance(setting.value, kind) or (
            text == "a number" and isinstance(setting.value, bool)
        ):
            raise ValueError(f"`{name}` must be {text}. Received: {setting.value!r}")


def from_recipe(recipe: Recipe) -> Hyperparameters:
    """Returns the hyperparameters of a recipe that `resolve` has completed.

    Raises:
        ValueError: A value is out of its range.
    """
    kinds = Hyperparameters.__annotations__
    return Hyperparameters(
        **{name: kind(recipe.value(SECTION, name)) for name, kind in kinds.items()}
    )
