"""From the modes of Pillow images with 8 bits a channel, and of one bit a pixel, to gray or RGB."""

from PIL import Image

__all__ = ["on_white", "to_gray_or_rgb"]

_ALPHA_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})


def to_gray_or_rgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """Returns an image of mode L or RGB, and the keys of `decoding.CHANGES` for what changed."""
    mode = image.mode
    if mode in _ALPHA_MODES or "transparency" in image.info:
        flat = on_white(image.convert("RGBA"))
        return (flat.convert("L") if mode in ("L", "LA", "La") else flat), ["alpha"]
    if mode == "P":
        return _gray_if_gray(image.convert("RGB")), ["palette"]
    if mode == "1":
        return image.convert("L"), ["bilevel"]
    if mode not in ("L", "RGB"):
        return image.convert("RGB"), ["colour_space"]
    return image, []


def on_white(image: Image.Image) -> Image.Image:
    """Returns an RGBA image composited on white, RGB."""
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _gray_if_gray(image: Image.Image) -> Image.Image:
    red, green, blue = image.split()
    is_gray = red.tobytes() == green.tobytes() == blue.tobytes()
    return red if is_gray else image
