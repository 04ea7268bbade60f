"""What an architecture is called: a row of the zoo, or the URI of a `.keras` file."""

__all__ = ["DEFAULT_PRETRAINED", "is_pretrained", "is_user_model"]

# The network whose weights are always at hand.
DEFAULT_PRETRAINED = "efficientnet_lite0_imagenet"
_PRETRAINED = "_imagenet"


def is_user_model(architecture: str) -> bool:
    """Returns whether `architecture` names a file and not a row of the zoo."""
    return "/" in architecture or "." in architecture


def is_pretrained(architecture: str) -> bool:
    """Returns whether a network of the zoo starts from weights that were trained before."""
    return not is_user_model(architecture) and architecture.endswith(_PRETRAINED)
