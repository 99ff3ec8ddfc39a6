"""The registry of backends by name."""

from __future__ import annotations

from pathlib import Path

from models.backend import Loader, Session
from models.backend_onnxruntime import OnnxRuntimeSession
from models.bundle import Bundle


def _ort(backend: str) -> Loader:
    def load(bundle: Bundle, graph: str) -> Session:
        return OnnxRuntimeSession(bundle, graph, backend)

    return load


def loaders(engines: Path) -> dict[str, Loader]:
    """All backends; TensorRT plans are looked for in `engines`."""

    def tensorrt(bundle: Bundle, graph: str) -> Session:
        from models.backend_tensorrt import TensorRtSession  # heavy and rarely there

        return TensorRtSession(bundle, graph, engines)

    return {"tensorrt": tensorrt, "ort-cuda": _ort("ort-cuda"), "ort-cpu": _ort("ort-cpu")}
