"""A model in two parts is the model again when they are joined, branches included."""

from __future__ import annotations

import numpy as np
import pytest

from autotransfer.model.export.onnx_parts import OnnxParts, backbone_nodes, run_model

onnx = pytest.importorskip("onnx")
helper = onnx.helper

FLOAT = onnx.TensorProto.FLOAT
SCOPES = "pkg.torch.onnx.name_scopes"


def node(kind: str, inputs: list[str], output: str, scope: str = "", **attributes: object) -> onnx.NodeProto:
    made = helper.make_node(kind, inputs, [output], name=f"node_{output}", **attributes)
    entry = made.metadata_props.add()
    entry.key, entry.value = SCOPES, str(["", scope, output])
    return made


@pytest.fixture
def model() -> onnx.ModelProto:
    """Inputs that a branch makes of what stands around it, a backbone, a head, and what follows it."""
    branches = {
        name: helper.make_graph(
            [helper.make_node(kind, ["doubled", "one"], [f"{name}_found"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_found", FLOAT, None)],
        )
        for name, kind in (("then_branch", "Add"), ("else_branch", "Sub"))
    }
    nodes = [
        node("Add", ["x", "x"], "doubled", "reader"),
        node("If", ["flag"], "chosen", "reader", **branches),
        node("MatMul", ["chosen", "weight"], "features", "networks.0.backbone.layer"),
        node("Add", ["features", "one"], "logits", "networks.0.head"),
        node("Softmax", ["logits"], "y"),
    ]
    weights = [
        helper.make_tensor("weight", FLOAT, [2, 2], [1.0, 2.0, 3.0, 4.0]),
        helper.make_tensor("one", FLOAT, [1], [1.0]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", FLOAT, ["N", 2]),
        helper.make_tensor_value_info("flag", onnx.TensorProto.BOOL, []),
    ]
    outputs = [helper.make_tensor_value_info("y", FLOAT, ["N", 2])]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(made)
    return made


def test_joined_parts_are_the_model_again(model: onnx.ModelProto) -> None:
    feeds = [{"x": np.ones((1, 2), np.float32), "flag": np.array(flag)} for flag in (True, False)]
    parts = OnnxParts.of(model, feeds)
    assert [n.name for n in backbone_nodes(parts.back)] == ["node_features"]
    assert [n.op_type for n in parts.front.graph.node] == ["Add", "If"]
    assert [list(row) for row in parts.rows] == [["chosen"], ["chosen"]]
    assert [row["chosen"].tolist() for row in parts.rows] == [[[3.0, 3.0]], [[1.0, 1.0]]]
    whole = parts.joined(parts.back)
    onnx.checker.check_model(whole)
    for expected, found in zip(run_model(model, feeds, ["y"]), run_model(whole, feeds, ["y"]), strict=True):
        np.testing.assert_array_equal(expected[0], found[0])
