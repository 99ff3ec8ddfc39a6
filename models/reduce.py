"""Reduced precision: copies of a bundle's graphs in fp16, or in int8 between QDQ pairs.

Products (Gemm, Conv, ConvTranspose) and what stands between two of them are reduced; inputs,
outputs, normalisations, softmax, log, the divergence, sampling, where a picture is looked at and
the last layers, which feed all of these, stay fp32. Why: classes are sampled by `score >= max`, and
rounded scores tie, which would turn two classes of a group on (a test shows it).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.errors import ModelError
from models.observations import Feed

PRODUCTS = ("Gemm", "Conv", "ConvTranspose")
BETWEEN = ("Relu",)  # exact in any precision, so that two products need no cast between them
# Layers that stay fp32, by their weight: what is sampled, what thresholds are set on, what commands
# and where the decoder looks.
KEPT = re.compile(
    r"(w\.)?(prior_net\.3|post_net\.3|sense|people\..*|finder\.net\.8|bump|near|reward\.2|body\.5"
    r"|decoder\.deconv\.4|decoder\.refine\..*)\.weight"
)
# Of int8 also: the policy's newest senses and the skill, which are few and must be exact, what finds
# people, for places are metres, and what the recurrence reads, for its errors add up (drift .07, not .02).
KEPT_INT8 = re.compile(
    r"senses\.weight|w\.encoder\.(imu|proprio)\.weight|w\.inputs\.0\.weight|(w\.)?finder\..*\.weight"
)


class ReduceError(ModelError):
    """A graph cannot be reduced."""


def to_fp16(model: Any, keep: re.Pattern[str] = KEPT) -> Any:
    """A copy whose products compute in fp16, with weights stored so; inputs and outputs fp32."""
    out = type(model)()
    out.CopyFrom(model)
    graph = out.graph
    reduced = {
        n.name for n in graph.node if n.op_type in PRODUCTS and not keep.fullmatch(n.input[1])
    }
    if not reduced:
        raise ReduceError(f"no product in graph {graph.name} that may be reduced")
    reduced |= set(_between(graph, reduced))
    weights = {t.name: t for t in graph.initializer}
    halves: dict[str, str] = {}  # a tensor's fp16 form
    nodes: list[Any] = []
    for node in graph.node:
        if node.name not in reduced:
            nodes.append(node)
            continue
        for i, name in enumerate(node.input):
            if name and name not in halves:
                halves[name] = _half(name, weights, nodes)
            node.input[i] = halves.get(name, name)
        for i, name in enumerate(node.output):
            halves[name] = f"{name}_fp16"
            node.output[i] = halves[name]
            nodes.append(node)
            nodes.append(_cast(halves[name], name, TensorProto.FLOAT))
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    _drop_unread(graph)
    onnx.checker.check_model(out)
    return out


def _between(graph: Any, reduced: set[str]) -> Iterator[str]:
    made = {o for n in graph.node if n.name in reduced for o in n.output}
    return (n.name for n in graph.node if n.op_type in BETWEEN and n.input[0] in made)


def _half(name: str, weights: dict[str, Any], nodes: list[Any]) -> str:
    """The fp16 form of a tensor: a weight is stored anew, anything else is cast."""
    if name in weights:
        value = numpy_helper.to_array(weights[name])
        weights[name].CopyFrom(numpy_helper.from_array(value.astype(np.float16), name))
        return name
    nodes.append(_cast(name, f"{name}_fp16", TensorProto.FLOAT16))
    return f"{name}_fp16"


def _cast(name: str, to: str, kind: int) -> Any:
    return helper.make_node("Cast", [name], [to], name=f"cast_{to}", to=kind)


def _drop_unread(graph: Any) -> None:
    """Take out casts that nobody reads."""
    while True:
        read = {i for n in graph.node for i in n.input} | {o.name for o in graph.output}
        kept = [n for n in graph.node if any(o in read for o in n.output)]
        if len(kept) == len(graph.node):
            return
        del graph.node[:]
        graph.node.extend(kept)


class _Feeds:
    """Calibration data as ONNX Runtime wants it."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._rest = iter(feeds)

    def get_next(self) -> Feed | None:
        """The next feed."""
        return next(self._rest, None)


def to_int8(file: Path, out: Path, feeds: Sequence[Feed]) -> None:
    """Static quantisation: activations by the range that `feeds` span, weights per channel.

    Args:
        file: the fp32 graph.
        out: where the reduced one goes.
        feeds: inputs as they occur, some hundred.
    """
    from onnxruntime import quantization as q

    model = onnx.load(str(file))
    products = {n.name: n.input[1] for n in model.graph.node if n.op_type in PRODUCTS}
    kept = [n for n, w in products.items() if KEPT.fullmatch(w) or KEPT_INT8.fullmatch(w)]
    if len(kept) == len(products):
        raise ReduceError(f"no product in {file.name} that may be reduced")
    reader: Any = type("Feeds", (_Feeds, q.CalibrationDataReader), {})(feeds)
    logging.disable(logging.WARNING)  # it advises a preparation that these graphs do not need
    try:
        q.quantize_static(
            str(file), str(out), reader,
            quant_format=q.QuantFormat.QDQ, op_types_to_quantize=list(PRODUCTS),
            nodes_to_exclude=kept, per_channel=True, calibrate_method=q.CalibrationMethod.MinMax,
            activation_type=q.QuantType.QInt8, weight_type=q.QuantType.QInt8,
            # as TensorRT reads it: no zero points, biases as they are
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
        )  # fmt: skip
    finally:
        logging.disable(logging.NOTSET)
    reduced = onnx.load(str(out))
    reduced.ir_version = model.ir_version
    onnx.checker.check_model(reduced)
    onnx.save(reduced, str(out))


def classes_on(belief: np.ndarray[Any, Any], deter: int, groups: int, classes: int) -> Any:
    """How many classes of each group (...,G) a belief (...,B) has on: 1 each, or sampling tied."""
    return belief[..., deter : deter + groups * classes].reshape(
        *belief.shape[:-1], groups, classes
    ).sum(-1)  # fmt: skip
