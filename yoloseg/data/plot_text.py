"""Names as matplotlib draws them letter by letter."""

from __future__ import annotations

LONGEST = 40  # letters


def plain_text(name: str) -> str:
    """`name`, of which nothing is a formula, though it has dollars, and which no legend leaves out, though it
    starts with an underscore; cut in the middle where it would leave no room for the plot."""
    name = name if len(name) <= LONGEST else name[:24] + "\N{HORIZONTAL ELLIPSIS}" + name[25 - LONGEST :]
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")
