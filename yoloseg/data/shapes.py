"""`shapes`: the built-in data, made on the fly, so that training needs nothing but the package.

Textured shapes move, turn, grow, shrink, cover each other and leave the picture over textured backgrounds. It
is video: the frames of a clip share their objects, and annotations carry track ids. Shape tells the class;
nine of ten objects also have their class's colour, the other colours and all textures are random. Classes
are long-tailed in frequency and differ in size (`shapes_scene.CLASSES`).

Everything is a pure function of (seed, split, clip, frame, height, width): records hold masks, pictures are
rendered when they are read, with the same bytes every time and in any order. The random numbers are the same
with every version of NumPy; another build of OpenCV may round a colour or the rim of a shape differently.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask

from yoloseg.data.records import Annotation, Dataset, Record
from yoloseg.data.shapes_render import render_labels, render_picture
from yoloseg.data.shapes_scene import CLASSES, OBJECTS_PER_CLIP, SPLITS, make_scene
from yoloseg.errors import UsageError

CLIPS = {"train": 240, "val": 40, "test": 40}
FRAMES = {"train": 5, "val": 3, "test": 3}
LEAST_VISIBLE_PIXELS = 16  # an object of which less is seen is not annotated


@dataclass(frozen=True)
class RenderedFrame:
    """A `Record.source` that renders the picture (a plain value, so that it travels to worker processes)."""

    seed: int
    split: str
    clip: int
    frame: int
    height: int
    width: int

    def __call__(self) -> np.ndarray:
        """uint8 [height, width, 3] RGB."""
        scene = make_scene(self.seed, self.split, self.clip, self.height, self.width)
        return render_picture(scene, self.frame)


def load_shapes(
    split: str,
    *,
    clips: int | None = None,
    frames: int | None = None,
    height: int = 240,
    width: int = 320,
    seed: int = 0,
) -> Dataset:
    """The built-in data as records, ordered by clip and frame.

    split: "train", "val" or "test"; no clip is in two of them. clips, frames: how many clips of how many
    frames (CLIPS and FRAMES of the split where None); other numbers give the same clips and frames, fewer or
    more of them. height, width: of the pictures, at least 64; sizes and speeds scale with the smaller.
    Annotations have the visible pixels as compressed RLE, their tight box and count, a track id (unique in
    the split) and a running annotation id from 1. Category ids are 1..8. Raises UsageError for anything else.
    """
    if split not in SPLITS:
        raise UsageError(f"shapes: there is no split {split!r}; use one of {', '.join(SPLITS)}")
    clips = CLIPS[split] if clips is None else clips
    frames = FRAMES[split] if frames is None else frames
    if clips < 1 or frames < 1:
        raise UsageError(f"shapes: {clips} clips of {frames} frames: take at least one clip of one frame")
    if min(height, width) < 64:
        raise UsageError(f"shapes: pictures of {width} x {height} are too small; make both sides 64 or more")
    if seed < 0:
        raise UsageError(f"shapes: seed {seed} is negative")
    records: list[Record] = []
    count = 0
    for clip in range(clips):
        for frame in range(frames):
            annotations = _annotate(seed, split, clip, frame, height, width, count + 1)
            count += len(annotations)
            records.append(
                Record(
                    image_id=len(records) + 1,
                    source=RenderedFrame(seed, split, clip, frame, height, width),
                    height=height,
                    width=width,
                    annotations=annotations,
                    frame_of=(f"{split}-{clip:04d}", frame),
                )
            )
    names = tuple(c.name for c in CLASSES)
    return Dataset(f"shapes-{split}", names, tuple(range(1, len(names) + 1)), records)


def _annotate(
    seed: int, split: str, clip: int, frame: int, height: int, width: int, first_id: int
) -> tuple[Annotation, ...]:
    """The annotations of one frame, farthest object first."""
    scene = make_scene(seed, split, clip, height, width)
    labels = render_labels(scene, frame)
    areas = np.bincount(labels.ravel(), minlength=len(scene.objects) + 1)[1:]
    seen = np.flatnonzero(areas >= LEAST_VISIBLE_PIXELS)
    masks = np.empty((height, width, len(seen)), np.uint8, order="F")
    for column, k in enumerate(seen):
        np.equal(labels, k + 1, out=masks[:, :, column].view(bool))
    rles = coco_mask.encode(masks)
    annotations = []
    for number, (k, rle) in enumerate(zip(seen, rles, strict=True)):
        x, y, w, h = coco_mask.toBbox(rle)
        annotations.append(
            Annotation(
                class_index=scene.objects[k].class_index,
                segmentation=rle,
                box=(float(x), float(y), float(x + w), float(y + h)),
                area=float(areas[k]),
                annotation_id=first_id + number,
                track_id=int(clip * OBJECTS_PER_CLIP[1] + k + 1),
            )
        )
    return tuple(annotations)
