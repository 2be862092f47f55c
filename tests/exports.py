"""What tests of exported files share: a picture, a network whose scores are known to differ, operators."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

import yoloseg
from yoloseg.inference.benchmark import rendered_picture, untrained_network

IMGSZ = (64, 96)
PICTURE = rendered_picture(150, 200)
SLOTS = 8


def network():
    """Random weights with scores of some tenths; its threshold leaves six instances in PICTURE, and so two
    free slots of SLOTS."""
    model = untrained_network("n", IMGSZ, PICTURE)
    for layer in model.network.layers:
        part = layer.name.split("_")[-1]
        if part in ("objectness", "classes"):
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel * 5, bias * 0] if part == "objectness" else [kernel * 40, bias])
    scores = yoloseg.Predictor(model, score_threshold=0.0, max_detections=SLOTS).predict_image(PICTURE).scores
    model.score_threshold = float(scores[5]) * 0.9999
    return model


def operators(path):
    """(name, types of its inputs) of every operator in every subgraph of a .tflite file."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    types = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    codes = [names[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in model.operatorCodes]
    return [
        (codes[operator.opcodeIndex], [types[graph.tensors[i].type] for i in operator.inputs if i >= 0])
        for graph in model.subgraphs
        for operator in graph.operators
    ]


def correlation(found, expected):
    """Of two arrays of one shape, a number a pair of elements."""
    return np.corrcoef(np.ravel(found), np.ravel(expected))[0, 1]


def same_instances(found, expected):
    """Within what float32 files promise. The masks of random weights are all near 0.5: no IoU to hold."""
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.5)
    assert expected.scores[-1] > 0.02
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-3)
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)
    np.testing.assert_allclose(found.mask_probabilities, expected.mask_probabilities, atol=5e-3)
    assert (found.masks == expected.masks).mean() > 0.99
