"""Two pictures with four instances, written in every format that is read: what tests of readers share.

`write(format, folder)` writes the set and a data file; `expected_masks()` are its instances, whatever the
format. Writers are the test's own, from the formats' descriptions.
"""

import base64
import io
import json

import numpy as np
from PIL import Image
from pycocotools import mask as mask_utils

HEIGHT, WIDTH = 40, 60
CLASSES = ("cat", "dog")
# (picture, class, polygon); no two overlap, so that they can stand in one label image
OBJECTS = (
    (0, 0, [4, 4, 24, 6, 20, 30, 6, 28]),
    (0, 1, [30, 10, 55, 10, 55, 35, 30, 35]),
    (1, 1, [2, 2, 30, 2, 30, 20, 2, 20]),
    (1, 0, [35, 20, 58, 22, 40, 38]),
)


def picture(number):
    rng = np.random.default_rng(number)
    return np.kron(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8), np.ones((10, 10, 1), np.uint8))


def mask(number):
    """bool [40, 60] of OBJECTS[number], by pycocotools."""
    return mask_utils.decode(mask_utils.frPyObjects([OBJECTS[number][2]], HEIGHT, WIDTH))[..., 0] > 0


def rle(number):
    """Compressed, as JSON has it."""
    found = mask_utils.encode(np.asfortranarray(mask(number).astype(np.uint8)))
    return {"size": [HEIGHT, WIDTH], "counts": found["counts"].decode()}


def save_pictures(folder, names=("a.png", "b.png")):
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number)).save(path)


def points(polygon):
    return [list(map(float, point)) for point in zip(polygon[::2], polygon[1::2], strict=True)]


def write_coco(folder):
    """As an annotation tool exports: the file beside the pictures, an unused heading, gaps between ids."""
    save_pictures(folder / "train")
    content = {
        "images": [
            {"id": n, "file_name": name, "height": HEIGHT, "width": WIDTH}
            for n, name in enumerate(("a.png", "b.png"))
        ],
        "annotations": [
            {
                "id": n,
                "image_id": number,
                "category_id": (3, 7)[kind],
                "segmentation": [list(map(float, polygon))] if n else rle(n),
            }
            for n, (number, kind, polygon) in enumerate(OBJECTS)
        ],
        "categories": [
            {"id": 0, "name": "pets", "supercategory": "none"},
            {"id": 3, "name": "cat", "supercategory": "pets"},
            {"id": 7, "name": "dog", "supercategory": "pets"},
        ],
    }
    (folder / "train" / "_annotations.coco.json").write_text(json.dumps(content))
    return "train: train\n"


def write_lvis(folder):
    """Three classes, of which the first picture does not show the third; pictures are found by coco_url."""
    save_pictures(folder / "coco", ("train2017/000000000001.png", "val2017/000000000002.png"))
    url = "http://images.cocodataset.org/"

    def known(absent, partly):
        return {"neg_category_ids": absent, "not_exhaustive_category_ids": partly}

    content = {
        "images": [
            {"id": n, "coco_url": f"{url}{place}", "height": HEIGHT, "width": WIDTH} | lists
            for n, place, lists in (
                (1, "train2017/000000000001.png", known([9], [2])),
                (2, "val2017/000000000002.png", known([], [])),
            )
        ],
        "annotations": [
            {
                "id": n + 1,
                "image_id": number + 1,
                "category_id": (2, 5)[kind],
                "segmentation": [list(map(float, polygon))],
                "area": float(mask(n).sum()),
            }
            for n, (number, kind, polygon) in enumerate(OBJECTS)
        ],
        "categories": [
            {"id": 2, "name": "cat", "frequency": "f", "synset": "cat.n.01"},
            {"id": 5, "name": "dog", "frequency": "c", "synset": "dog.n.01"},
            {"id": 9, "name": "zebra", "frequency": "r", "synset": "zebra.n.01"},
        ],
    }
    (folder / "lvis_v1.json").write_text(json.dumps(content))
    return "train: {annotations: lvis_v1.json, images: coco}\n"


def write_yolo(folder):
    save_pictures(folder / "train" / "images")
    texts = ["", ""]
    for number, kind, polygon in OBJECTS:
        sides = [WIDTH, HEIGHT] * (len(polygon) // 2)
        values = " ".join(f"{v / s:.6f}" for v, s in zip(polygon, sides, strict=True))
        texts[number] += f"{kind} {values}\n"
    (folder / "train" / "labels").mkdir(parents=True)
    for name, text in zip("ab", texts, strict=True):
        (folder / "train" / "labels" / f"{name}.txt").write_text(text)
    return "train: ../train/images\nnc: 2\nnames: [cat, dog]\n"


def label_image(number, values):
    """int32 [40, 60]: values[n] where OBJECTS[n] of picture `number` is."""
    labels = np.zeros((HEIGHT, WIDTH), np.int32)
    for n, one in enumerate(OBJECTS):
        if one[0] == number:
            labels[mask(n)] = values[n]
    return labels


def save_labels(path, labels, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode == "P":
        image = Image.fromarray(labels.astype(np.uint8), "P")
        image.putpalette(list(range(256)) * 3)
    else:
        image = Image.fromarray(labels.astype(np.uint16 if mode == "I;16" else np.uint8))
    image.save(path)


def write_label_images(folder):
    save_pictures(folder / "photographs")
    for number, name in enumerate(("a.png", "b.png")):
        labels = label_image(number, (1, 2, 200, 254))
        labels[0] = 255  # ignored
        save_labels(folder / "ids" / name, labels, mode="P")
        save_labels(folder / "kinds" / name, label_image(number, [one[1] + 1 for one in OBJECTS]))
    entry = "{images: photographs, instances: ids, semantic: kinds}"
    return f"names: {{1: cat, 2: dog}}\ntrain: {entry}\n"


def write_davis(folder):
    """Objects of both frames share track ids; there are no classes."""
    save_pictures(folder / "JPEGImages" / "480p" / "pets", ("00000.png", "00001.png"))
    for number in (0, 1):
        path = folder / "Annotations" / "480p" / "pets" / f"0000{number}.png"
        save_labels(path, label_image(number, (1, 2, 2, 1)), mode="P")
    return "train: {root: .}\n"


def write_youtube_vis(folder):
    """One clip of two frames, two tracks."""
    save_pictures(folder / "frames" / "pets", ("00000.png", "00001.png"))
    files = ["pets/00000.png", "pets/00001.png"]
    video = {"id": 5, "width": WIDTH, "height": HEIGHT, "length": 2, "file_names": files}
    tracks = [(11, 1, rle(0), rle(3)), (12, 2, rle(1), rle(2))]
    content = {
        "videos": [video],
        "annotations": [
            {"id": track, "video_id": 5, "category_id": category, "segmentations": [first, second]}
            for track, category, first, second in tracks
        ]
        + [{"id": 13, "video_id": 5, "category_id": 1, "segmentations": [None, None]}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    (folder / "instances.json").write_text(json.dumps(content))
    return "train: {annotations: instances.json, images: frames}\n"


def write_wad(folder):
    """Class 33 (car) stands for the cat, 36 (person) for the dog; 161 is a group of cars."""
    save_pictures(folder / "color", ("a.jpg", "b.jpg"))
    for number, name in enumerate("ab"):
        labels = label_image(number, (33000, 36001, 36000, 33004))
        labels[39, 59] = 161 * 255
        save_labels(folder / "label" / f"{name}_instanceIds.png", labels, mode="I;16")
    return "train: {format: wad, images: color, labels: label}\n"


def write_via(folder):
    """One rectangle as such; version 2, exported."""
    save_pictures(folder / "pictures")
    content = {}
    for number, name in enumerate(("a.png", "b.png")):
        regions = []
        for n, (own, kind, polygon) in enumerate(OBJECTS):
            if own != number:
                continue
            shape = {"name": "polygon", "all_points_x": polygon[::2], "all_points_y": polygon[1::2]}
            if n == 2:
                shape = {"name": "rect", "x": 2, "y": 2, "width": 28, "height": 18}
            regions.append({"shape_attributes": shape, "region_attributes": {"kind": CLASSES[kind]}})
        content[f"{name}123"] = {"filename": name, "size": 123, "regions": regions, "file_attributes": {}}
    (folder / "via.json").write_text(json.dumps(content))
    return "train: {annotations: via.json, images: pictures}\n"


def write_labelme(folder):
    """A polygon, a rectangle, a mask."""
    save_pictures(folder / "labelled")
    for number, name in enumerate("ab"):
        shapes = []
        for n, (own, kind, polygon) in enumerate(OBJECTS):
            if own != number:
                continue
            shape = {"label": CLASSES[kind], "points": points(polygon), "shape_type": "polygon"}
            if n == 1:
                shape |= {"points": [[55, 35], [30, 10]], "shape_type": "rectangle"}
            if n == 3:
                ys, xs = np.nonzero(mask(n))
                part = mask(n)[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
                stream = io.BytesIO()
                Image.fromarray(part.astype(np.uint8)).save(stream, "PNG")  # 0 and 1, as labelme does
                corners = [[int(xs.min()), int(ys.min())], [int(xs.max()), int(ys.max())]]
                shape |= {"points": corners, "shape_type": "mask"}
                shape["mask"] = base64.b64encode(stream.getvalue()).decode()
            shapes.append(shape)
        size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
        content = {"version": "5.5.0", "shapes": shapes, "imagePath": f"{name}.png", "imageData": None} | size
        (folder / "labelled" / f"{name}.json").write_text(json.dumps(content))
    return "train: {annotations: labelled}\n"


WRITERS = {
    "coco": write_coco,
    "lvis": write_lvis,
    "yolo": write_yolo,
    "label-images": write_label_images,
    "davis": write_davis,
    "youtube-vis": write_youtube_vis,
    "wad": write_wad,
    "via": write_via,
    "labelme": write_labelme,
}


def write(format, folder):
    """Writes the set; returns the path of its data file, whose split is `train`."""
    path = folder / "data.yaml"
    text = WRITERS[format](folder)
    path.write_text(text + text.replace("train:", "val:", 1).split("\nnames", 1)[0].split("\nnc", 1)[0])
    return path
