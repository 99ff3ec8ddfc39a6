"""ONNX Runtime: the embedded CPU default, and CUDA behind the same door.

ONNX Runtime falls back silently to the CPU when a provider cannot load, so the provider that is
really in use is compared with the one that was asked for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from models.bundle import Bundle
from models.errors import GraphError

Float32 = npt.NDArray[np.float32]
PROVIDERS = {"ort-cpu": "CPUExecutionProvider", "ort-cuda": "CUDAExecutionProvider"}


class OnnxRuntimeSession:
    """One graph with inputs and outputs bound to fixed buffers (no allocation in `run`)."""

    def __init__(self, bundle: Bundle, graph: str, backend: str) -> None:
        self.name = graph
        self.precision: str = bundle.manifest.precision
        ort = _import_onnxruntime()
        provider = PROVIDERS[backend]
        if provider not in ort.get_available_providers():
            raise GraphError(f"onnxruntime {ort.__version__} has no {provider} on this machine")
        self._session = _open_session(ort, bundle, graph, provider)
        _check_shapes(self._session, bundle, graph)
        spec = bundle.manifest.graphs[graph]
        self.inputs: dict[str, Float32] = {
            t.name: np.zeros(t.shape, np.float32) for t in spec.inputs
        }
        self.outputs: dict[str, Float32] = {
            t.name: np.zeros(t.shape, np.float32) for t in spec.outputs
        }
        self._binding = self._session.io_binding()
        self._bind_inputs()
        # An accelerator takes its copy of an input when it is bound, not when it runs.
        self._copies = provider != PROVIDERS["ort-cpu"]
        for name, array in self.outputs.items():
            self._binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        # IOBinding's raw call: half the cost of Session.run_with_iobinding
        self._run = self._session._sess.run_with_iobinding
        self._raw_binding = self._binding._iobinding

    def run(self) -> None:
        """Compute outputs from inputs, in place."""
        if self._copies:
            self._bind_inputs()
        self._run(self._raw_binding, None)

    def _bind_inputs(self) -> None:
        for name, array in self.inputs.items():
            self._binding.bind_input(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    def close(self) -> None:
        """Drop the session."""
        self._run = None
        self._binding = None
        self._session = None


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise GraphError(
            f"onnxruntime is not installed ({error}); pip install onnxruntime"
        ) from error
    return onnxruntime


def _open_session(ort: Any, bundle: Bundle, graph: str, provider: str) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(
            str(bundle.graph(graph)), options, providers=[provider], enable_fallback=False
        )
    except Exception as error:
        raise GraphError(f"onnxruntime refuses {graph}: {str(error).splitlines()[0]}") from error
    session.disable_fallback()
    used = session.get_providers()
    if not used or used[0] != provider:
        raise GraphError(f"asked for {provider}, onnxruntime uses {', '.join(used) or 'none'}")
    return session


def _check_shapes(session: Any, bundle: Bundle, graph: str) -> None:
    spec = bundle.manifest.graphs[graph]
    for kind, asked, found in (
        ("input", spec.inputs, session.get_inputs()),
        ("output", spec.outputs, session.get_outputs()),
    ):
        want = {t.name: tuple(t.shape) for t in asked}
        have = {t.name: tuple(t.shape) for t in found}
        if want != have:
            raise GraphError(f"{graph} {kind}s are {have}, the manifest says {want}")
