import cv2
import numpy as np
import pytest

from yoloseg import predict
from yoloseg.inference.features import MAPS, FeatureMaps, draw_features
from yoloseg.modeling.network import YoloSeg, save_model


@pytest.fixture(scope="module")
def model():
    anchors = [[[8 * 2**level, 8 * 2**level]] for level in range(4)]
    return YoloSeg("n", ("a", "b"), anchors, (64, 96))


def test_maps_have_the_strides_of_their_levels(model):
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    maps = FeatureMaps(model)(image)
    assert sorted(maps) == sorted(name for row in MAPS.values() for name in row)
    for name, values in maps.items():
        stride = 2 ** int(name[1])
        assert values.shape[:2] == (64 // stride, 96 // stride) and np.isfinite(values).all()
    # they are the maps that the heads are fed from
    assert maps["E2"].shape[2] == 32
    outputs = model(predict_input(image))
    np.testing.assert_allclose(maps["E4"], np.asarray(outputs["P4"]["embedding"])[0], atol=1e-4)


def predict_input(image):
    from yoloseg.data.letterbox import letterbox

    return letterbox(image, (64, 96))[None].astype("float32")


def test_sheet_is_bright_where_the_map_is_large():
    maps = {name: np.zeros((4, 6, 2), np.float32) for row in MAPS.values() for name in row}
    maps["C2"][0, 0] = -5.0  # magnitude counts, not sign
    sheet = draw_features(np.zeros((64, 96, 3), np.uint8), maps, (64, 96))
    top = 4 + 64 + 22 + 4 + 22  # the second row of tiles
    tile = sheet[top : top + 64, 4 : 4 + 96].astype(int)
    assert tile[4, 4].sum() > tile[60, 90].sum() + 200


def test_command(model, tmp_path, capsys):
    save_model(model, tmp_path / "w.keras")
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "a.png"), np.full((40, 60, 3), 90, np.uint8))
    flags = ["--weights", str(tmp_path / "w.keras"), "--source", str(tmp_path / "in"), "--features"]
    assert predict.main([*flags, "--out", str(tmp_path / "out")]) == 0
    assert cv2.imread(str(tmp_path / "out" / "a.png")).shape[1] > 4 * 90
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 64))
    for _ in range(2):
        writer.write(np.zeros((64, 64, 3), np.uint8))
    writer.release()
    flags[3] = str(tmp_path / "v.avi")
    assert predict.main([*flags, "--out", str(tmp_path / "out")]) == 2
    assert "not videos" in capsys.readouterr().err
