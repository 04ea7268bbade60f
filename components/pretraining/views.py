"""Of which transforms the two views of an image are made."""

import dataclasses

from kfp_vision.components.shared.augmentation.policy import Branch, Mixing, Operation, Policy

__all__ = ["DEFAULT_VIEWS", "choose_views"]

# Where and how large an object is, and the light, change no label that we know of; a flip may. From
# half to the whole of each side; SimCLR (Chen et al., 2020, section 3) takes less of the image.
DEFAULT_VIEWS = Policy(
    always=(
        Operation("zoom_in", 0.0, 1.0),
        Operation("translate_x", 0.0, 0.5),
        Operation("translate_y", 0.0, 0.5),
    ),
    branches=(
        Branch(
            (
                Operation("brightness", 0.0, 0.4),
                Operation("contrast", 0.0, 0.4),
                Operation("saturation", 0.0, 0.4),
            )
        ),
    ),
)


def choose_views(policy: Policy | None) -> tuple[Policy, str]:
    """Returns the policy of the views, and where it comes from.

    Args:
        policy: Of the recipe; None where it has none. Of an image that is mixed with another there
            is no second view: its mixing is left out.
    """
    if policy is None:
        return DEFAULT_VIEWS, "crops, shifts and mild colour: the recipe has no policy"
    return dataclasses.replace(policy, mixing=Mixing()), "the policy of the recipe"
