"""No picture shows a box in place of a character."""

from pathlib import Path

import pytest
from PIL import Image, ImageFont

from kfp_vision.components.shared.datasets import fonts
from kfp_vision.components.shared.datasets.captions import with_legend
from kfp_vision.components.shared.datasets.fonts import choose_font, drawable


@pytest.fixture
def set_fonts(monkeypatch):
    """Says which fonts this machine has."""

    def set_them(*files: Path) -> None:
        monkeypatch.setattr(fonts, "_font_files", lambda: files)
        fonts._choose.cache_clear()

    yield set_them
    fonts._choose.cache_clear()


@pytest.mark.parametrize(
    ("name", "drawn"),
    [("dog", "dog"), ("\u72ac", "#3"), ("\u72ac 0.90", "#3 0.90"), ("a \u72ac\u732b b", "a #3 b")],
)
def test_what_no_font_has_is_the_number_of_the_class(set_fonts, name, drawn):
    set_fonts()
    assert drawable(name, choose_font([name], 20), 3) == drawn
    picture = Image.new("RGB", (200, 100))
    assert with_legend(picture, [(3, name)]) == with_legend(picture, [(3, drawn)])


def test_a_font_of_this_machine_draws_what_that_of_pillow_lacks(set_fonts, tmp_path):
    name = "H\u00fcndin \u0441\u043e\u0431\u0430\u043a\u0430"
    try:
        font = Path(str(ImageFont.truetype("DejaVuSans.ttf", 20).path))
    except OSError:
        pytest.skip("this machine has no font beside that of Pillow")
    (tmp_path / "damaged.ttf").write_bytes(b"no font")
    set_fonts(tmp_path / "damaged.ttf", font)
    chosen = choose_font([name], 20)
    assert drawable(name, chosen, 3) == name
    assert isinstance(chosen, ImageFont.FreeTypeFont)
    assert chosen.path == font
    # As the others look, where that of Pillow is enough.
    plain = choose_font(["dog"], 20)
    assert bytes(plain.getmask("dog")) == bytes(ImageFont.load_default(20).getmask("dog"))


def test_plain_faces_of_all_folders_are_tried_first(monkeypatch, tmp_path):
    names = ("a/Sans-Bold.ttf", "b/Sans.OTF", "b/notes.txt", "c/Mono.ttc")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(fonts, "_FOLDERS", (tmp_path / "none", tmp_path))
    found = [path.name for path in fonts._font_files.__wrapped__()]
    assert found == ["Sans.OTF", "Mono.ttc", "Sans-Bold.ttf"]
