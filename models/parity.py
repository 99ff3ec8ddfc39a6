"""Parity: whether all runtimes compute the same from a bundle, at once and after 200 steps.

Every runtime stands behind the `Session` protocol, so that one comparison serves all: torch on the
weights that the files hold, ONNX's reference evaluator, OpenVINO (none of our code in common with
ONNX Runtime), and the backends that a robot uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.backend import Session
from models.bundle import Bundle
from models.errors import GraphError
from models.observations import Observations

Float32 = npt.NDArray[np.float32]
GOAL = 1e-4  # of fp32 on a CPU: largest |difference| of any output
DRIFT_STEPS = 200
SEEN = 0.5
LAST = 20  # steps that "at the end" averages over


class _Arrays:
    """Fixed buffers, as the manifest declares them."""

    def __init__(self, bundle: Bundle, graph: str) -> None:
        spec = bundle.manifest.graphs[graph]
        self.name, self.precision = graph, str(bundle.manifest.precision)
        self.inputs = {t.name: np.zeros(t.shape, np.float32) for t in spec.inputs}
        self.outputs = {t.name: np.zeros(t.shape, np.float32) for t in spec.outputs}

    def run(self) -> None:
        """Compute outputs from inputs, in place."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to free."""

    def _put(self, values: Sequence[Any]) -> None:
        for out, value in zip(self.outputs.values(), values, strict=True):
            out[...] = np.asarray(value)


class TorchSession(_Arrays):
    """A graph in torch, rebuilt from the bundle's weights."""

    def __init__(self, bundle: Bundle, graph: str, built: dict[str, Any]) -> None:
        super().__init__(bundle, graph)
        self._module, self._order = built[graph].module, list(built[graph].inputs)

    def run(self) -> None:
        """Compute outputs from inputs, in place."""
        import torch

        with torch.no_grad():
            out = self._module(*(torch.from_numpy(self.inputs[k]) for k in self._order))
        self._put([v.numpy() for v in (out if isinstance(out, tuple) else (out,))])


class ReferenceSession(_Arrays):
    """A graph in `onnx.reference`: numpy, operator by operator."""

    def __init__(self, bundle: Bundle, graph: str) -> None:
        super().__init__(bundle, graph)
        try:
            import onnx
            from onnx.reference import ReferenceEvaluator
        except ImportError as error:
            raise GraphError(f"onnx is not installed ({error}); pip install onnx") from error
        model = onnx.load(str(bundle.graph(graph)))
        for node in model.graph.node:  # it knows the name that opset 20 gives the same mode
            for attribute in node.attribute if node.op_type == "GridSample" else ():
                if attribute.s == b"bilinear":
                    attribute.s = b"linear"
        self._evaluator = ReferenceEvaluator(model, new_ops=_quantisers())

    def run(self) -> None:
        """Compute outputs from inputs, in place."""
        self._put(self._evaluator.run(list(self.outputs), self.inputs))


def _quantisers() -> list[type]:
    """QuantizeLinear and DequantizeLinear of opset 17, which the evaluator has of 19 on only."""
    from onnx.reference.op_run import OpRun

    def shaped(values: Any, x: Any, axis: int) -> Any:
        return values.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)]) if values.ndim else values  # fmt: skip

    def dequantize(
        self: Any, x: Any, scale: Any, zero: Any = None, *, axis: int = 1, **_newer: Any
    ) -> tuple[Any]:
        shift = 0 if zero is None else shaped(zero.astype(np.float32), x, axis)
        return ((x.astype(np.float32) - shift) * shaped(scale, x, axis),)

    def quantize(
        self: Any, x: Any, scale: Any, zero: Any, *, axis: int = 1, **_newer: Any
    ) -> tuple[Any]:
        limits = np.iinfo(zero.dtype)
        rounded = np.rint(x / shaped(scale, x, axis)) + shaped(zero.astype(np.float32), x, axis)
        return (np.clip(rounded, limits.min, limits.max).astype(zero.dtype),)

    both = {"DequantizeLinear": dequantize, "QuantizeLinear": quantize}
    return [type(k, (OpRun,), {"op_domain": "", "_run": v}) for k, v in both.items()]


class OpenVinoSession(_Arrays):
    """A graph in OpenVINO on the CPU, without its leave to compute in bfloat16."""

    def __init__(self, bundle: Bundle, graph: str) -> None:
        super().__init__(bundle, graph)
        try:
            import openvino
        except ImportError as error:
            raise GraphError(
                f"openvino is not installed ({error}); pip install '.[parity]'"
            ) from error
        hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        core = openvino.Core()
        try:
            compiled = core.compile_model(core.read_model(str(bundle.graph(graph))), "CPU", hints)
        except RuntimeError as error:
            raise GraphError(f"openvino refuses {graph}: {str(error).splitlines()[0]}") from error
        self._request = compiled.create_infer_request()

    def run(self) -> None:
        """Compute outputs from inputs, in place."""
        found = self._request.infer(self.inputs)
        self._put([found[name] for name in self.outputs])


@dataclass(frozen=True)
class Drift:
    """How far two beliefs of one loop, and what heads read from them, are apart."""

    steps: int
    belief_end: float  # mean |difference| over the last steps
    belief_max: float  # largest mean |difference| of any step
    classes_apart: float  # share of groups with another class on, over all steps
    person_end_m: float  # mean distance of present people, over the last steps
    person_max_m: float
    senses_end: float  # mean |difference|, normalised
    senses_max: float

    def to_json(self) -> dict[str, float]:
        """Every figure by name."""
        return {k: getattr(self, k) for k in self.__dataclass_fields__}


Heads = Callable[[Float32], tuple[Float32, Float32]]  # beliefs (T,B) -> people (T,H,5), senses


def beliefs_along(observe: Session, sequence: Observations, steps: int) -> Float32:
    """Beliefs (T,B) of one session that filters a sequence by itself, from an empty belief."""
    size = observe.inputs["belief"].shape[1]
    noise = observe.inputs["noise"].shape[1]
    belief = np.zeros(size, np.float32)
    out = np.zeros((min(steps, len(sequence)), size), np.float32)
    for t in range(len(out)):
        for name, value in sequence.feed(t, belief, noise).items():
            observe.inputs[name][...] = value
        observe.run()
        belief = observe.outputs["belief_out"][0].copy()
        out[t] = belief
    return out


def compare(reference: Float32, other: Float32, classes: slice, heads: Heads) -> Drift:
    """Beliefs (T,B) of two runs: `classes` is where their one-hot part stands."""
    apart = np.abs(reference - other).mean(-1)
    a, b = reference[:, classes], other[:, classes]
    flipped = np.abs(a - b).sum() / 2 / max(a.sum(), 1.0)
    people, senses = heads(reference)
    people_other, senses_other = heads(other)
    distance = np.linalg.norm(people[..., 1:3] - people_other[..., 1:3], axis=-1)
    present = people[..., 0] > SEEN
    if not present.any():
        present[:] = True  # nobody is there: then every place that it names counts
    senses_apart = np.abs(senses - senses_other).mean(-1)
    end = slice(-LAST, None)
    last = distance[end][present[end]]
    return Drift(
        steps=len(reference),
        belief_end=float(apart[end].mean()),
        belief_max=float(apart.max()),
        classes_apart=float(flipped),
        person_end_m=float(last.mean()) if last.size else 0.0,
        person_max_m=float(distance[present].max()),
        senses_end=float(senses_apart[end].mean()),
        senses_max=float(senses_apart.max()),
    )


def torch_heads(world: Any) -> Heads:
    """People and senses that torch's heads read from beliefs."""
    from models.world import person_fields

    def heads(beliefs: Float32) -> tuple[Float32, Float32]:
        import torch

        with torch.no_grad():
            belief = torch.from_numpy(beliefs)
            x = world.trunk(belief[:, : world.s.core])
            return person_fields(world.who(belief).numpy()), world.sense(x).numpy()

    return heads
