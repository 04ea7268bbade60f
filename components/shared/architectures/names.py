"""What an architecture is called: a row of the zoo, or the URI of a `.keras` file."""

__all__ = ["DEFAULT_PRETRAINED", "is_compared", "is_pretrained", "is_user_model"]

# The network whose weights are always at hand.
DEFAULT_PRETRAINED = "efficientnet_lite0_imagenet"
_PRETRAINED = "_imagenet"


def is_user_model(architecture: str) -> bool:
    """Returns whether `architecture` names a file and not a row of the zoo."""
    return "/" in architecture or "." in architecture


def is_pretrained(architecture: str) -> bool:
    """Returns whether a network of the zoo starts from weights that were trained before."""
    return not is_user_model(architecture) and architecture.endswith(_PRETRAINED)


def is_compared(architecture: str) -> bool:
    """Returns whether there is more than one way to train it, and a comparison of them, or `auto`.

    A network of the zoo without weights can only be trained from scratch.
    """
    return architecture == "auto" or is_user_model(architecture) or is_pretrained(architecture)
