"""Makes trackeval_reference.json: HOTA, DetA, AssA, IDF1 and switches of random sets by TrackEval.

It is not a requirement of the tests, because it asks for opencv-python, which overwrites the files of
opencv-python-headless:

    pip install --no-deps trackeval==1.3.0
    python tests/references/make_trackeval_reference.py
"""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from random_tracks import iou_of, random_vis, read  # noqa: E402
from trackeval.metrics import CLEAR, HOTA, Identity  # noqa: E402

SEEDS = range(500, 530)


def sequence(truths, found, frames):
    """One class of a clip in TrackEval's form; tracks that are never seen are left out."""
    parts = [[one["masks"] for one in part if any(m.any() for m in one["masks"])] for part in (truths, found)]
    data = {"gt_ids": [], "tracker_ids": [], "similarity_scores": []}
    for frame in range(frames):
        seen = [[k for k, masks in enumerate(part) if masks[frame].any()] for part in parts]
        for key, own in zip(("gt_ids", "tracker_ids"), seen, strict=True):
            data[key].append(np.array(own, int))
        scores = [[iou_of(parts[0][g][frame], parts[1][d][frame]) for d in seen[1]] for g in seen[0]]
        data["similarity_scores"].append(np.array(scores, float).reshape(len(seen[0]), len(seen[1])))
    counts = [sum(map(len, data[key])) for key in ("gt_ids", "tracker_ids")]
    numbers = {"num_timesteps": frames, "num_gt_ids": len(parts[0]), "num_tracker_ids": len(parts[1])}
    return data | numbers | {"num_gt_dets": counts[0], "num_tracker_dets": counts[1]}


def main():
    quiet = {"PRINT_CONFIG": False}
    metrics = HOTA(), Identity(quiet), CLEAR(quiet)
    reference = {}
    for seed in SEEDS:
        ground_truth, results = random_vis(seed, clips=3, frames=6, classes=2, size=(20, 60), most=6)
        for annotation in ground_truth["annotations"]:
            annotation["iscrowd"] = 0
        results = [result for result in results if result["score"] >= 0.2]
        tracks, classes = read(ground_truth, results), {}
        for category in ground_truth["categories"]:
            per_clip = [
                {
                    clip: metric.eval_sequence(sequence(*own, 6))
                    for (clip, kind), own in tracks.items()
                    if kind == category["id"]
                }
                for metric in metrics
            ]
            if not any(kind == category["id"] and own[0] for (_, kind), own in tracks.items()):
                continue
            hota, identity, clear = (
                metric.combine_sequences(own) for metric, own in zip(metrics, per_clip, strict=True)
            )
            if not clear["CLR_TP"] + clear["CLR_FN"]:
                continue  # objects that are never seen
            values = [hota[key].mean() for key in ("HOTA", "DetA", "AssA")]
            classes[category["name"]] = [float(v) for v in (*values, identity["IDF1"], clear["IDSW"])]
        reference[str(seed)] = classes
    path = Path(__file__).with_name("trackeval_reference.json")
    path.write_text(json.dumps(reference, indent=1) + "\n")


if __name__ == "__main__":
    main()
