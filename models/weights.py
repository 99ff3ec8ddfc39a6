"""Networks back out of a bundle: torch modules rebuilt from what its ONNX files hold, and proved.

The exporter keeps a parameter's name where it keeps its values; it stores equal tensors once behind
an Identity, and a matrix of a MatMul transposed under a name of its own. Nothing but the bundle is
read, so what is measured on these modules is measured on what a robot runs.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from models.backend import golden_error
from models.bundle import Bundle
from models.errors import BundleError
from models.export import Graph, graphs
from models.manifest import GRAPHS
from models.networks import Policy, WorldModel
from models.parity import TorchSession
from models.sizes import Sizes

Array = npt.NDArray[Any]
WORLD = "w."  # what the exported modules call the world model
TRAINING_ONLY = "aid."  # of the world model: stands in no graph
SAME = 1e-6  # of a tensor that stands in several graphs


def read_networks(bundle: Bundle) -> tuple[WorldModel, Policy, Tensor]:
    """World model, policy and the on-rates (hidden,) of the posterior net, from a bundle alone.

    Raises:
        BundleError: a tensor is missing or of another shape, the graphs disagree on one, or the
            rebuilt networks do not give the golden vectors.
    """
    found = {name: tensors_of(onnx.load(str(bundle.graph(name)))) for name in GRAPHS}
    world_values = _joined(bundle, {g: found[g] for g in GRAPHS if g != "policy"})
    sizes = sizes_of(bundle, world_values)
    world, policy = WorldModel(sizes).eval(), Policy(sizes).eval()
    _fill(bundle, world, world_values, "world model")
    _fill(bundle, policy, found["policy"], "policy")
    on_rate = torch.from_numpy(np.exp(-_take(bundle, found["observe"], "on_cost")))
    _prove(bundle, graphs(world, policy, on_rate, bundle.manifest.candidates))
    return world, policy, on_rate


def tensors_of(model: Any) -> dict[str, Array]:
    """Every float tensor that a graph holds, under its parameter's name, as float32."""
    raw = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    out = {k: v.astype(np.float32) for k, v in raw.items() if v.dtype.kind == "f"}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in raw:
            name = re.sub(r"_quantized$", "", node.input[0])
            out[name] = _dequantized(node, raw)
    for node in model.graph.node:  # equal tensors are stored once
        if node.op_type in ("Identity", "Cast") and node.input[0] in out:
            out.setdefault(node.output[0], out[node.input[0]])
    for node in model.graph.node:
        matrix = node.input[1] if node.op_type == "MatMul" else ""
        if matrix.startswith("onnx::") and matrix in out:
            out.setdefault(f"{_module(node.name)}.weight", out[matrix].T)
    return out


def _dequantized(node: Any, raw: dict[str, Array]) -> Array:
    values, scale = raw[node.input[0]].astype(np.float32), raw[node.input[1]]
    zero = raw[node.input[2]].astype(np.float32) if len(node.input) > 2 else np.float32(0)
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    if scale.ndim:
        shape = [-1 if i == axis % values.ndim else 1 for i in range(values.ndim)]
        scale, zero = scale.reshape(shape), np.asarray(zero).reshape(shape)
    out: Array = ((values - zero) * scale).astype(np.float32)
    return out


def _module(node: str) -> str:
    """A node's scope to its module's path: /post_net/post_net.0/MatMul -> post_net.0."""
    path: list[str] = []
    for part in node.strip("/").split("/")[:-1]:
        if path and part.startswith(f"{path[-1]}."):
            path[-1] = part
        else:
            path.append(part)
    return ".".join(path)


def _joined(bundle: Bundle, found: dict[str, dict[str, Array]]) -> dict[str, Array]:
    """The world model's tensors of several graphs by parameter; those that stand in two must agree."""
    out: dict[str, Array] = {}
    exact = bundle.manifest.precision == "fp32"
    for graph, tensors in found.items():
        for name, value in tensors.items():
            key = name.removeprefix(WORLD)
            old = out.setdefault(key, value)
            same = old.shape == value.shape and np.allclose(old, value, atol=SAME)
            if exact and name.startswith(WORLD) and not same:
                raise BundleError(
                    f"{bundle.path}: {graph}.onnx holds another {key} than the graphs before it; "
                    "its graphs are of different trainings, export them together"
                )
    return out


def _take(bundle: Bundle, tensors: dict[str, Array], name: str) -> Array:
    if name not in tensors:
        raise BundleError(
            f"{bundle.path}: no tensor {name} in its graphs; it was not written by "
            "`companion model train` of this version, train or export it again"
        )
    return tensors[name]


def sizes_of(bundle: Bundle, tensors: dict[str, Array]) -> Sizes:
    """Sizes from the manifest and the shapes of tensors."""
    m = bundle.manifest
    hidden, deter = _take(bundle, tensors, "prior_net.0.weight").shape
    camera = m.camera
    return Sizes(
        action=len(m.layout.actions),
        proprio=len(m.layout.proprio),
        skills=len(m.skills),
        deter=deter,
        groups=m.groups,
        classes=m.classes,
        normal=m.noise - m.groups * m.classes,
        embed=len(_take(bundle, tensors, "encoder.out.bias")),
        hidden=hidden,
        hues=len(m.hues),
        memory=_take(bundle, tensors, "people.say.weight").shape[1],
        sectors=len(_take(bundle, tensors, "near.bias")),
        view=(camera.fx, camera.fy, camera.cx, camera.cy),
    )


def _fill(bundle: Bundle, module: nn.Module, tensors: dict[str, Array], what: str) -> None:
    state = {}
    for name, parameter in module.state_dict().items():
        if name.startswith(TRAINING_ONLY):
            state[name] = parameter
            continue
        value = _take(bundle, tensors, name)
        if value.shape != tuple(parameter.shape):
            raise BundleError(
                f"{bundle.path}: {name} of the {what} is {value.shape}, this version's is "
                f"{tuple(parameter.shape)}; train or export it again"
            )
        state[name] = torch.from_numpy(np.array(value))
    module.load_state_dict(state)


def _prove(bundle: Bundle, rebuilt: dict[str, Graph]) -> None:
    golden, precision = bundle.golden(), bundle.manifest.precision
    for name in rebuilt:
        allowed = bundle.manifest.graphs[name].tolerance.get(precision, 0.0)
        worst = golden_error(TorchSession(bundle, name, rebuilt), golden, name)
        if not worst <= allowed:
            raise BundleError(
                f"{bundle.path}: the networks read from it miss the golden vectors of {name} by "
                f"{worst:.1e}, allowed {allowed:.1e}; a weight was changed after the export"
            )
