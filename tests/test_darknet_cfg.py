"""Darknet's cfg: what is read, the shapes that follow, and that what is wrong is named by line and layer."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent / "references"))
from darknet_graphs import TINY_ANCHORS, yolov4, yolov4_tiny

from yoloseg.darknet.cfg import parse_cfg, read_cfg
from yoloseg.darknet.places import BACKBONE_CONVOLUTIONS, yolov4_places
from yoloseg.darknet.plan import Maxpool, Route, Yolo, plan_of, read_plan
from yoloseg.darknet.variables import convolutions_of
from yoloseg.errors import UsageError, WeightsError, YolosegError

NET = "[net]\nwidth=64\nheight=32\nchannels=3\n"
CONV = "[convolutional]\nfilters=18\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
YOLO = "[yolo]\nmask=0,2\nanchors=1,2, 3,4, 5,6\nclasses=4\nnum=3\n"


def plan(text, imgsz=None):
    return plan_of(parse_cfg(text, "x.cfg"), imgsz)


def test_text():
    """Comments, spaces, capitals, repeated sections."""
    text = "# first\n\n [NET] ; yes\n width = 6 4\n;height=1\n height=32#no\n\n[Dropout]\n[dropout]\n"
    net, *layers = parse_cfg(text, "x.cfg")
    assert net.kind == "net" and net.line == 3 and net.index is None
    assert net.integer("width") == 64 and net.integer("height") == 32
    assert [(layer.kind, layer.index, layer.line) for layer in layers] == [
        ("dropout", 0, 8),
        ("dropout", 1, 9),
    ]


def test_numbers():
    section = parse_cfg("[net]\na=.5\nb=1e-3,\nc= -1, 2\nd=GreedyNMS\ne=1\ne=1\nf=1\nf=2\n", "x.cfg")[0]
    assert section.decimal("a") == 0.5
    assert section.decimals("b") == [0.001]
    assert section.integers("c") == [-1, 2]
    assert section.choice("d", ("greedynms", "diounms"), "greedynms") == "greedynms"
    assert section.integer("e") == 1
    with pytest.raises(WeightsError, match="line 9.*f is '2' here and '1' in line 8"):
        section.integer("f")


def test_yolov4():
    """Layers, shapes and head of the public network, and our list of places in it."""
    graph = plan(str(yolov4(416, 416)))
    assert len(graph.layers) == 162 and len(graph.convolutions) == 110
    assert [graph.layers[index].shape for index in (54, 85, 104, 116)] == [
        (52, 52, 256),
        (26, 26, 512),
        (13, 13, 1024),
        (13, 13, 512),
    ]
    assert graph.outputs == [138, 149, 160]
    assert [head.scale for head in graph.heads] == [1.2, 1.1, 1.05]
    assert graph.heads[2].anchors == ((142, 110), (192, 243), (459, 401))
    assert sum(convolution.floats for convolution in convolutions_of(graph)) == 64_429_405
    places = yolov4_places()
    assert [place.layer for place in places] == [layer.index for layer in graph.convolutions]
    for place, stored in zip(places, convolutions_of(graph), strict=True):
        assert place.stored.parts == stored.parts, place
    assert places[BACKBONE_CONVOLUTIONS - 1].layer == 104


def test_yolov4_tiny():
    graph = plan(str(yolov4_tiny(416, 416)))
    assert len(graph.layers) == 38 and graph.outputs == [29, 36]
    assert [layer.shape[:2] for layer in graph.heads] == [(13, 13), (26, 26)]
    assert graph.layers[3] == Route(3, (2,), (104, 104, 32), 2, 1)
    assert graph.layers[9] == Maxpool(9, (8,), (52, 52, 128), 2, 2, 1)
    assert sum(convolution.floats for convolution in convolutions_of(graph)) == 6_062_814
    assert graph.heads[0].anchors[0] == tuple(float(side) for side in TINY_ANCHORS.split(",")[6:8])


def lines_of(keys):
    return "".join(f"{key} = .1\n" for key in keys.split())


def test_csp_keys():
    """What YOLOv4-CSP's public cfg has besides; keys of training are passed over."""
    more = "scale_x_y = 2.0\nnew_coords=1\nnms_kind=diounms\nbeta_nms=0.6\niou_loss=ciou\nmax_delta=2\n"
    text = "[network]\nwidth=64\nheight=64\nletter_box=1\n" + lines_of(
        "batch subdivisions momentum decay angle saturation exposure hue learning_rate burn_in max_batches "
        "policy steps scales mosaic cutmix mixup ema_alpha optimized_memory track sequential_subdivisions"
    )
    text += CONV.replace("leaky", "logistic") + "stopbackward=800\n" + YOLO + more
    graph = plan(
        text
        + lines_of(
            "jitter ignore_thresh truth_thresh random resize iou_thresh iou_normalizer cls_normalizer "
            "obj_normalizer objectness_smooth label_smooth_eps counters_per_class focal_loss max map"
        )
    )
    assert graph.letter_box
    head = graph.layers[1]
    assert isinstance(head, Yolo)
    assert head.new_coords and head.scale == 2 and head.nms_kind == "diounms" and head.beta_nms == 0.6
    assert head.anchors == ((1, 2), (5, 6))


def test_imgsz():
    text = str(yolov4_tiny(416, 416))
    assert plan(text, (320, 640)).heads[0].shape[:2] == (10, 20)
    with pytest.raises(WeightsError, match=r"layer 34 \[route\].*joins.*multiple of 32"):
        plan(text, (330, 640))
    with pytest.raises(UsageError, match="imgsz"):
        plan(text, (0, 640))
    with pytest.raises(WeightsError, match=r"layer 1 \[maxpool\].*leaves nothing"):
        plan(NET + CONV + "[maxpool]\nsize=64\npadding=0\n")


WRONG = {
    "": "holds no section",
    "width=1": "line 1: 'width=1' stands before the first section",
    NET + "hello": "line 5: 'hello' is neither",
    NET + "=3": "line 5: '=3' is neither",
    NET + "a=": "line 5: 'a=' is neither",
    NET + "[conv": "line 5: '\\[conv' is no section",
    NET + "[]": "no section",
    CONV: "line 1: \\[net\\] must be the first section; here is \\[convolutional\\]",
    NET + NET: "line 5: \\[net\\] can only be the first",
    NET: "no layer after",
    "[net]\nwidth=3\n[dropout]\n": "line 1 \\[net\\]: height is missing",
    NET + "channels=1\n" + CONV: "line 5 \\[net\\]: channels is '1' here and '3' in line 4",
    NET.replace("=3\n", "=1\n", 1).replace("channels=3", "channels=1") + CONV: "channels must be 3",
    NET.replace("64", "6x4") + CONV: "line 2 \\[net\\]: width must be a whole number from 1 to 65536, not",
    NET + "[avgpool]\n": "line 5, layer 0 \\[avgpool\\]: yoloseg does not read this layer; it reads \\[conv",
    NET + CONV.replace("filters", "filter"): "layer 0 .*no key 'filter'; is filters meant",
    NET + CONV.replace("filters=18\n", ""): "layer 0 .*filters is missing; add a line filters=",
    NET + CONV.replace("leaky", "elu"): "line 10, layer 0 .*activation must be one of mish, .*not 'elu'",
    NET + CONV + "dilation=2": "dilation=2 is not read by yoloseg; it changes",
    NET + CONV + "batch_normalize=3": "batch_normalize must be a whole number from 0 to 2",
    NET + CONV + "groups=2": "groups=2 does not divide 3 channels and 18 filters",
    NET + CONV + "[route]\nlayers=-2\n": "line 12, layer 1 \\[route\\]: layers names layer -2, which is not",
    NET + CONV + "[route]\nlayers=1\n": "names layer 1, which is not one of the 1 before it",
    NET + CONV + "[route]\nlayers=a\n": "layers must be whole numbers with commas between, not 'a'",
    NET + CONV + "[route]\nlayers=-1\ngroups=4\n": "groups=4 does not divide the 18 channels of layer 0",
    NET + CONV + "[route]\nlayers=-1\ngroups=2\ngroup_id=2\n": "group_id=2 must be below",
    NET + CONV + CONV.replace("18", "9") + "[shortcut]\nfrom=-2\n": "layer 0 of 32 x 64 x 18 to 32 x 64 x 9",
    NET + CONV + "[upsample]\nstride=-2\n": "stride must be a whole number from 1",
    NET + CONV + "[upsample]\nscale=2\n": "scale=2 is not read",
    NET + CONV + "[maxpool]\nsize=2\nstride=2\npadding=4\n": "leaves windows of size=2 without a pixel",
    NET + "[yolo]\nclasses=1\nanchors=1,2\n": "is the first layer",
    NET + CONV + YOLO.replace("5,6", "5"): "line 13, layer 1 .*pairs of width and height",
    NET + CONV + YOLO.replace("num=3", "num=4"): "num=4, but there are 3 anchors",
    NET + CONV + YOLO.replace("mask=0,2", "mask=0,3"): "mask must name anchors from 0 to 2, not \\[0, 3\\]",
    NET + CONV + YOLO.replace("=4", "=5"): "2 anchors x \\(5 \\+ 5 classes\\) need 20 channels",
    NET + CONV + YOLO + "nms_kind=cornersnms": "nms_kind must be one of default, greedynms, diounms",
    NET + CONV + YOLO + "new_coords=1": "layer 0 .*activation=leaky before a .yolo. with new_coords=1",
    NET + CONV + "[dropout]\n[route]\nlayers=-1\n" + YOLO + "new_coords=1": "layer 0 .*=leaky before",
    NET + CONV.replace("size=", "sizes="): "layer 0 .*no key 'sizes'; is size meant",
    NET + CONV + "[maxpool]\nsize=2\nmaxpool_zero_nonmax=1\n": "maxpool_zero_nonmax=1 is not read",
    NET + CONV + YOLO + "scale_xy=2": "no key 'scale_xy'; is scale_x_y meant",
    NET + CONV + YOLO + CONV: "reads the output of a \\[yolo\\] layer",
    NET + CONV + YOLO + "[route]\nlayers=0\n" + CONV: "no output depends on this layer",
    NET
    + CONV
    + YOLO
    + "[route]\nlayers=0\n"
    + CONV.replace("18", "20")
    + YOLO.replace("=4", "=5"): "layer 4 .*classes=5, but 4 in layer 1",
}


@pytest.mark.parametrize(
    "text",
    [
        CONV + "stream=2\nassisted_excitation=4000\n",
        CONV.replace("size=3", "size=1") + "dilation=2\n",
        CONV + "[upsample]\nscale=1.0\n",
        CONV + "[route]\nlayers=-1\nstream=1\n",
    ],
)
def test_keys_that_change_nothing_are_passed_over(text):
    assert plan(NET + text).layers[0].filters == 18


@pytest.mark.parametrize(("line", "normalised"), [("", False), ("cbn=1", True), ("batch_normalize=2", True)])
def test_batchnorm_across_batches_is_batchnorm(line, normalised):
    assert plan(NET + CONV + line + "\n").layers[0].normalised == normalised


@pytest.mark.parametrize("text", WRONG)
def test_wrong(text):
    with pytest.raises(WeightsError, match="x.cfg.*" + WRONG[text]):
        plan(text)


def test_no_text(tmp_path):
    path = tmp_path / "x.cfg"
    with pytest.raises(WeightsError, match="no such cfg"):
        read_cfg(path)
    path.write_bytes(b"\x00\x01")
    with pytest.raises(WeightsError, match="is no text"):
        read_cfg(path)
    path.write_bytes(b"\xef\xbb\xbf" + (NET + CONV).encode() + b"# caf\xe9\n")
    assert read_plan(path).layers[0].shape == (32, 64, 18)


KINDS = "net convolutional route shortcut maxpool upsample yolo".split()
KEYS = "width height filters size stride pad padding groups layers from mask anchors classes num".split()
VALUES = "-1 0 1 2 3 -1,-2 18 1,2 x 1e9".split()
LINES = st.one_of(
    st.builds("[{}]".format, st.sampled_from(KINDS)),
    st.builds("{}={}".format, st.sampled_from(KEYS), st.sampled_from(VALUES)),
    st.text(max_size=8),
)


@given(st.lists(LINES, max_size=20))
def test_anything(lines):
    """Whatever the text, it is a plan or an error of the user's."""
    try:
        plan(NET + CONV + "\n".join(lines))
    except YolosegError:
        pass
