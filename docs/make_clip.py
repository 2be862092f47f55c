"""Makes the moving picture and the plot of tracks of the README from the built-in clips.

    python docs/make_clip.py --weights runs/train/best.keras

Writes docs/shapes_tracked.webp and docs/shapes_tracks.png. The network has not seen these clips.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import yoloseg
from yoloseg.data.shapes import load_shapes
from yoloseg.data.youtube_vis_writer import vis_document
from yoloseg.evaluation.vis_report import save_track_plot
from yoloseg.inference.predictor import Predictor
from yoloseg.inference.sources import Frame
from yoloseg.tracking import TrackerConfig
from yoloseg.tracking.clip import Follower
from yoloseg.tracking.vis_results import VisResults

HERE = Path(__file__).parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--clip", type=int, default=0, help="of the test split")
    parser.add_argument("--frames", type=int, default=72)
    options = parser.parse_args()
    dataset = load_shapes("test", clips=options.clip + 1, frames=options.frames)
    dataset.records = dataset.records[-options.frames :]
    model = yoloseg.load(options.weights)
    follower = Follower(Predictor(model), TrackerConfig())
    pictures = []
    with VisResults(range(1, len(model.classes) + 1)) as results:
        for frame, record in enumerate(dataset.records):
            tracks = follower(Frame("clip", record.read_image(), frame))
            results.add(1, frame, tracks)
            pictures.append(Image.fromarray(np.ascontiguousarray(tracks.draw())))
        found = list(results)
    animation = {"save_all": True, "append_images": pictures[1:], "duration": 80, "loop": 0}
    pictures[0].save(HERE / "shapes_tracked.webp", quality=60, **animation)
    truth, _ = vis_document(dataset)
    names = {one["id"]: one["name"] for one in truth["categories"]}
    save_track_plot({"ground truth": truth["annotations"], "found": found}, names, HERE / "shapes_tracks.png")


if __name__ == "__main__":
    main()
