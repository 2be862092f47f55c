"""Names of any script in drawings and plots."""

import warnings
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from yoloseg.data import lettering
from yoloseg.data.lettering import font_for, plain_text, writable
from yoloseg.inference.drawing import draw_instances, grid
from yoloseg.tracking.tracks import Tracks

BOXES = np.array([[20, 40, 200, 180]], np.float32)
OWN = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    """No font but matplotlib's own, nothing remembered."""
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])
    monkeypatch.setitem(matplotlib.rcParams, "font.family", ["sans-serif"])
    forget()
    yield
    forget()


def forget():
    for function in (lettering._font_of, writable, lettering._add_font, lettering._system_fonts):
        function.cache_clear()


def drawn(*names, boxes=BOXES, class_ids=None):
    image = np.full((240, 320, 3), 114, np.uint8)
    class_ids = np.zeros(len(names), int) if class_ids is None else np.array(class_ids)
    return draw_instances(image, boxes.repeat(len(names), 0), class_ids, names)


@pytest.mark.parametrize("name", ["Bär", "éléphant", "слон", "αρκούδα", "ქართული", "ł 3"])
def test_letters_that_opencv_lacks_are_drawn_in_a_font(name):
    assert font_for(name) == str(OWN / "DejaVuSans.ttf") and writable(name) == name
    pictures = [drawn(text) for text in (name, name.encode("ascii", "replace").decode(), name[::-1])]
    assert all((pictures[0] != other).any() for other in pictures[1:])
    assert (pictures[0] == drawn(name)).all()


def test_letters_of_a_font_are_as_high_as_those_of_opencv():
    """An E with a letter that is drawn nowhere, and so in the other font, against one of OpenCV's."""
    heights = []
    for text in ("E", "E\N{NO-BREAK SPACE}"):
        changed = (grid([np.zeros((40, 60, 3), np.uint8)], 1, captions=[text])[:22] > 160).any(axis=(1, 2))
        heights.append(int(changed.sum()))
    assert heights[0] >= 8 and abs(heights[0] - heights[1]) <= 2


def test_a_name_that_no_font_writes_says_its_class():
    with pytest.warns(UserWarning, match="no font of this machine has the letters of '犬': .* 'class 2'"):
        picture = drawn("犬", class_ids=[2])
    assert (picture == drawn("class 2", class_ids=[2])).all()
    with pytest.warns(UserWarning):
        assert writable("#3 犬 の子 x", "class 2") == "#3 class 2 x"
    with pytest.warns(UserWarning):
        assert plain_text("犬 $") == r"\u72ac \$"
    with pytest.warns(UserWarning):
        names = [plain_text("犬" * 20 + end, f"class {k}") for k, end in enumerate("ab")]
    assert names == ["class 0a", "class 1b"]
    with warnings.catch_warnings():  # once a name
        warnings.simplefilter("error")
        drawn("犬", class_ids=[2])


def test_a_font_of_the_system_writes_what_others_lack(monkeypatch):
    letter = chr(
        min(lettering._letters_of(str(OWN / "STIXGeneral.ttf")) - lettering._letters_of(font_for("é")))
    )
    assert font_for(letter) is None
    forget()
    gone, broken, stix = (str(OWN / name) for name in ("gone.ttf", "LICENSE_DEJAVU", "STIXGeneral.ttf"))
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [broken, gone, stix])
    assert font_for(letter) == stix
    assert (drawn(f"a {letter}") != drawn("a ?")).any()
    both = drawn(letter, "é", "plain", boxes=np.array([[20, 60, 300, 220]], np.float32), class_ids=[0, 1, 2])
    assert (
        both != drawn("", "", "", boxes=np.array([[20, 60, 300, 220]], np.float32), class_ids=[0, 1, 2])
    ).any()
    figure = Figure()
    FigureCanvasAgg(figure)
    figure.text(0.5, 0.5, plain_text(letter))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a missing glyph is one
        figure.canvas.draw()


def test_tracks_say_their_number_and_their_class():
    frame = {"image": np.full((240, 320, 3), 114, np.uint8), "boxes": BOXES, "scores": np.array([0.9])}
    masks = {"mask_probabilities": np.zeros((1, 28, 28), np.float32), "ids": np.array([17])}

    def track(name):
        return Tracks(**frame, **masks, class_ids=np.array([2]), class_names=[name]).draw()

    with pytest.warns(UserWarning, match="'class 2'"):
        assert (track("犬") == track("class 2")).all()
    assert (track("a") != track("b")).any()


def test_regular_fonts_come_before_bold_ones(monkeypatch):
    fonts = ["/a/Noto-Black.ttf", "/a/Noto-Bold.ttf", "/b/Noto-Regular.ttf", "/c/DejaVu-Book.ttf"]
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: fonts)
    assert [Path(path).stem for path in lettering._system_fonts()[:2]] == ["Noto-Regular", "DejaVu-Book"]


def test_captions_have_their_letters_and_stay_above_their_picture():
    pictures = [np.zeros((80, 160, 3), np.uint8)] * 2
    sheets = [grid(pictures, 2, captions=[text, "b"]) for text in ("übergröße " * 9, "? " * 40, "")]
    assert (sheets[0] != sheets[1]).any()
    for sheet in sheets:
        assert (sheet[26:106, 4:164] == 0).all() and (sheet[:26, 164:168] == sheets[2][:26, 164:168]).all()
    assert (sheets[0][4:26, 4:164] != sheets[2][4:26, 4:164]).any()


def test_halves_of_characters_are_question_marks():
    assert writable("a\udc80.jpg") == "a?.jpg"
    assert cv2.getTextSize(writable("\udc80"), cv2.FONT_HERSHEY_SIMPLEX, 1, 1)[0][0] > 0


@pytest.mark.parametrize(
    ("name", "plain"),
    [("a$b$", r"a\$b\$"), ("_x", " _x"), ("b" * 50, "b" * 24 + "…" + "b" * 15), ("Bär", "Bär")],
)
def test_plain_text(name, plain):
    assert plain_text(name) == plain
