"""Darknet's weights: header, values and their order, broken files, files into size `l` and back."""

import struct
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent / "references"))
from darknet_graphs import random_weights, yolov4, yolov4_tiny

import yoloseg
import yoloseg.darknet
from yoloseg.darknet.places import yolov4_places
from yoloseg.darknet.transfer import _recognised
from yoloseg.darknet.variables import read_values
from yoloseg.darknet.weights import Convolution, Header, WeightsFile, read_header, write_weights
from yoloseg.errors import UsageError, WeightsError
from yoloseg.modeling.network import YoloSeg

SIDE = 64
ANCHORS = [[(16.0, 16.0)]] * 4


def tiny(folder, classes=2, name="tiny"):
    """cfg and weights of a narrow YOLOv4-tiny."""
    graph = yolov4_tiny(SIDE, SIDE, classes, narrow=8)
    cfg, weights = folder / f"{name}.cfg", folder / f"{name}.weights"
    cfg.write_text(str(graph))
    weights.write_bytes(random_weights(graph))
    return cfg, weights


@pytest.mark.parametrize(
    "version, wide",
    [((0, 1, 0), False), ((0, 2, 0), True), ((0, 2, 5), True), ((1, 0, 0), True), ((2000, 0, 0), False)],
)
def test_header(version, wide, tmp_path):
    path = tmp_path / "x.weights"
    seen = (5 << 32) + 7 if wide else 7
    path.write_bytes(struct.pack("<3i", *version) + struct.pack("<Q" if wide else "<I", seen) + b"\0" * 8)
    assert read_header(path) == Header(*version, seen)
    assert WeightsFile(path).count == 2
    assert read_header(path).to_bytes() == path.read_bytes()[:-8]


def test_order(tmp_path):
    """bias, scale, mean, variance, weights [out, in, k, k]; then a convolution without norm."""
    values = np.arange(1, 4 * 2 + 2 * 3 * 9 + 2 + 4 + 1, dtype=np.float32)
    path = tmp_path / "x.weights"
    path.write_bytes(Header().to_bytes() + values.tobytes())
    file = WeightsFile(path)
    first = file.convolution(Convolution("a", 2, 3, 3))
    second = file.convolution(Convolution("b", 2, 2, 1, normalised=False))
    file.finish("b")
    names = ("bias", "scale", "mean", "variance")
    assert [list(first[name]) for name in names] == [[1, 2], [3, 4], [5, 6], [7, 8]]
    np.testing.assert_array_equal(first["weights"], values[8:62].reshape(2, 3, 3, 3))
    assert list(second["bias"]) == [63, 64] and second["weights"].shape == (2, 2, 1, 1)
    assert not first["weights"].flags.writeable


@given(st.lists(st.tuples(*[st.integers(1, 4)] * 3, st.booleans()), max_size=4), st.integers(0, 2**63))
def test_written_is_read(tmp_path_factory, sizes, seen):
    path = tmp_path_factory.mktemp("x") / "x.weights"
    rng = np.random.default_rng(0)
    written = []
    for number, size in enumerate(sizes):
        convolution = Convolution(f"conv_{number}", *size)
        values = {name: rng.random(shape, np.float32) for name, shape in convolution.parts.items()}
        written.append((convolution, values))
    write_weights(path, written, Header(seen=seen))
    file = WeightsFile(path)
    assert file.header.seen == seen and file.count == sum(one.floats for one, _ in written)
    for convolution, values in written:
        for name, array in file.convolution(convolution).items():
            np.testing.assert_array_equal(array, values[name])
    file.finish("last")


def test_refused_to_write(tmp_path):
    path = tmp_path / "x.weights"
    convolution = Convolution("conv_7", 1, 1, 1, normalised=False)
    values = {"bias": np.zeros(1), "weights": np.full((1, 1, 1, 1), np.nan)}
    with pytest.raises(WeightsError, match="conv_7 weights are not finite"):
        write_weights(path, [(convolution, values)])
    with pytest.raises(WeightsError, match=r"conv_7 bias must be \(1,\), not \(2,\)"):
        write_weights(path, [(convolution, values | {"bias": np.zeros(2)})])
    assert not list(tmp_path.iterdir())


def test_round_trip(tmp_path):
    cfg, weights = tiny(tmp_path)
    detector = yoloseg.darknet.load(cfg, weights)
    detector.save(tmp_path / "again.weights")
    assert (tmp_path / "again.weights").read_bytes() == weights.read_bytes()


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    """A detector, its weights file, and their bytes."""
    cfg, weights = tiny(tmp_path_factory.mktemp("held"))
    return yoloseg.darknet.load(cfg, weights), weights.read_bytes()


HEADER = 20
BROKEN = {
    "missing": (None, "no such weights file"),
    "empty": (lambda data: b"", "is empty"),
    "header": (lambda data: data[:14], "has 14 bytes, less than a header"),
    "half of seen": (lambda data: data[:18], "has 18 bytes, less than a header"),
    "nothing after it": (lambda data: data[:HEADER], "conv_0 needs 124 floats .* 0 of 0 are left"),
    "within a float": (lambda data: data[:-1], "are no whole floats"),
    "git lfs": (lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "pointer of Git"),
    "page": (lambda data: b"\n<!DOCTYPE html><html>Not found</html>", "is a web page"),
    "zip": (lambda data: b"PK\3\4" + data, "does not begin with a version of Darknet"),
    "text": (lambda data: b"[net]\nwidth=416\nheight=416\n", "does not begin with a version"),
    "truncated": (lambda data: data[:-4], "conv_36 needs 693 floats .* 692 of [0-9,]+ are left"),
    "half": (lambda data: data[: 20 + len(data) // 8 * 4], "ends too early: conv_"),
    "too long": (lambda data: data + b"\0" * 8, "too long: 2 of .* left after the last layer, conv_36"),
    "nan": (
        lambda data: data[:-8] + struct.pack("<2f", np.nan, np.inf),
        "2 of the 672 floats of conv_36 weights are not finite",
    ),
    "variance": (
        lambda data: data[: HEADER + 48] + struct.pack("<f", -3) + data[HEADER + 52 :],
        "conv_0 has a rolling variance of -3, below 0",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken(case, held, tmp_path):
    """Each is refused with what is wrong."""
    detector, data = held
    change, message = BROKEN[case]
    path = tmp_path / "x.weights"
    if change:
        path.write_bytes(change(data))
    with pytest.raises(WeightsError, match=f"x.weights: .*{message}"):
        read_values(detector.plan, path)


@pytest.mark.parametrize("classes", [1, 5, 80])
def test_other_number_of_classes(classes, held, tmp_path):
    _, weights = tiny(tmp_path, classes)
    cfg = tmp_path / "two.cfg"
    cfg.write_text(str(yolov4_tiny(SIDE, SIDE, 2, narrow=8)))
    advice = f"with {classes} classes, the cfg has 2: set classes={classes} .* filters={3 * (5 + classes)} "
    with pytest.raises(WeightsError, match=advice):
        yoloseg.darknet.load(cfg, weights)


def test_other_cfg(tmp_path):
    _, weights = tiny(tmp_path)
    cfg = tmp_path / "big.cfg"
    cfg.write_text(str(yolov4(SIDE, SIDE, 2, narrow=8)))
    with pytest.raises(WeightsError, match="ends too early: conv_[0-9]+ .* of another cfg$"):
        yoloseg.darknet.load(cfg, weights)


def test_beside(tmp_path):
    """`yoloseg.load` takes the cfg and names of the same name."""
    cfg, weights = tiny(tmp_path)
    names = tmp_path / "tiny.names"
    assert yoloseg.load(weights).classes == ("class 0", "class 1")
    names.write_text("cat\n\ndog \n")
    assert yoloseg.load(weights).classes == ("cat", "dog")
    names.write_text("cat\n")
    with pytest.raises(WeightsError, match="tiny.names: has 1 class names, .*classes=2"):
        yoloseg.load(weights)
    names.write_bytes(b"\xff\xfe")
    with pytest.raises(WeightsError, match="tiny.names: is no file of class names"):
        yoloseg.load(weights)
    cfg.rename(tmp_path / "other.cfg")
    with pytest.raises(WeightsError, match="put it beside them as .*tiny.cfg"):
        yoloseg.load(weights)
    with pytest.raises(WeightsError, match="no such weights file"):
        yoloseg.load(tmp_path / "none.weights")
    with pytest.raises(UsageError, match="3 class names are given"):
        yoloseg.darknet.load(tmp_path / "other.cfg", weights, ["a", "b", "c"])


def floats(layer, filters=255):
    return sum(place.stored.floats for place in yolov4_places(filters) if place.layer <= layer)


def test_recognised_by_floats():
    assert len(_recognised(floats(104))) == 72
    assert len(_recognised(floats(104) + 1000 * 1025)) == 72  # csdarknet53-omega with its classifier
    assert len(_recognised(floats(116))) == 78
    assert len(_recognised(floats(136))) == 92  # yolov4.conv.137
    assert floats(161) == 64_429_405
    for classes in (1, 2, 80, 365):
        places = _recognised(floats(161, 3 * (5 + classes)))
        assert len(places) == 110 and places[-1].stored.filters == 3 * (5 + classes)
    for count in (0, floats(103), floats(104) + 1, floats(161) + 1, floats(161) - 1, floats(161, 257)):
        assert _recognised(count) is None


@pytest.fixture(scope="module")
def backbone_file(tmp_path_factory):
    """Backbone alone, and its values by layer of the cfg."""
    path = tmp_path_factory.mktemp("l") / "csdarknet53.conv.105"
    rng = np.random.default_rng(0)
    written = [
        (place.stored, {name: rng.random(shape, np.float32) for name, shape in place.stored.parts.items()})
        for place in yolov4_places()[:72]
    ]
    write_weights(path, written)
    return path, written


def test_into_l_and_back(backbone_file, tmp_path):
    """The backbone's values, bit by bit; all other layers keep theirs, and are listed with the reason."""
    path, written = backbone_file
    model = YoloSeg("l", ["thing"], ANCHORS)
    kept = model.network.get_layer("spp_in0_conv").get_weights()[0]
    report = yoloseg.darknet.load_into(model, path)
    assert len(report.loaded) == 144 and report.loaded[:2] == ("stem_conv", "stem_bn")
    left = dict(report.left)
    assert len(left) + 144 == sum(
        bool(layer.weights) for part in (model.network, model.mask_subnet) for layer in part.layers
    )
    assert left["spp_in0_conv"] == "is layer 105 of YOLOv4, the file ends after 104"
    assert left["N5_mix4_bn"] == "is layer 158 of YOLOv4, the file ends after 104"
    assert left["P4_predict_conv"] == "YOLOv4 has twice the filters here"
    assert left["P2_mix0_conv"] == left["N3_down_bn"] == left["mask1_conv"] == "YOLOv4 has no such layer"
    np.testing.assert_array_equal(model.network.get_layer("spp_in0_conv").get_weights()[0], kept)
    place, values = written[2]  # the shortcut's 1x1 comes before that of the residual path
    np.testing.assert_array_equal(
        model.network.get_layer("csp1_shortcut_conv").get_weights()[0],
        values["weights"].transpose(2, 3, 1, 0),
    )
    gamma, beta, mean, variance = model.network.get_layer("csp1_shortcut_bn").get_weights()
    for one, name in ((gamma, "scale"), (beta, "bias"), (mean, "mean"), (variance, "variance")):
        np.testing.assert_array_equal(one, values[name])
    yoloseg.darknet.save(model, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()

    before = model.network.get_weights()
    damaged = tmp_path / "damaged"
    damaged.write_bytes(path.read_bytes()[:-4] + struct.pack("<f", np.nan))
    with pytest.raises(WeightsError, match=r"1 of .* conv_104 \(csp5_merge\) weights are not finite"):
        yoloseg.darknet.load_into(model, damaged)
    damaged.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(WeightsError, match=r"end in conv_104 \(csp5_merge\): 1,052,672 floats needed, "):
        yoloseg.darknet.load_into(model, damaged)
    for old, new in zip(before, model.network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    with pytest.raises(UsageError, match="until must be a layer of YOLOv4's cfg, 0 to 161, not 162"):
        yoloseg.darknet.load_into(model, path, until=162)
    report = yoloseg.darknet.load_into(model, damaged, until=10)  # of another network after that
    assert len(report.loaded) == 16
    assert dict(report.left)["csp2_down_conv"] == "is layer 11 of YOLOv4, after layer 10"


def test_other_sizes(backbone_file):
    path, _ = backbone_file
    model = YoloSeg("n", ["thing"], ANCHORS)
    with pytest.raises(UsageError, match="has size 'n'; YOLOv4's weights fit size 'l' alone"):
        yoloseg.darknet.load_into(model, path)
    with pytest.raises(UsageError, match="fit size 'l' alone"):
        yoloseg.darknet.save(model, path.with_name("never"))
    assert not path.with_name("never").exists()


def test_saved_by_keras(held, tmp_path):
    """The network is a plain model: `.keras` brings it back, and it gives the same."""
    detector, _ = held
    detector.network.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    image = np.random.default_rng(0).random((1, SIDE, SIDE, 3), np.float32)
    for one, other in zip(detector.network(image), again(image), strict=True):
        np.testing.assert_array_equal(one, other)
