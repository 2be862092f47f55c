"""Names as matplotlib draws them letter by letter."""

from __future__ import annotations


def plain_text(name: str) -> str:
    """`name`, of which nothing is a formula, though it has dollars, and which no legend leaves out, though it
    starts with an underscore."""
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")
