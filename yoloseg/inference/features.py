"""What the network sees: its maps for one picture, level by level (the YOLOv4+1 report's figure 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import keras
import numpy as np

from yoloseg.data.letterbox import letterbox
from yoloseg.inference.drawing import grid
from yoloseg.modeling.sizes import SIZES

if TYPE_CHECKING:
    from yoloseg.modeling.network import YoloSeg

# Rows of the sheet, finest level first: layers whose outputs are the maps of that name. last: the number of
# the last convolution where the neck mixes two maps.
MAPS = {
    "backbone": {f"C{i}": f"csp{i}_merge_act" for i in (2, 3, 4, 5)},
    "top-down": {f"P{i}": f"P{i}_mix{{last}}_act" for i in (2, 3, 4)} | {"P5": "spp_out2_act"},
    "bottom-up": {"N2": "P2_mix{last}_act"} | {f"N{i}": f"N{i}_mix{{last}}_act" for i in (3, 4, 5)},
    "embedding": {f"E{i}": f"P{i}_embedding" for i in (2, 3, 4, 5)},
}


class FeatureMaps:
    """Calls give every map of MAPS for one picture."""

    def __init__(self, model: YoloSeg):
        last = 2 * SIZES[model.size].neck_pairs
        layers = {name: layer.format(last=last) for row in MAPS.values() for name, layer in row.items()}
        outputs = {name: model.network.get_layer(layer).output for name, layer in layers.items()}
        self.model = keras.Model(model.network.input, outputs)
        self.imgsz = model.imgsz

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """image: uint8 [H, W, 3] RGB of any size -> {"C2": float32 [h, w, channels], ...}, letterboxed."""
        found = self.model(letterbox(image, self.imgsz)[None].astype("float32"), training=False)
        return {name: keras.ops.convert_to_numpy(value)[0] for name, value in found.items()}


def draw_features(image: np.ndarray, maps: dict[str, np.ndarray], imgsz: tuple[int, int]) -> np.ndarray:
    """uint8 RGB sheet: the letterboxed picture, then rows of maps, each the mean magnitude of its channels,
    from the map's least (dark) to its largest (bright) value."""
    picture = letterbox(image, imgsz)
    tiles, captions = [picture] * len(next(iter(MAPS.values()))), ["picture", "", "", ""]
    tiles[1:] = [np.full_like(picture, 64)] * (len(tiles) - 1)
    for row, names in MAPS.items():
        for name in names:
            values = np.abs(maps[name]).mean(-1)
            low, high = float(values.min()), float(values.max())
            scaled = (255 * (values - low) / max(high - low, 1e-9)).astype(np.uint8)
            large = cv2.resize(scaled, (imgsz[1], imgsz[0]), interpolation=cv2.INTER_NEAREST)
            tiles.append(cv2.cvtColor(cv2.applyColorMap(large, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB))
            height, width, channels = maps[name].shape
            captions.append(f"{row} {name}: {height} x {width} x {channels}")
    return grid(tiles, 4, captions, longest_side=320)
