"""Pictures of predictions and of ground truth: masks, boxes and labels by supervision's annotators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from yoloseg.data.lettering import font_for, writable

if TYPE_CHECKING:
    from yoloseg.data.samples import Sample

FONT = cv2.FONT_HERSHEY_SIMPLEX  # the font supervision's labels are written in; it has ASCII alone
FONT_PIXELS = 30  # of other fonts, whose capitals then are as high as FONT's at scale 1
SMALLEST_TEXT = 0.35  # of FONT: capitals 8 pixels high, the least one can read
LABELS_COVER = (
    0.12  # of the picture at most: in a crowd the best detections are labelled, the rest go by colour
)
SHEET_GREY = 64


def draw_instances(
    image: np.ndarray,
    boxes: np.ndarray,
    class_ids: np.ndarray,
    names: Sequence[str],
    scores: np.ndarray | None = None,
    mask_of: Callable[[int], np.ndarray] | None = None,
    opacity: float = 0.5,
) -> np.ndarray:
    """Draws N instances over a copy of a picture; colours go by class.

    image: uint8 [H, W, 3] RGB, left as it is. boxes: [N, 4] xyxy in its pixels. class_ids: int [N] (choose
    the colour). names: N label texts ("" for none). scores: [N], written behind the names where given.
    mask_of: i -> bool [H, W], asked for one instance at a time, so that a large picture never holds N masks
    (None: boxes and labels alone). Returns uint8 [H, W, 3] RGB. Lines and letters grow with the picture;
    letters never get smaller than can be read: in a small picture the labels are cut, and in a crowd only the
    best-scored (without scores, the largest) instances get one, so that labels do not hide what they name.
    Larger instances are drawn first, smaller ones over them. Where no font of the machine has the letters of
    a name, its label says "class 3" instead, with a warning.
    """
    import supervision as sv

    canvas = np.array(image, dtype=np.uint8, order="C")
    if len(boxes) == 0:
        return canvas
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    order = np.argsort(-sides.prod(axis=1), kind="stable")
    detections = sv.Detections(xyxy=boxes, class_id=np.asarray(class_ids, int))
    colours, ink = _palettes()
    short_side = min(canvas.shape[:2])
    if mask_of is not None:
        for i in order:
            colour = colours.by_idx(int(class_ids[i])).as_bgr()
            _paint(canvas, np.asarray(mask_of(int(i)), bool), colour, opacity)
    line = max(1, round(short_side / 240))
    canvas = sv.BoxAnnotator(color=colours, thickness=line).annotate(canvas, detections[order])
    scale = max(SMALLEST_TEXT, short_side / 1000)
    padding = max(2, round(8 * scale))
    best_first = order if scores is None else np.argsort(-np.asarray(scores), kind="stable")
    room = canvas.shape[1] - 2 * padding
    labels = {
        int(i): _label(
            writable(names[i], f"class {class_ids[i]}"),
            None if scores is None else float(scores[i]),
            scale,
            room,
        )
        for i in best_first
        if names[i]
    }
    labelled = _uncrowded(labels, scale, padding, LABELS_COVER * canvas.shape[0] * canvas.shape[1])
    common = {"color": colours, "text_color": ink, "text_padding": padding, "smart_position": True}
    for font, keys in _by_font(labels, labelled).items():
        if font is None:
            annotator = sv.LabelAnnotator(text_scale=scale, text_thickness=_pen(scale), **common)
        else:
            annotator = sv.RichLabelAnnotator(font_path=font, font_size=_pixels(scale), **common)
        canvas = annotator.annotate(canvas, detections[keys], [labels[i] for i in keys])
    return canvas


def _paint(canvas: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int], opacity: float) -> None:
    """Blends a colour over the mask: what supervision's MaskAnnotator does, a sixth of its time for a video
    (it goes over the whole picture for each mask)."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows):
        part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        under = np.ascontiguousarray(canvas[part])
        blended = cv2.addWeighted(np.full_like(under, colour), opacity, under, 1 - opacity, 0)
        canvas[part] = cv2.copyTo(blended, mask[part].astype(np.uint8), under)


def draw_sample(sample: Sample, classes: Sequence[str]) -> np.ndarray:
    """uint8 [H, W, 3] RGB: a sample's ground truth, drawn as predictions are; `classes` by class index."""
    height, width = sample.image.shape[:2]
    shown = sample.visible()
    return draw_instances(
        sample.image,
        np.array([box for _, box in shown], np.float32).reshape(-1, 4),
        np.array([one.class_index for one, _ in shown], int),
        [classes[one.class_index] + (" (crowd)" if one.crowd else "") for one, _ in shown],
        mask_of=lambda i: shown[i][0].rasterise(height, width).astype(bool),
    )


def grid(
    pictures: Sequence[np.ndarray],
    columns: int,
    captions: Sequence[str] | None = None,
    longest_side: int = 640,
) -> np.ndarray:
    """One contact sheet: pictures row by row, each fitted whole into an equal tile.

    pictures: uint8 [H, W, 3] RGB of any sizes, at least one. captions: a line over each picture.
    The tile holds the largest height and width among the pictures, shrunk to `longest_side`. Returns uint8
    RGB. Raises ValueError when there is no picture, no column, or not one caption a picture.
    """
    if not len(pictures) or columns < 1:
        raise ValueError(f"a contact sheet needs pictures and columns, got {len(pictures)} and {columns}")
    if captions is not None and len(captions) != len(pictures):
        raise ValueError(f"{len(captions)} captions for {len(pictures)} pictures")
    largest = np.max([picture.shape[:2] for picture in pictures], axis=0)
    tile_h, tile_w = np.maximum(1, np.round(largest * min(1.0, longest_side / largest.max()))).astype(int)
    gap, strip = 4, 0 if captions is None else 22
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    cell_h, cell_w = tile_h + strip + gap, tile_w + gap
    sheet = np.full((rows * cell_h + gap, columns * cell_w + gap, 3), SHEET_GREY, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = gap + number // columns * cell_h, gap + number % columns * cell_w
        if captions is not None:
            _write(sheet, _cut(writable(captions[number]), 0.45, tile_w), left, top, 0.45)
        fitted = _fit(picture, tile_h, tile_w)
        y = top + strip + (tile_h - fitted.shape[0]) // 2
        x = left + (tile_w - fitted.shape[1]) // 2
        sheet[y : y + fitted.shape[0], x : x + fitted.shape[1]] = fitted
    return sheet


def shrunk(picture: np.ndarray, longest_side: int) -> np.ndarray:
    """A picture for a `grid` of so many pixels, small enough to be kept until all are there."""
    return _fit(picture, *(min(side, longest_side) for side in picture.shape[:2]))


def _fit(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """The picture scaled, aspect kept, to the largest size that goes into height x width."""
    scale = min(height / picture.shape[0], width / picture.shape[1])
    if scale == 1:
        return picture
    size = [max(1, round(side * scale)) for side in (picture.shape[1], picture.shape[0])]
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _palettes() -> tuple:
    """supervision's palette and, colour by colour, black or white to write on it.

    The annotators write BGR; red and blue are swapped here because they draw on RGB pictures.
    """
    import supervision as sv

    shown = sv.ColorPalette.DEFAULT.colors
    luminance = [0.299 * c.r + 0.587 * c.g + 0.114 * c.b for c in shown]
    return (
        sv.ColorPalette([sv.Color(c.b, c.g, c.r) for c in shown]),
        sv.ColorPalette([sv.Color.BLACK if light > 140 else sv.Color.WHITE for light in luminance]),
    )


def _label(name: str, score: float | None, scale: float, room: int) -> str:
    """`name 0.87`; without the score, then cut short, where that is wider than `room` pixels."""
    full = name if score is None else f"{name} {score:.2f}"
    return full if _text_size(full, scale)[0] <= room else _cut(name, scale, room)


def _cut(text: str, scale: float, room: int) -> str:
    """As many leading letters as fit into `room` pixels, at least one."""
    while len(text) > 1 and _text_size(text, scale)[0] > room:
        text = text[:-1]
    return text


def _uncrowded(labels: dict[int, str], scale: float, padding: int, room: float) -> list[int]:
    """The first keys of `labels` whose labels together cover at most `room` pixels; one at least."""
    covered, kept = 0.0, []
    for i, label in labels.items():
        width, height = _text_size(label, scale)
        covered += (width + 2 * padding) * (height + 2 * padding)
        if covered > room and kept:
            break
        kept.append(i)
    return kept


def _by_font(labels: dict[int, str], keys: list[int]) -> dict[str | None, list[int]]:
    """`keys` by the font file that writes their labels, None for FONT: one for all where there is such."""
    letters = sorted(set("".join(labels[i] for i in keys)))
    if all(map(str.isascii, letters)):
        return {None: keys} if keys else {}
    if font := font_for("".join(letters)):
        return {font: keys}
    fonts: dict[str | None, list[int]] = {}
    for i in keys:
        fonts.setdefault(None if labels[i].isascii() else font_for(labels[i]), []).append(i)
    return fonts


def _text_size(text: str, scale: float) -> tuple[int, int]:
    """Width and height in pixels."""
    if text.isascii():
        return cv2.getTextSize(text, FONT, scale, _pen(scale))[0]
    left, top, right, bottom = _font(font_for(text), _pixels(scale)).getbbox(text)
    return int(right - left), int(bottom - top)


def _write(sheet: np.ndarray, text: str, left: int, top: int, scale: float) -> None:
    """White letters onto the sheet, 15 pixels under `top` the line they stand on."""
    if text.isascii():
        cv2.putText(sheet, text, (left, top + 15), FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)
        return
    from PIL import Image, ImageDraw

    font = _font(font_for(text), _pixels(scale))
    part = sheet[top : top + 22, left : left + _text_size(text, scale)[0] + 4]
    picture = Image.fromarray(part)
    ImageDraw.Draw(picture).text((0, 15), text, font=font, fill=(255, 255, 255), anchor="ls")
    part[:] = np.asarray(picture)


@cache
def _font(path: str, pixels: int):
    from PIL import ImageFont

    return ImageFont.truetype(path, pixels)


def _pixels(scale: float) -> int:
    return round(FONT_PIXELS * scale)


def _pen(scale: float) -> int:
    """Thickness of the letters' strokes in pixels."""
    return max(1, round(1.5 * scale))
