"""A model of smart-turn v3's size and shape with random weights: as much work as the real one, and no sense.

Whisper tiny's encoder over 8 s (two convolutions, 4 layers of 384 with 6 heads), attention pooling and a classifier:
8.0 million parameters in 8 bits, a file of 8.6 MB. The real v3.1 has 8.7 MB. Needs the extra ``test``.
"""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, LAYERS, HEADS, BANDS, FRAMES = 384, 4, 6, 80, 800


class _Graph:
    """Nodes and weights as they are added; a value is the name of what makes it."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._names = itertools.count()
        self._random = np.random.default_rng(1)

    def constant(self, value: Any) -> str:
        from onnx import numpy_helper

        name = f"constant{next(self._names)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weight(self, *shape: int) -> str:
        return self.constant((0.02 * self._random.standard_normal(shape)).astype(np.float32))

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = f"value{next(self._names)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def linear(self, value: str, width: int, to: int) -> str:
        return self.add("Add", self.add("MatMul", value, self.weight(width, to)), self.weight(to))

    def gelu(self, value: str) -> str:
        half, one, root = (self.constant(np.float32(number)) for number in (0.5, 1.0, 2**0.5))
        spread = self.add("Add", self.add("Erf", self.add("Div", value, root)), one)
        return self.add("Mul", self.add("Mul", value, spread), half)

    def norm(self, value: str) -> str:
        return self.add("LayerNormalization", value, self.weight(WIDTH), self.weight(WIDTH), axis=-1)

    def convolution(self, value: str, channels: int, stride: int) -> str:
        weights = self.weight(WIDTH, channels, 3), self.weight(WIDTH)
        return self.gelu(self.add("Conv", value, *weights, kernel_shape=[3], pads=[1, 1], strides=[stride]))

    def attention(self, value: str) -> str:
        each = WIDTH // HEADS
        split, joined = self.constant([1, FRAMES // 2, HEADS, each]), self.constant([1, FRAMES // 2, WIDTH])

        def part(order: list[int]) -> str:
            return self.add("Transpose", self.add("Reshape", self.linear(value, WIDTH, WIDTH), split), perm=order)

        query = self.add("Mul", part([0, 2, 1, 3]), self.constant(np.float32(each**-0.5)))
        mixture = self.add("Softmax", self.add("MatMul", query, part([0, 2, 3, 1])), axis=-1)
        mixed = self.add("Transpose", self.add("MatMul", mixture, part([0, 2, 1, 3])), perm=[0, 2, 1, 3])
        return self.linear(self.add("Reshape", mixed, joined), WIDTH, WIDTH)


def turn_encoder(folder: Path) -> Path:
    """Make the model's file."""
    import onnx
    from onnx import TensorProto, helper
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = _Graph()
    heard = graph.convolution(graph.convolution("input_features", BANDS, 1), WIDTH, 2)
    value = graph.add("Add", graph.add("Transpose", heard, perm=[0, 2, 1]), graph.weight(FRAMES // 2, WIDTH))
    for _ in range(LAYERS):
        value = graph.add("Add", value, graph.attention(graph.norm(value)))
        wide = graph.gelu(graph.linear(graph.norm(value), WIDTH, 4 * WIDTH))
        value = graph.add("Add", value, graph.linear(wide, 4 * WIDTH, WIDTH))
    value = graph.norm(value)
    scores = graph.linear(graph.add("Tanh", graph.linear(value, WIDTH, 256)), 256, 1)
    weighted = graph.add("Mul", value, graph.add("Softmax", scores, axis=1))
    pooled = graph.add("ReduceSum", weighted, graph.constant([1]), keepdims=0)
    hidden = graph.gelu(graph.linear(graph.gelu(graph.linear(pooled, WIDTH, 256)), 256, 64))
    graph.nodes.append(helper.make_node("Sigmoid", [graph.linear(hidden, 64, 1)], ["logits"]))
    inputs = [helper.make_tensor_value_info("input_features", TensorProto.FLOAT, [1, BANDS, FRAMES])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 1])]
    made = helper.make_graph(graph.nodes, "turn", inputs, outputs, graph.constants)
    whole, small = folder / "turn-32-bits.onnx", folder / "turn.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), whole)
    logging.getLogger().setLevel(logging.ERROR)  # it recommends a preparation that changes nothing here
    kinds = ["MatMul", "Conv"]
    quantize_dynamic(whole, small, weight_type=QuantType.QInt8, op_types_to_quantize=kinds)
    return small
