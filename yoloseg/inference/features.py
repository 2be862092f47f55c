"""What the network sees: its maps for one picture, level by level (the YOLOv4+1 report's figure 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import keras
import numpy as np

from yoloseg.data.letterbox import letterbox
from yoloseg.inference.drawing import grid

if TYPE_CHECKING:
    from yoloseg.modeling.network import YoloSeg

# Rows of the sheet, finest level first: layers whose outputs are the maps of that name.
MAPS = {
    "backbone": {f"C{i}": f"csp{i}_merge_act" for i in (2, 3, 4)} | {"C5": "spp_out2_act"},
    "top-down": {"P2": "P2_mix4_act", "P3": "P3_mix4_act", "P4": "P4_mix4_act", "P5": "spp_out2_act"},
    "bottom-up": {"N2": "P2_mix4_act", "N3": "N3_mix4_act", "N4": "N4_mix4_act", "N5": "N5_mix4_act"},
    "embedding": {f"E{i}": f"P{i}_embedding" for i in (2, 3, 4, 5)},
}


class FeatureMaps:
    """Calls give every map of MAPS for one picture."""

    def __init__(self, model: YoloSeg):
        layers = sorted({name for row in MAPS.values() for name in row.values()})
        outputs = {name: model.network.get_layer(name).output for name in layers}
        self.model = keras.Model(model.network.input, outputs)
        self.imgsz = model.imgsz

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """image: uint8 [H, W, 3] RGB of any size -> {"C2": float32 [h, w, channels], ...}, letterboxed."""
        found = self.model(letterbox(image, self.imgsz)[None].astype("float32"), training=False)
        maps = {name: keras.ops.convert_to_numpy(value)[0] for name, value in found.items()}
        return {name: maps[layer] for row in MAPS.values() for name, layer in row.items()}


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
