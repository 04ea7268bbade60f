"""The hyperparameters of one training and how they are read from, and written to, the recipe."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from kfp_vision.components.shared.recipe.context import fits
from kfp_vision.components.shared.recipe.document import Recipe, Setting
from kfp_vision.components.shared.recipe.initial_weights import starts_pretrained
from kfp_vision.components.shared.recipe.training_values import check_values

__all__ = [
    "SECTION",
    "Hyperparameters",
    "default_epochs",
    "from_recipe",
    "learn",
    "resolve",
    "training_facts",
]

SECTION = "training"
_MILD = "kfp-vision default after ResNet-RS (arXiv:2103.07579); its strength was tried on elpv"
# Never learned: they follow from the others.
_DERIVED = ("steps", "warmup_steps")
# Of networks that start from weights which were trained before: a tenth of the rate, few images.
# `components/network_choice/README.md` says what was tried.
_TUNED_SHARE, _TUNED_BATCH, _TUNED_FIRST_LAYER = 0.1, 32, 0.1
_BATCH = 64
_DEFAULT_RATES = {"adamw": 3e-3, "sgd": 0.1, "lamb": 1e-2}


@dataclass(frozen=True)
class Hyperparameters:
    """What one training depends on beside the data and the architecture.

    Attributes:
        optimizer: One of `training_values.OPTIMIZERS`.
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
        first_layer_rate: Learning rate of the first layer over that of the last one; geometric in
            between.
        steps_per_call: At most so many steps in one call of the compiled loop.
        jit_compile: Compile the step with XLA.
        precision: One of `training_values.PRECISIONS`.
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
    first_layer_rate: float
    steps_per_call: int
    jit_compile: bool
    precision: str

    def __post_init__(self) -> None:
        """Refuses values that no training can use."""
        check_values(vars(self))
        if self.warmup_steps >= self.steps:
            raise ValueError(
                "`warmup_steps` must be in [0, steps). Received: "
                f"warmup_steps={self.warmup_steps}, steps={self.steps}"
            )


def default_epochs(num_images: int) -> int:
    """Returns the epochs of a plain training: 500,000 images in all, within 8 and 25 epochs.

    Small sets need many passes to be fitted and large ones few.
    """
    return max(8, min(25, round(500_000 / num_images)))


def resolve(
    recipe: Recipe,
    overrides: Mapping[str, Any],
    num_images: int,
    facts: Mapping[str, Any] = MappingProxyType({}),
) -> Recipe:
    """Returns the recipe with a complete `training` section, in which everything fits.

    What a user has set stays, and so does what was learned for this very training. All else is
    derived here and nowhere else: the steps follow epochs, images and batch size, the warm-up
    follows the steps. A stage that changes a setting calls this again.

    Args:
        recipe: May hold some of the settings already.
        overrides: Settings of the user: `batch_size`, `learning_rate`, `optimizer`, `epochs`.
        num_images: Training images, N.
        facts: Of `context.fixed_facts`; without them nothing that was learned fits.

    Raises:
        ValueError: A setting is of the wrong type or out of range, or the user has set both
            `epochs` and `steps`.
    """
    held = {
        name: setting
        for name, setting in recipe.sections.get(SECTION, {}).items()
        if setting.source != "default" and (name not in _DERIVED or setting.source == "user")
    }
    if "epochs" in overrides:
        # The length that the recipe's user wanted gives way to that of the run's.
        held.pop("steps", None)
    for name, value in overrides.items():
        held[name] = Setting(value, "pipeline parameter", source="user")
    check_values({name: setting.value for name, setting in held.items()})
    known, is_tuned = dict(facts), _is_tuned(recipe)

    def settle(name: str, value: Any, method: str, **evidence: Any) -> Any:
        if name not in held or not fits(name, held[name], known):
            held[name] = Setting(value, method, evidence, "default")
        known[name] = held[name].value
        return held[name].value

    optimizer = settle("optimizer", "adamw", "kfp-vision default")
    batch_size = settle(
        "batch_size",
        max(1, min(_TUNED_BATCH if is_tuned else _BATCH, num_images // 4)),
        f"{_TUNED_BATCH if is_tuned else _BATCH}, at most a quarter of the training images",
        num_images=num_images,
    )
    rate = _DEFAULT_RATES.get(optimizer, 0.0)
    if is_tuned:
        rate *= _TUNED_SHARE
    kind = "a pretrained network" if is_tuned else "a network from scratch"
    settle("learning_rate", rate, f"default for {optimizer} and {kind}")
    epochs = _settle_epochs(held, settle, num_images, batch_size, is_tuned)
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
    settle("first_layer_rate", _TUNED_FIRST_LAYER if is_tuned else 1.0, f"default for {kind}")
    settle("steps_per_call", 32, "kfp-vision default: the call costs less than 1 % of the steps")
    settle("jit_compile", False, "off: XLA is slower for depthwise networks on a CPU")
    settle("precision", "auto", "mixed bfloat16 on accelerators that have it, else float32")
    fitting = {name: setting for name, setting in held.items() if fits(name, setting, known)}
    completed = Recipe({**recipe.sections, SECTION: fitting})
    # What no training can use is refused before one starts.
    from_recipe(completed)
    return completed


def _is_tuned(recipe: Recipe) -> bool:
    trainable = recipe.get("model", "trainable")
    is_frozen = trainable is not None and trainable.value == "head"
    return starts_pretrained(recipe) and not is_frozen


def _tuned_epochs(num_images: int) -> int:
    """Returns those of a pretrained network: 72,000 images in all, within 12 and 400 epochs."""
    return max(12, min(400, round(72_000 / num_images)))


def _settle_epochs(
    held: dict[str, Setting],
    settle: Callable[..., float],
    num_images: int,
    batch_size: int,
    is_tuned: bool,
) -> float:
    """Returns the passes over the images: the user's, learned, default, or those of their steps."""
    if "steps" not in held and is_tuned:
        return settle(
            "epochs",
            _tuned_epochs(num_images),
            "of a pretrained network: 72,000 images in all, within 12 and 400 epochs",
            num_images=num_images,
        )
    if "steps" not in held:
        return settle(
            "epochs",
            default_epochs(num_images),
            "500,000 images in all, within 8 and 25 epochs",
            num_images=num_images,
        )
    epochs = held.pop("epochs", None)
    if epochs is not None and epochs.source == "user":
        raise ValueError(
            "A recipe must not set both `epochs` and `steps`. Received: "
            f"epochs={epochs.value}, steps={held['steps'].value}, both of the user. Remove one."
        )
    steps = held["steps"].value
    return settle("epochs", steps * batch_size / num_images, "steps x batch size / images")


def training_facts(recipe: Recipe) -> dict[str, Any]:
    """Returns what a learned setting holds for, of the settings of a complete recipe."""
    return {
        name: recipe.value(SECTION, name) for name in ("optimizer", "batch_size", "learning_rate")
    }


def learn(
    recipe: Recipe, section: str, settings: Mapping[str, Setting], facts: Mapping[str, Any]
) -> Recipe:
    """Returns the recipe with learned settings, which carry what they were learned for.

    What a user has set stays. What follows from the settings is derived by `resolve`.

    Args:
        recipe: With a complete section `training`.
        section: Of the settings.
        settings: What was learned.
        facts: Of `context.fixed_facts`.
    """
    recipe = recipe.with_settings(section, settings)
    context = {**facts, **training_facts(recipe)}
    carrying = {name: replace(setting, context=context) for name, setting in settings.items()}
    return recipe.with_settings(section, carrying)


def from_recipe(recipe: Recipe) -> Hyperparameters:
    """Returns the hyperparameters of a recipe that `resolve` has completed.

    Raises:
        ValueError: A value is out of its range.
    """
    kinds = Hyperparameters.__annotations__
    return Hyperparameters(
        **{name: kind(recipe.value(SECTION, name)) for name, kind in kinds.items()}
    )
