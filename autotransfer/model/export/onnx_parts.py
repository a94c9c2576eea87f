"""An exported ONNX model in two parts: what makes the inputs of the backbones, and the backbones with their heads.

Only the second part takes 8 bits: inputs are made by arithmetic on positions, which 8 bits would spoil.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["OnnxParts", "backbone_nodes", "run_model"]

# Key of the metadata of a node that names the modules of torch which it comes from.
_SCOPES = "pkg.torch.onnx.name_scopes"


@dataclass(frozen=True, kw_only=True)
class OnnxParts:
    """The two parts of a model.

    Attributes:
        front: The part that makes the inputs of the backbones, an ``onnx.ModelProto``.
        back: The part of all nodes that depend on a backbone.
        rows: What passes from the first part to the second, by name, for each of some feeds of the model.
    """

    front: Any
    back: Any
    rows: tuple[Mapping[str, np.ndarray], ...]

    @classmethod
    def of(cls, model: Any, feeds: Sequence[Mapping[str, np.ndarray]]) -> OnnxParts:
        """Divide a model before the first node of its backbones.

        Args:
            model: The model, an ``onnx.ModelProto``.
            feeds: Inputs of the model; the types of what passes between the parts are taken from them.
        """
        import onnx

        model = onnx.shape_inference.infer_shapes(model)
        graph, behind = model.graph, set[str]()
        for node in graph.node:
            if _is_of_network(node) or behind & _reads(node):
                behind.update(node.output)
        own = {each.name for each in graph.initializer} | behind
        back = [node for node in graph.node if behind & set(node.output)]
        between = list(
            dict.fromkeys(name for node in back for name in sorted(_reads(node)) if name and name not in own)
        )
        named = [onnx.ValueInfoProto(name=name) for name in between]
        front = _with_nodes(model, [n for n in graph.node if not behind & set(n.output)], graph.input, named)
        found = run_model(front, feeds, between)
        rows = tuple(dict(zip(between, values, strict=True)) for values in found)
        known = {each.name: each for each in (*graph.value_info, *graph.input)}
        typed = [known.get(name) or _value(name, rows[0][name]) for name in between]
        return cls(front=front, back=_with_nodes(model, back, typed, graph.output), rows=rows)

    def joined(self, back: Any) -> Any:
        """Return the whole model with another form of its second part."""
        import onnx

        whole, front = onnx.ModelProto(), self.front.graph
        whole.CopyFrom(back)
        nodes = [*front.node, *back.graph.node]
        del whole.graph.node[:], whole.graph.input[:]
        whole.graph.input.extend(front.input)
        whole.graph.node.extend(nodes)
        known = {each.name for each in whole.graph.initializer}
        whole.graph.initializer.extend(each for each in front.initializer if each.name not in known)
        return whole


def backbone_nodes(model: Any) -> list[Any]:
    """Return the nodes of the backbones, without those of heads."""
    return [node for node in model.graph.node if _is_of_network(node, "backbone")]


def run_model(model: Any, feeds: Iterable[Mapping[str, np.ndarray]], outputs: Sequence[str]) -> list[list[np.ndarray]]:
    """Return some outputs of a model for each of some feeds."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [session.run(list(outputs), dict(feed)) for feed in feeds]


def _is_of_network(node: Any, part: str = "") -> bool:
    """Whether a node comes from a network of the model, or from a part of one: its backbone or its head."""
    texts = [entry.value for entry in node.metadata_props if entry.key == _SCOPES]
    scopes = [scope.split(".") for text in texts for scope in ast.literal_eval(text)]
    return any(scope[0] == "networks" and (not part or scope[2:3] == [part]) for scope in scopes)


def _reads(node: Any) -> set[str]:
    """Return the names that a node reads, those that its branches take from around them included."""
    found = set(node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            made = {name for inner in graph.node for name in inner.output}
            made |= {each.name for each in (*graph.initializer, *graph.input)}
            inner_reads = {name for inner in graph.node for name in _reads(inner)}
            outputs = {each.name for each in graph.output}
            found |= (inner_reads | outputs) - made
    return found


def _with_nodes(model: Any, nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
    """Return a model of some of the nodes, with the weights that they read."""
    import onnx

    found = onnx.ModelProto()
    found.CopyFrom(model)
    graph, read = found.graph, {name for node in nodes for name in _reads(node)} | {each.name for each in outputs}
    weights = [each for each in model.graph.initializer if each.name in read]
    for field in ("node", "input", "output", "initializer"):
        graph.ClearField(field)
    graph.node.extend(nodes)
    graph.input.extend(inputs)
    graph.output.extend(outputs)
    graph.initializer.extend(weights)
    return found


def _value(name: str, value: np.ndarray) -> Any:
    """Return the type of a value as ONNX says it, with axes of any length."""
    import onnx

    return onnx.helper.make_tensor_value_info(
        name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), [None] * value.ndim
    )
