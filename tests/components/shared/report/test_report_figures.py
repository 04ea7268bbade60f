import math

import pytest

from kfp_vision.components.shared.report import figures


def spaced(text: str) -> str:
    """Returns the text with ordinary spaces."""
    return text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (60000, "60,000"),
        (128.0, "128"),
        (0.004, "0.004"),
        (3e-5, "3 × 10⁻⁵"),
        (12345.6, "12,346"),
        (-0.25, "-0.25"),
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "–"),
    ],
)
def test_number(value: float | None, text: str) -> None:
    assert figures.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.13544, "0.14"), (8.476, "8.5"), (123.4, "123"), (2.384e-7, "2.4 × 10⁻⁷")]
)
def test_number_with_two_digits(value: float, text: str) -> None:
    assert figures.number(value, 2) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10.0 s"), (59.4, "59 s"), (492, "8 min 12 s"), (7500, "2 h 05 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert spaced(figures.duration(seconds)) == text


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(812, "812 B"), (1234, "1.2 kB"), (159_400, "159 kB"), (4_815_814, "4.8 MB")],
)
def test_size(num_bytes: int, text: str) -> None:
    assert spaced(figures.size(num_bytes)) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"),
        (0.0004, "<0.1 %"),
        (0.042, "4.2 %"),
        (0.999999, ">99.9 %"),
        (0.997, "99.7 %"),
        (1, "100 %"),
    ],
)
def test_percent(share: float, text: str) -> None:
    assert spaced(figures.percent(share)) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("label_entropy_bits", "Label entropy (bits)"),
        ("tflite_int8", "LiteRT int8"),
        ("auroc", "AUROC"),
        ("ap_small", "AP small"),
        ("s", "S"),
        ("", ""),
    ],
)
def test_label(name: str, text: str) -> None:
    assert figures.label(name) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [("mask_map", "mask mAP"), ("map", "mAP"), ("auroc", "AUROC"), ("accuracy", "accuracy")],
)
def test_label_within_a_sentence(name: str, text: str) -> None:
    assert figures.label_within(name) == text


def test_an_interval_has_the_form_of_the_field() -> None:
    assert figures.interval([0.9079, 0.9191]) == "[0.908, 0.919]"
    assert figures.interval(None) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([1.0, 0.5], "1, 0.5"),
        ({"low_ms": 3, "ok": True}, "Low (ms): 3, Ok: yes"),
        (None, "–"),
        ("<b>", "<b>"),
    ],
)
def test_plain(value: object, text: str) -> None:
    assert figures.plain(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123, "+0.012"), (-0.08, "\N{MINUS SIGN}0.080"), (0.0, "+0.000")]
)
def test_a_difference_has_its_sign(value: float, text: str) -> None:
    assert figures.difference(value) == text
