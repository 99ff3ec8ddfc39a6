"""ONNX Runtime on an accelerator: it takes its copy of an input when that is bound.

There is none here. The stand-in wraps the CPU's binding and copies as the CUDA provider was seen to
do (on an H200, ONNX Runtime 1.31): inputs at binding, outputs into the bound buffers at the run.
"""

from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from models import backend_onnxruntime
from models.backend import golden_error, select
from models.backends import loaders
from models.bundle import find_bundle, load_bundle
from models.manifest import GRAPHS
from runtime.body import load_body
from tools.compose import DEFAULT_BUNDLE


class CopyingBinding:
    """Binds copies of inputs."""

    def __init__(self, inner):
        self._inner, self._iobinding = inner, inner._iobinding
        self.kept = {}

    def bind_input(self, name, device, number, kind, shape, address):
        import ctypes

        count = int(np.prod(shape))
        there = np.ctypeslib.as_array((ctypes.c_float * count).from_address(address))
        self.kept[name] = there.copy()
        self._inner.bind_input(name, device, number, kind, shape, self.kept[name].ctypes.data)

    def bind_output(self, *args):
        self._inner.bind_output(*args)


class CopyingSession:
    def __init__(self, path, options, providers, enable_fallback):
        self._inner = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self._sess = self._inner._sess
        self.disable_fallback = lambda: None
        self.get_providers = lambda: providers
        self.get_inputs, self.get_outputs = self._inner.get_inputs, self._inner.get_outputs

    def io_binding(self):
        return CopyingBinding(self._inner.io_binding())


@pytest.fixture
def accelerator(monkeypatch):
    fake = SimpleNamespace(
        __version__=onnxruntime.__version__,
        get_available_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
        SessionOptions=onnxruntime.SessionOptions,
        InferenceSession=CopyingSession,
    )
    monkeypatch.setattr(backend_onnxruntime, "_import_onnxruntime", lambda: fake)


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(find_bundle(DEFAULT_BUNDLE), load_body("companion").layout())


@pytest.mark.parametrize("graph", GRAPHS)
def test_an_accelerator_sees_every_new_input(accelerator, bundle, graph, tmp_path) -> None:
    chosen = select(bundle, graph, ["ort-cuda", "ort-cpu"], loaders(tmp_path))
    assert chosen.backend == "ort-cuda", chosen.refused
    assert golden_error(chosen.session, bundle.golden(), graph) < 1e-4
