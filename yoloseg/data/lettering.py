"""Letters for names: OpenCV writes ASCII alone, so other names need a font that has them."""

from __future__ import annotations

import re
import warnings
from functools import cache, lru_cache
from pathlib import Path

LONGEST = 40  # letters of a name in a plot
DIGITS = "0123456789.() abcxyzABCXYZ"  # what may stand beside other letters


def font_for(text: str) -> str | None:
    """A font file with every letter of `text`: DejaVu Sans, which comes with matplotlib, else the first of
    the system's fonts that has them; None if there is none. All have what ASCII has."""
    return _font_of(frozenset(ord(letter) for letter in text if not (letter.isspace() or letter.isascii())))


@lru_cache(4096)
def _font_of(letters: frozenset[int]) -> str | None:
    import matplotlib

    letters |= {ord(letter) for letter in DIGITS}
    own = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    if letters <= _letters_of(str(own)):
        return str(own)
    return next((path for path in _system_fonts() if letters <= _letters_of(path)), None)


@cache
def _system_fonts() -> list[str]:
    """Regular ones first: there are bold, black and thin ones of the same letters."""
    from matplotlib import font_manager

    regular = re.compile("regular|book", re.IGNORECASE)
    return sorted(
        font_manager.findSystemFonts(), key=lambda path: (not regular.search(Path(path).stem), path)
    )


@cache
def _letters_of(path: str) -> frozenset[int]:
    """Of a font that is drawn in any size; none of others."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError):
        return frozenset()


@lru_cache(4096)
def writable(name: str, instead: str | None = None) -> str:
    """`name`, in which halves of characters, as file names may hold, are question marks. Where no font has
    its letters, those that are not ASCII are `instead`, or as Python escapes them, with a warning."""
    name = name.encode("utf-8", "replace").decode()
    if name.isascii() or font_for(name):
        return name
    if instead is None:
        plain = name.encode("ascii", "backslashreplace").decode()
    else:
        plain = re.sub(r"[^\x00-\x7f]+(?:\s+[^\x00-\x7f]+)*", instead, name)
    warnings.warn(
        f"no font of this machine has the letters of {name!r}: pictures say {plain!r}. Install one that has "
        "them (Noto, say)",
        stacklevel=2,
    )
    return plain


def plain_text(name: str, instead: str | None = None) -> str:
    """`writable`, as matplotlib draws it letter by letter: nothing of it is a formula, though it has dollars,
    and no legend leaves it out, though it starts with an underscore; cut in the middle where it would leave
    no room for the plot."""
    name = writable(name, instead)
    if not name.isascii():
        _add_font(font_for(name))
    name = name if len(name) <= LONGEST else name[:24] + "\N{HORIZONTAL ELLIPSIS}" + name[25 - LONGEST :]
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


@cache
def _add_font(path: str | None) -> None:
    """matplotlib falls back on this font for letters that others lack."""
    import matplotlib
    from matplotlib import font_manager

    family = font_manager.get_font(path).family_name
    families = matplotlib.rcParams["font.family"]
    if family not in (*families, "DejaVu Sans"):
        font_manager.fontManager.addfont(path)
        matplotlib.rcParams["font.family"] = [*families, family]
