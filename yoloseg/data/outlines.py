"""Drawn shapes that are no polygons, as annotation tools store them, made into polygons."""

from __future__ import annotations

import numpy as np

CORNERS = 64  # of a circle: its area is right to 0.2 %


def ellipse(x: float, y: float, rx: float, ry: float, theta: float = 0.0) -> list[float]:
    """x0 y0 x1 y1 ... of an ellipse of CORNERS corners around (x, y); theta: radians from the x axis to the
    axis of rx, clockwise on the screen."""
    angle = np.arange(CORNERS) * (2 * np.pi / CORNERS)
    along, across = rx * np.cos(angle), ry * np.sin(angle)
    xs = x + along * np.cos(theta) - across * np.sin(theta)
    ys = y + along * np.sin(theta) + across * np.cos(theta)
    return np.stack([xs, ys], axis=1).ravel().tolist()


def rectangle(x0: float, y0: float, x1: float, y1: float) -> list[float]:
    """The four corners."""
    return [x0, y0, x1, y0, x1, y1, x0, y1]
