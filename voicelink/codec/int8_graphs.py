"""Step graphs for calls: products of a vector and a matrix with 8-bit weights (needs onnx).

A call codes one frame at a time, so every weight is read from memory for one product: a quarter of the bytes takes
less than half of the time. Weights are rounded in blocks of 32 along a row, each with its own scale, to -127..127;
ONNX Runtime's `MatMulNBits` rounds the vector in the same way and sums in integers. Nothing is stored twice: the
rounding is part of the graph, from the safetensors file on, and is done once as the graph is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

BLOCK: Final = 32
DOMAIN: Final = "com.microsoft"
#: `accuracy_level` of MatMulNBits: sums in 8-bit integers, where the processor can.
IN_INTEGERS: Final = 4
_CONSTANTS: Final = {
    "int8.least": np.float32(1e-12),
    "int8.step": np.float32(1 / 127),
    "int8.zero": np.float32(128),
    "int8.flat": np.array([-1], np.int64),
    "int8.axis": np.array([2], np.int64),
}


def to_int8(model: Any) -> Any:
    """A copy of a step graph whose layers (`Gemm` of a weight [n, k] as external data) round as said above."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    weights = _weights(graph)
    nodes: list[Any] = []
    rounded: set[str] = set()
    for node in graph.node:
        if node.op_type != "Gemm" or node.input[1] not in weights:
            nodes.append(node)
            continue
        weight, size = node.input[1], weights[node.input[1]]
        if weight not in rounded:
            rounded.add(weight)
            nodes += _rounding(graph, weight, size)
        nodes.append(_product(node, size))
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in _CONSTANTS.items())
    del graph.node[:]
    graph.node.extend(nodes)
    made.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return made


def _weights(graph: Any) -> dict[str, tuple[int, int]]:
    """Names and sizes of the matrices that are weights, be they stored as they are or cast from half precision."""
    stored = {i.name: tuple(i.dims) for i in graph.initializer if i.external_data and len(i.dims) == 2}
    cast = {n.output[0]: stored[n.input[0]] for n in graph.node if n.op_type == "Cast" and n.input[0] in stored}
    return stored | cast


def _rounding(graph: Any, weight: str, size: tuple[int, int]) -> Iterator[Any]:
    """From float32 [n, k] to `<weight>.q`, uint8 [n, blocks, 32] around 128, and `<weight>.scale`, [n blocks]."""
    rows, columns = size
    blocks = -(-columns // BLOCK)

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
        return helper.make_node(kind, inputs, [f"{weight}.{output}"], **attributes)

    def own(part: str) -> str:
        return f"{weight}.{part}"

    graph.initializer.append(numpy_helper.from_array(np.array([rows, blocks, BLOCK], np.int64), own("shape")))
    source = weight
    if columns % BLOCK:
        pads = np.array([0, 0, 0, blocks * BLOCK - columns], np.int64)
        graph.initializer.append(numpy_helper.from_array(pads, own("pads")))
        yield node("Pad", [weight, own("pads")], "whole")
        source = own("whole")
    yield node("Reshape", [source, own("shape")], "blocks")
    yield node("Abs", [own("blocks")], "sizes")
    yield node("ReduceMax", [own("sizes"), "int8.axis"], "largest", keepdims=1)
    yield node("Max", [own("largest"), "int8.least"], "bound")
    yield node("Mul", [own("bound"), "int8.step"], "steps")
    yield node("Reshape", [own("steps"), "int8.flat"], "scale")
    yield node("Div", [own("blocks"), own("steps")], "counts")
    yield node("Round", [own("counts")], "whole_counts")
    yield node("Add", [own("whole_counts"), "int8.zero"], "shifted")
    yield node("Cast", [own("shifted")], "q", to=onnx.TensorProto.UINT8)


def _product(gemm: Any, size: tuple[int, int]) -> Any:
    """In place of x W^T + b."""
    plain = {a.name: helper.get_attribute_value(a) for a in gemm.attribute}
    if plain.get("transB") != 1 or plain.get("transA", 0) or {plain.get("alpha", 1.0), plain.get("beta", 1.0)} != {1.0}:
        raise ValueError(f"{gemm.name}: not a linear layer as torch exports it")
    weight, rows, columns = gemm.input[1], *size
    inputs = [gemm.input[0], f"{weight}.q", f"{weight}.scale", "", "", *gemm.input[2:3]]
    return helper.make_node(
        "MatMulNBits",
        inputs,
        list(gemm.output),
        domain=DOMAIN,
        K=columns,
        N=rows,
        bits=8,
        block_size=BLOCK,
        accuracy_level=IN_INTEGERS,
    )
