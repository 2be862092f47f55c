"""The network against the table of the design: sizes, channels, parameters, orders of concatenation."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from yoloseg.modeling.architecture import LEVELS, build_mask_subnet, build_network
from yoloseg.modeling.blocks import BATCH_NORM_EPSILON, conv
from yoloseg.modeling.sizes import SIZES

A, K = 6, 40


@functools.cache
def network(size="l", anchors=A, classes=K, per_anchor=True):
    return build_network(SIZES[size], anchors, classes, per_anchor)


def convolutions(net):
    return [layer for layer in net.layers if isinstance(layer, keras.layers.Conv2D)]


def shapes(net, layers, height, width):
    """{layer name: (rows, columns, channels)}, symbolically."""
    outputs = {layer.name: layer.output for layer in layers}
    found = keras.Model(net.input, outputs).compute_output_shape((1, height, width, 3))
    return {name: tuple(shape[1:]) for name, shape in found.items()}


def parameters(net, prefixes):
    return sum(layer.count_params() for layer in net.layers if layer.name.startswith(prefixes))


def sources(net, name):
    """Names of the layers whose outputs a layer takes, in order."""
    tensors = net.get_layer(name).input
    tensors = tensors if isinstance(tensors, list) else [tensors]
    return [tensor._keras_history.operation.name for tensor in tensors]


def c(kernel, inputs, outputs):
    """Parameters of a convolution without bias and of its BatchNorm (gain, shift, mean, variance)."""
    return kernel * kernel * inputs * outputs + 4 * outputs


def last(kernel, inputs, outputs):
    """Parameters of a convolution with bias."""
    return kernel * kernel * inputs * outputs + outputs


def five(inputs, f):
    return c(1, inputs, f) + c(3, f, 2 * f) + c(1, 2 * f, f) + c(3, f, 2 * f) + c(1, 2 * f, f)


def csp(inputs, outputs, half, blocks):
    """Down, two 1x1 to `half`, blocks of 1x1 and 3x3 at `half`, 1x1 closing them, 1x1 merging both."""
    block = c(1, half, half) + c(3, half, half)
    ends = c(3, inputs, outputs) + 2 * c(1, outputs, half) + c(1, half, half) + c(1, 2 * half, outputs)
    return ends + blocks * block


CSP1 = (
    c(3, 32, 64) + 2 * c(1, 64, 64) + (c(1, 64, 32) + c(3, 32, 64)) + c(1, 64, 64) + c(1, 128, 64)
)
SPP = (
    c(1, 1024, 512) + c(3, 512, 1024) + c(1, 1024, 512)
    + c(1, 4 * 512, 512) + c(3, 512, 1024) + c(1, 1024, 512)
)
# stage: (prefixes of its layers, layer with its output, rows = columns at 416, channels, parameters)
STAGES = {
    "stem": (("stem",), "stem_act", 416, 32, c(3, 3, 32)),
    "csp1": (("csp1",), "csp1_merge_act", 208, 64, CSP1),
    "csp2": (("csp2",), "csp2_merge_act", 104, 128, csp(64, 128, 64, 2)),
    "csp3": (("csp3",), "csp3_merge_act", 52, 256, csp(128, 256, 128, 8)),
    "csp4": (("csp4",), "csp4_merge_act", 26, 512, csp(256, 512, 256, 8)),
    "csp5": (("csp5",), "csp5_merge_act", 13, 1024, csp(512, 1024, 512, 4)),
    "spp": (("spp",), "spp_out2_act", 13, 512, SPP),
    "P4": (
        ("P4_reduce", "P4_up", "P4_lateral", "P4_concat", "P4_mix"), "P4_mix4_act", 26, 256,
        2 * c(1, 512, 256) + five(512, 256),
    ),
    "P3": (
        ("P3_reduce", "P3_up", "P3_lateral", "P3_concat", "P3_mix"), "P3_mix4_act", 52, 128,
        2 * c(1, 256, 128) + five(256, 128),
    ),
    "P2": (
        ("P2_reduce", "P2_up", "P2_lateral", "P2_concat", "P2_mix"), "P2_mix4_act", 104, 64,
        2 * c(1, 128, 64) + five(128, 64),
    ),
    "N3": (("N3",), "N3_mix4_act", 52, 128, c(3, 64, 128) + five(256, 128)),
    "N4": (("N4",), "N4_mix4_act", 26, 256, c(3, 128, 256) + five(512, 256)),
    "N5": (("N5",), "N5_mix4_act", 13, 512, c(3, 256, 512) + five(1024, 512)),
}
PREDICT = ("predict", "boxes", "objectness", "classes")
for _level, _cells, _f in (("P2", 104, 64), ("P3", 52, 128), ("P4", 26, 256), ("P5", 13, 512)):
    STAGES[f"{_level} head"] = (
        tuple(f"{_level}_{part}" for part in PREDICT), f"{_level}_predict_act", _cells, _f,
        c(3, _f, _f) + last(1, _f, A * (4 + 1 + K)),
    )
    STAGES[f"{_level} embedding"] = (
        (f"{_level}_embedding",), f"{_level}_embedding", _cells, 208, last(3, _f, 208)
    )


@pytest.mark.parametrize("stage", STAGES)
def test_stage_of_l_at_416(stage):
    prefixes, layer, cells, channels, count = STAGES[stage]
    net = network()
    assert shapes(net, [net.get_layer(layer)], 416, 416)[layer] == (cells, cells, channels)
    assert parameters(net, prefixes) == count


def test_stages_are_the_whole_network():
    total = sum(count for *_, count in STAGES.values())
    assert network().count_params() == total == 63_923_544  # "about 64 million"


def test_flops_of_l_at_416():
    """71.5 GFLOP of the design: two for each multiplication of a convolution."""
    net = network()
    found = shapes(net, convolutions(net), 416, 416)
    macs = sum(np.prod(found[layer.name][:2]) * np.prod(layer.kernel.shape) for layer in convolutions(net))
    assert 2 * macs / 1e9 == pytest.approx(71.5, abs=0.05)


def test_head_outputs_of_l_at_416():
    found = network().compute_output_shape((2, 416, 416, 3))
    for level, cells in zip(LEVELS, (104, 52, 26, 13), strict=True):
        assert {name: tuple(shape) for name, shape in found[level].items()} == {
            "boxes": (2, cells, cells, A * 4),
            "objectness": (2, cells, cells, A),
            "classes": (2, cells, cells, A * K),
            "embedding": (2, cells, cells, 208),
        }


def test_mask_subnet_of_l():
    def group(inputs, outputs):  # convolution without bias, GroupNorm
        return 9 * inputs * outputs + 2 * outputs

    fused = 4 * group(208, 256) + 2 * group(256, 256)
    branch_a = group(256, 256) + (2 * 2 * 256 * 256 + 256) + last(1, 256, 1)
    branch_b = group(256, 256) + group(256, 128) + (14 * 14 * 128 * 784 + 784)
    subnet = build_mask_subnet(SIZES["l"])
    assert subnet.count_params() == fused + branch_a + branch_b + last(1, 2, 1)
    assert tuple(subnet.compute_output_shape([(5, 14, 14, 208)] * 4)) == (5, 28, 28)
    assert sources(subnet, "fuse") == [f"{level}_mask_relu" for level in LEVELS]
    assert sources(subnet, "mask_concat") == ["mask_a_logits", "mask_b_logits"]
    norms = [layer for layer in subnet.layers if isinstance(layer, keras.layers.GroupNormalization)]
    assert {layer.groups for layer in norms if layer.gamma.shape[0] == 256} == {32}


def test_concatenations_have_darknets_order():
    net = network()
    for stage in range(1, 6):
        assert sources(net, f"csp{stage}_concat") == [f"csp{stage}_close_act", f"csp{stage}_shortcut_act"]
    assert sources(net, "spp_concat") == ["spp_pool13", "spp_pool9", "spp_pool5", "spp_in2_act"]
    for kernel in (13, 9, 5):
        pool = net.get_layer(f"spp_pool{kernel}")
        assert (pool.pool_size, pool.strides, pool.padding) == ((kernel, kernel), (1, 1), "same")
    for level in ("P4", "P3", "P2"):
        assert sources(net, f"{level}_concat") == [f"{level}_lateral_act", f"{level}_up"]
        assert net.get_layer(f"{level}_up").interpolation == "nearest"
    for level, p in (("N3", "P3_mix4_act"), ("N4", "P4_mix4_act"), ("N5", "spp_out2_act")):
        assert sources(net, f"{level}_concat") == [f"{level}_down_act", p]


def test_what_feeds_what():
    net = network()
    laterals = {"P4": "csp4", "P3": "csp3", "P2": "csp2"}
    below = {"P4": "spp_out2_act", "P3": "P4_mix4_act", "P2": "P3_mix4_act"}
    for level, stage in laterals.items():
        assert sources(net, f"{level}_lateral_conv") == [f"{stage}_merge_act"]
        assert sources(net, f"{level}_reduce_conv") == [below[level]]
    maps = {"P2": "P2_mix4_act", "P3": "N3_mix4_act", "P4": "N4_mix4_act", "P5": "N5_mix4_act"}
    for level, source in maps.items():
        assert sources(net, f"{level}_predict_conv") == sources(net, f"{level}_embedding") == [source]
        for part in PREDICT[1:]:
            assert sources(net, f"{level}_{part}") == [f"{level}_predict_act"]
    for level, source in (("N3", "P2_mix4_act"), ("N4", "N3_mix4_act"), ("N5", "N4_mix4_act")):
        assert sources(net, f"{level}_down_pad") == [source]
    assert sources(net, "csp1_close_conv") == ["csp1_res0"]
    assert sources(net, "csp1_res0") == ["csp1_split_act", "csp1_res0_b_act"]


def test_activations_and_norms():
    net = network()
    for layer in net.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            assert layer.epsilon == BATCH_NORM_EPSILON <= 1e-5
        if isinstance(layer, keras.layers.LeakyReLU):
            assert layer.negative_slope == pytest.approx(0.1)
        if layer.name.endswith("_act"):
            in_backbone = layer.name.startswith(("stem", "csp"))
            assert isinstance(layer, keras.layers.LeakyReLU) != in_backbone
            if in_backbone:
                assert layer.activation is keras.activations.mish
    without_norm = {layer.name.split("_")[1] for layer in convolutions(net) if layer.use_bias}
    assert without_norm == {"boxes", "objectness", "classes", "embedding"}


def test_stride_two_pads_top_left():
    """Output (i, j) sees rows 2i - 1 to 2i + 1 and columns 2j - 1 to 2j + 1, zeros beyond the border."""
    image = keras.Input((6, 8, 2))
    model = keras.Model(image, conv(image, 8, 3, stride=2, act="leaky_relu", name="down"))
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 2, 8)).astype("float32")
    gain, shift, mean = rng.normal(size=(3, 8)).astype("float32")
    variance = rng.uniform(0.5, 2, 8).astype("float32")
    model.get_layer("down_conv").set_weights([kernel])
    model.get_layer("down_bn").set_weights([gain, shift, mean, variance])
    x = rng.normal(size=(1, 6, 8, 2)).astype("float32")
    expected = np.zeros((3, 4, 8))
    for i in range(3):
        for j in range(4):
            for di in range(3):
                for dj in range(3):
                    row, column = 2 * i - 1 + di, 2 * j - 1 + dj
                    if 0 <= row < 6 and 0 <= column < 8:
                        expected[i, j] += x[0, row, column] @ kernel[di, dj]
    expected = (expected - mean) / np.sqrt(variance + 1e-6) * gain + shift
    expected = np.where(expected > 0, expected, 0.1 * expected)
    np.testing.assert_allclose(np.asarray(model(x))[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["n", "s", "m"])
def test_smaller_sizes(name):
    size = SIZES[name]
    net = network(name, 3, 5)
    found = net.compute_output_shape((1, 96, 64, 3))
    assert tuple(found["P5"]["classes"]) == (1, 3, 2, 15)
    assert tuple(found["P2"]["embedding"]) == (1, 24, 16, size.embedding)
    assert shapes(net, [net.get_layer("csp5_merge_act")], 64, 64)["csp5_merge_act"][2] == 1024 * size.width
    blocks = sum(layer.name.startswith("csp3_res") and layer.name.endswith("_a_conv") for layer in net.layers)
    assert blocks == round(8 * size.depth)
    subnet = build_mask_subnet(size)
    assert tuple(subnet.compute_output_shape([(1, 14, 14, size.embedding)] * 4)) == (1, 28, 28)
    assert any(layer.name == "mask_b_dense" for layer in subnet.layers) == size.dense_branch
    assert net.count_params() < network().count_params()


def test_rectangular_input_runs():
    image = np.random.default_rng(0).integers(0, 256, (1, 480, 640, 3)).astype("float32")
    outputs = network("n", 3, 5)(image)
    for level, stride in zip(LEVELS, (4, 8, 16, 32), strict=True):
        for values in outputs[level].values():
            assert tuple(values.shape[1:3]) == (480 // stride, 640 // stride)
            assert np.isfinite(np.asarray(values)).all()


def relative_gradients(net, names) -> list[float]:
    """Size of the gradient of a random sum of all outputs, in training mode, over the size of the kernel."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 96, 96, 3)).astype("float32")
    kernels = [net.get_layer(name).kernel for name in names]
    with tf.GradientTape() as tape:
        outputs = [values for level in LEVELS for values in net(images, training=True)[level].values()]
        total = sum(keras.ops.mean(v * rng.normal(size=v.shape).astype("float32")) for v in outputs)
    gradients = tape.gradient(total, [kernel.value for kernel in kernels])
    return [float(np.linalg.norm(g) / np.linalg.norm(k)) for g, k in zip(gradients, kernels, strict=True)]


def test_gradients_start_level():
    """From the last convolutions to the first: with BatchNorm as Keras starts it they grow a thousandfold."""
    keras.utils.set_random_seed(0)
    names = ["csp1_down_conv", "csp3_down_conv", "spp_in0_conv", "P3_mix2_conv", "N5_mix2_conv"]
    net = build_network(SIZES["n"], 3, 5, False)
    level = relative_gradients(net, names)
    for layer in net.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(np.ones(layer.gamma.shape))
            layer.beta.assign(np.zeros(layer.beta.shape))
    usual = relative_gradients(net, names)
    assert max(level) / min(level) < 0.1 * max(usual) / min(usual), (level, usual)


def test_one_class_needs_no_class_logits():
    net = network("n", 3, 1)
    assert set(net.output["P2"]) == {"boxes", "objectness", "embedding"}
    assert not any(layer.name.endswith("_classes") for layer in net.layers)


def test_one_set_of_class_logits_a_cell():
    net = network("n", 3, 5, per_anchor=False)
    assert tuple(net.compute_output_shape((1, 64, 64, 3))["P3"]["classes"]) == (1, 8, 8, 5)


@pytest.mark.parametrize("size", ["n", "m"])
def test_mask_logits_are_whole_in_mixed_precision(size):
    """`n` is without, `m` with the dense branch."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        subnet = build_mask_subnet(SIZES[size])
    finally:
        keras.config.set_dtype_policy(before)
    assert subnet.get_layer("mask1_conv").compute_dtype == "bfloat16"
    assert subnet.output.dtype == "float32"
    after = ["mask_a_logits", "masks"]
    after += ["mask_b_dense", "mask_b_logits", "mask_concat", "mask_logits"] if size == "m" else []
    assert {subnet.get_layer(name).compute_dtype for name in after} == {"float32"}
