"""What can be known of an architecture before there are images: it is built and tried out."""

from kfp_vision.components.shared.architectures import user_model
from kfp_vision.components.shared.architectures.names import is_user_model
from kfp_vision.components.shared.architectures.zoo import ARCHITECTURES, build_model
from kfp_vision.components.shared.tasks import get_task

__all__ = ["check_architecture"]

_SIDE = 224


def check_architecture(architecture: str, image_size: int) -> None:
    """Checks that a network can be built, and that its output depends on the image.

    Args:
        architecture: A name of the zoo or the URI of a `.keras` file.
        image_size: Pixels a side; 0 follows the data.

    Raises:
        ValueError: There is no such architecture, or it cannot be trained at this size.
        StorageError: The file cannot be reached.
        ConnectionError, ModuleNotFoundError: Pretrained weights are out of reach.
    """
    shape, num_classes = (image_size or _SIDE,) * 2 + (3,), 2
    if is_user_model(architecture):
        model = user_model.load_user_model(architecture)
        user_model.check_outputs(model, architecture)
        sides = user_model.read_input_size(model)
        height, width = (image_size or side or _SIDE for side in sides)
        shape = height, width, model.inputs[0].shape[-1]
        # The number of classes is known with the data only; a new head is built for any number.
        num_classes = model.outputs[0].shape[-1] + 1
    elif architecture in ARCHITECTURES and not image_size:
        shape = (ARCHITECTURES[architecture].min_size,) * 2 + (3,)
    build_model(architecture, get_task("multiclass"), shape, num_classes)
