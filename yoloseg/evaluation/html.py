"""Pages that open without a server: every picture is inside."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from yoloseg.files import write_text

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: .5em 0 1.5em }
td, th { padding: .2em .8em; text-align: right; border-bottom: 1px solid #ddd }
td:first-child, th:first-child { text-align: left }
img { max-width: 100%; border: 1px solid #ddd }
figure { margin: 1em 0 2em } figcaption { color: #555 }
"""


def write_page(path: Path, title: str, body: Sequence[str]) -> None:
    """body: pieces of HTML."""
    page = (
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{escape(title)}</title>"
        f"<style>{STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )
    write_text(path, page)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells as text."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    lines = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    return f"<table><tr>{head}</tr>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def figure(path: Path, caption: str) -> str:
    """A PNG or JPEG file and what it shows."""
    kind = "png" if path.suffix == ".png" else "jpeg"
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    text = escape(caption)
    return (
        f"<figure><img src='data:image/{kind};base64,{data}' alt='{text}'>"
        f"<figcaption>{text}</figcaption></figure>"
    )
