"""Runs a SavedModel that yoloseg exported on a picture or a video; needs tensorflow, numpy, OpenCV.

    python run_savedmodel.py FOLDER photo.jpg drawn.jpg
    python run_savedmodel.py FOLDER clip.mp4 drawn.mp4
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf


def load(folder):
    """(detect, names): detect takes uint8 [H, W, 3] RGB and gives arrays of N detections."""
    document = json.loads((Path(folder) / "assets.extra" / "metadata.json").read_text())
    if not document.get("masks", True):
        sys.exit(f"{folder} finds boxes alone: see yoloseg/inference/exported.py")
    model = tf.saved_model.load(folder)
    run = model.signatures["serving_default"]

    def detect(frame, model=model):  # holds the model, or its variables would be gone
        found = {name: value.numpy()[0] for name, value in run(frames=tf.constant(frame[None])).items()}
        count = found.pop("num_detections")
        return {name: value[:count] for name, value in found.items()}

    return detect, document["classes"]


def draw(frame, found, names):
    """Paints masks, boxes, names and scores into frame, uint8 [H, W, 3] BGR."""
    instances = zip(found["boxes"], found["scores"], found["classes"], found["masks"], strict=True)
    for box, score, kind, mask in instances:
        (x0, y0, x1, y1), cells = box.tolist(), mask.shape[0]
        across, down = (x1 - x0) / cells, (y1 - y0) / cells  # pixels of the frame a cell of the mask
        place = np.array([[across, 0, x0 + across / 2 - 0.5], [0, down, y0 + down / 2 - 0.5]])
        area = cv2.warpAffine(mask, place, frame.shape[1::-1], flags=cv2.INTER_LINEAR) >= 0.5
        colour = np.random.default_rng(int(kind)).integers(64, 256, 3)
        frame[area] = frame[area] // 2 + (colour // 2).astype(np.uint8)
        corners = [(round(x0), round(y0)), (round(x1), round(y1))]
        cv2.rectangle(frame, *corners, colour.tolist(), 2)
        text, at = f"{names[int(kind)]} {score:.2f}", (corners[0][0], max(corners[0][1] - 4, 12))
        cv2.putText(frame, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour.tolist(), 1)


def main(weights, source, target):
    detect, names = load(weights)
    frame = cv2.imread(source)
    if frame is not None:
        found = detect(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        draw(frame, found, names)
        if not cv2.imwrite(target, frame):
            sys.exit(f"cannot write {target}")
        for kind, score in zip(found["classes"], found["scores"], strict=True):
            print(f"{names[int(kind)]} {score:.3f}")
        return
    video, writer, count = cv2.VideoCapture(source), None, 0
    if not video.isOpened():
        sys.exit(f"{source} is neither a picture nor a video")
    while (read := video.read())[0]:
        frame = read[1]
        draw(frame, detect(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)), names)
        if writer is None:
            fps = video.get(cv2.CAP_PROP_FPS) or 25
            writer = cv2.VideoWriter(target, cv2.VideoWriter_fourcc(*"mp4v"), fps, frame.shape[1::-1])
            if not writer.isOpened():
                sys.exit(f"cannot write {target}")
        writer.write(frame)
        count += 1
    if writer is not None:
        writer.release()
    print(f"{count} frames")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
