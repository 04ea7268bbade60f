"""Figures as people read them: numbers with units and separators, intervals, names in words.

Everything here takes a plain value and returns text; what is missing or not finite is a dash.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "difference",
    "duration",
    "interval",
    "label",
    "label_within",
    "number",
    "percent",
    "plain",
    "score",
    "size",
]

_NAMES = {
    "cutmix": "CutMix",
    "linear": "Linear model",
    "mixup": "MixUp",
    "rand_augment": "RandAugment",
    "rot90": "Quarter turns",
    "saved_model": "SavedModel",
    "tflite": "LiteRT",
    "tflite_int8": "LiteRT int8",
    "trivial_augment": "TrivialAugment",
}
_WORDS = {
    "ap": "AP",
    "auroc": "AUROC",
    "ap50": "AP50",
    "ap75": "AP75",
    "ece": "ECE",
    "ema": "EMA",
    "f1": "F1",
    "iou": "IoU",
    "keras": "Keras",
    "map": "mAP",
    "map50": "mAP50",
    "map75": "mAP75",
    "oks": "OKS",
    "onnx": "ONNX",
    "pck": "PCK",
    "std": "standard deviation",
    "uri": "URI",
}
_UNITS = {
    "bits": "bits",
    "bytes": "bytes",
    "kbit": "kbit",
    "mib": "MiB",
    "ms": "ms",
    "nats": "nats",
    "percent": "%",
    "px": "px",
    "s": "s",
}
_DASH = "–"
_SPACE = "\N{NO-BREAK SPACE}"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None, digits: int = 4) -> str:
    """Returns a number with significant digits, integers whole: `60,000`, `3.2 × 10⁻⁵`."""
    if value is None or not math.isfinite(value):
        return _DASH
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    if abs(value) >= min(1000, 10**digits):
        return f"{value:,.0f}"
    text = f"{value:.{digits}g}"
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def score(value: float | None) -> str:
    """Returns a metric between 0 and 1 with three decimals."""
    return _DASH if value is None or not math.isfinite(value) else f"{value:.3f}"


def difference(value: float) -> str:
    """Returns a difference of metrics with its sign: `+0.012`, `−0.080`."""
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def interval(bounds: Sequence[float] | None) -> str:
    """Returns `[0.908, 0.919]`, or nothing when there is no interval."""
    return f"[{score(bounds[0])}, {score(bounds[1])}]" if bounds else ""


def percent(share: float | None) -> str:
    """Returns a percentage: `42 %`, `4.2 %`, `<0.1 %`, `>99.9 %`; only 0 and 1 give 0 and 100."""
    if share is None or not math.isfinite(share):
        return _DASH
    value = 100 * share
    if 0 < value < 0.1:
        return f"<0.1{_SPACE}%"
    if 99.9 < value < 100:
        return f">99.9{_SPACE}%"
    digits = 0 if 10 <= value <= 99 or value in (0, 100) else 1
    return f"{value:.{digits}f}{_SPACE}%"


def duration(seconds: float) -> str:
    """Returns a duration in the two largest units: `0.4 s`, `8 min 12 s`, `2 h 05 min`."""
    if seconds < 10:
        return f"{seconds:.1f}{_SPACE}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{_SPACE}s"
    if whole < 3600:
        return f"{whole // 60}{_SPACE}min {whole % 60:02d}{_SPACE}s"
    return f"{whole // 3600:,}{_SPACE}h {whole % 3600 // 60:02d}{_SPACE}min"


def size(num_bytes: int) -> str:
    """Returns a size in decimal units: `812 B`, `159 kB`, `1.2 MB`."""
    value = float(num_bytes)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.{0 if value >= 10 or unit == 'B' else 1}f}{_SPACE}{unit}"
        value /= 1000
    return f"{value:.1f}{_SPACE}GB"


def label(name: str) -> str:
    """Returns an identifier in words: `label_entropy_bits` -> `Label entropy (bits)`."""
    if name in _NAMES:
        return _NAMES[name]
    parts = [part for part in re.split(r"[_\s]+", name) if part]
    if not parts:
        return name
    unit = _UNITS.get(parts[-1]) if len(parts) > 1 else None
    words = [_WORDS.get(part, part) for part in (parts[:-1] if unit else parts)]
    # Names with capitals of their own, such as mAP, stay as they are.
    first = words[0] if words[0] != words[0].lower() else words[0][:1].upper() + words[0][1:]
    text = " ".join([first, *words[1:]])
    return f"{text} ({unit})" if unit else text


def label_within(name: str) -> str:
    """Returns the label of an identifier within a sentence: `mean IoU`, `AUROC`, `mAP`."""
    text = label(name)
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def plain(value: Any) -> str:
    """Returns any JSON value as short text; the template cuts what is long."""
    if value is None:
        return _DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{label(str(key))}: {plain(held)}" for key, held in value.items())
    if isinstance(value, Sequence):
        return ", ".join(plain(held) for held in value)
    return json.dumps(value)
