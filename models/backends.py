"""The registry of backends by name."""

from __future__ import annotations

from models.backend import Loader, Session
from models.backend_onnxruntime import OnnxRuntimeSession
from models.bundle import Bundle


def _ort(backend: str) -> Loader:
    def load(bundle: Bundle, graph: str) -> Session:
        return OnnxRuntimeSession(bundle, graph, backend)

    return load


def _tensorrt(bundle: Bundle, graph: str) -> Session:
    from models.backend_tensorrt import TensorRtSession  # heavy and rarely there

    return TensorRtSession(bundle, graph)


LOADERS: dict[str, Loader] = {
    "tensorrt": _tensorrt,
    "ort-cuda": _ort("ort-cuda"),
    "ort-cpu": _ort("ort-cpu"),
}
