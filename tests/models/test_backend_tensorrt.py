"""The TensorRT backend against a strict stand-in for `tensorrt` and `cuda.bindings.runtime`.

Neither is on a machine without an NVIDIA GPU. The stand-in offers, per TensorRT version, only names
that this version's Python package has (read from the 10.3.0, 10.16.1 and 11.4.0 wheels, and from
cuda-bindings 12.9 and 13.4), with their parameters: a call that is gone, as FP16 flags on 11, or a
wrong number of arguments is an AttributeError or TypeError here. It computes with ONNX Runtime on
the very addresses that the backend bound, so golden vectors pass only if binding is right.
"""

import ctypes
import re
import sys
from dataclasses import replace
from enum import IntEnum
from pathlib import Path
from types import ModuleType, SimpleNamespace

import msgspec
import numpy as np
import onnxruntime
import pytest

from models.backend import golden_error, select
from models.backend_tensorrt import TensorRtSession, build_engine, engine_path
from models.backends import loaders
from models.bundle import Bundle, find_bundle, load_bundle
from models.errors import GraphError
from models.manifest import GRAPHS, TensorSpec
from runtime.body import load_body
from tools import companion

VERSIONS = ("10.3.0", "10.16.1.11", "11.4.0.106")
DEVICE_OFFSET = 1 << 52  # device addresses differ from host addresses, as on a discrete GPU


class CudaError(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35


class Handle:
    """A stream or a graph: an opaque number with what was queued on it."""

    def __init__(self) -> None:
        self.work: list = []
        self.capturing = False

    def __int__(self) -> int:
        return id(self)


class FakeCuda(ModuleType):
    """`cuda.bindings.runtime`: every function returns (error, values...)."""

    cudaHostAllocMapped = 2
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self) -> None:
        super().__init__("cuda.bindings.runtime")
        self.live: dict[int, object] = {}
        self.streams: dict[int, Handle] = {}
        self.graphs: set[int] = set()
        self.fail: dict[str, CudaError] = {}
        self.gpu = SimpleNamespace(name=b"Orin", major=8, minor=7)

    def _done(self, name: str, *values: object) -> tuple:
        error = self.fail.get(name, CudaError.cudaSuccess)
        return (error, *values) if not error else (error, *([None] * len(values)))

    def cudaGetDeviceProperties(self, device: int) -> tuple:
        return self._done("cudaGetDeviceProperties", self.gpu)

    def cudaHostAlloc(self, size: int, flags: int) -> tuple:
        assert flags == self.cudaHostAllocMapped
        memory = ctypes.create_string_buffer(size)
        if not self.fail.get("cudaHostAlloc"):
            self.live[ctypes.addressof(memory)] = memory
        return self._done("cudaHostAlloc", ctypes.addressof(memory))

    def cudaHostGetDevicePointer(self, pHost: int, flags: int) -> tuple:
        assert pHost in self.live and flags == 0
        return self._done("cudaHostGetDevicePointer", pHost + DEVICE_OFFSET)

    def cudaFreeHost(self, ptr: int) -> tuple:
        del self.live[ptr]
        return self._done("cudaFreeHost")

    def cudaStreamCreate(self) -> tuple:
        stream = Handle()
        self.streams[int(stream)] = stream
        return self._done("cudaStreamCreate", stream)

    def cudaStreamDestroy(self, stream: Handle) -> tuple:
        del self.streams[int(stream)]
        return self._done("cudaStreamDestroy")

    def cudaStreamSynchronize(self, stream: Handle) -> tuple:
        assert not stream.capturing
        for work in stream.work:
            work()
        stream.work.clear()
        return self._done("cudaStreamSynchronize")

    def cudaStreamBeginCapture(self, stream: Handle, mode: int) -> tuple:
        assert mode == 1 and not stream.work, "the warm-up is over before the capture"
        stream.capturing = True
        return self._done("cudaStreamBeginCapture")

    def cudaStreamEndCapture(self, stream: Handle) -> tuple:
        graph = Handle()
        graph.work, stream.work, stream.capturing = stream.work, [], False
        self.graphs.add(int(graph))
        return self._done("cudaStreamEndCapture", graph)

    def cudaGraphInstantiate(self, graph: Handle, flags: int) -> tuple:
        launch = Handle()
        launch.work = list(graph.work)
        self.graphs.add(int(launch))
        return self._done("cudaGraphInstantiate", launch)

    def cudaGraphDestroy(self, graph: Handle) -> tuple:
        self.graphs.remove(int(graph))
        return self._done("cudaGraphDestroy")

    def cudaGraphExecDestroy(self, graphExec: Handle) -> tuple:
        self.graphs.remove(int(graphExec))
        return self._done("cudaGraphExecDestroy")

    def cudaGraphLaunch(self, graphExec: Handle, stream: Handle) -> tuple:
        stream.work += graphExec.work  # runs at the next synchronise, as a GPU may
        return self._done("cudaGraphLaunch")

    @property
    def leaks(self) -> int:
        return len(self.live) + len(self.streams) + len(self.graphs)


class Choices(SimpleNamespace):
    """An enumeration; int() of a member works."""


def fake_tensorrt(version: str, cuda: FakeCuda) -> ModuleType:  # noqa: C901  (a module of classes)
    """The `tensorrt` module of one version."""
    major = int(version.split(".")[0])
    trt = ModuleType("tensorrt")
    trt.__version__ = version
    trt.refuse = {}  # what this GPU or this TensorRT will not do, set by tests
    trt.calls = []
    trt.MemoryPoolType = Choices(WORKSPACE=0)
    trt.TensorIOMode = Choices(NONE=0, INPUT=1, OUTPUT=2)
    trt.DataType = Choices(FLOAT="DataType.FLOAT", HALF="DataType.HALF")
    trt.BuilderFlag = Choices(TF32="TF32", REFIT="REFIT", DIRECT_IO="DIRECT_IO")
    trt.NetworkDefinitionCreationFlag = Choices(STRONGLY_TYPED=1)
    if major == 10:
        trt.BuilderFlag.FP16, trt.BuilderFlag.INT8 = "FP16", "INT8"
        trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH = 0

    class Logger:
        WARNING = 2

        def __init__(self, min_severity: int = 2) -> None:
            trt.calls.append("Logger")

    class HostMemory(bytearray):
        pass

    class Network:
        __slots__ = ("onnx",)

    class Config:
        __slots__ = ("flags", "pools")

        def __init__(self) -> None:
            self.flags, self.pools = {"TF32"}, {}

        def set_memory_pool_limit(self, pool: int, pool_size: int) -> None:
            self.pools[pool] = pool_size

        def set_flag(self, flag: str) -> None:
            self.flags.add(flag)

        def clear_flag(self, flag: str) -> None:
            self.flags.discard(flag)

    class Builder:
        def __init__(self, logger: Logger) -> None:
            if trt.refuse.get("gpu"):
                raise TypeError("pybind11::init(): factory function returned nullptr")

        def create_network(self, flags: int = 0) -> Network:
            assert flags == 1 << 1 or major > 10, "on 10 the network must be strongly typed"
            return Network()

        def create_builder_config(self) -> Config:
            return Config()

        def build_serialized_network(self, network: Network, config: Config) -> HostMemory | None:
            trt.calls.append(("build", frozenset(config.flags), dict(config.pools)))
            if trt.refuse.get("build"):
                return None
            return HostMemory(b"PLAN" + version.encode().ljust(16) + network.onnx)

    class ParserError:
        def __str__(self) -> str:
            return "In node 3: unsupported operator"

    class OnnxParser:
        def __init__(self, network: Network, logger: Logger) -> None:
            self._network = network
            self.num_errors = 0

        def parse_from_file(self, model: str) -> bool:
            assert isinstance(model, str)
            self._network.onnx = Path(model).read_bytes()
            self.num_errors = 1 if trt.refuse.get("parse") else 0
            return self.num_errors == 0

        def get_error(self, index: int) -> ParserError:
            return ParserError()

    class Context:
        def __init__(self, engine: "Engine") -> None:
            self._engine, self._at = engine, {}

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self._at[name] = memory - DEVICE_OFFSET
            return memory - DEVICE_OFFSET in cuda.live and not trt.refuse.get("address")

        def infer_shapes(self) -> list[str]:
            return trt.refuse.get("shapes", [])

        def execute_async_v3(self, stream_handle: int) -> bool:
            if trt.refuse.get("run"):
                return False
            cuda.streams[stream_handle].work.append(self._compute)
            return True

        def _compute(self) -> None:
            session = self._engine.session
            view = {
                t.name: np.ctypeslib.as_array(
                    (ctypes.c_float * int(np.prod(t.shape))).from_address(self._at[t.name])
                ).reshape(t.shape)
                for t in session.get_inputs() + session.get_outputs()
            }
            feed = {t.name: view[t.name] for t in session.get_inputs()}
            for t, value in zip(session.get_outputs(), session.run(None, feed), strict=True):
                view[t.name][...] = value

    class Engine:
        def __init__(self, onnx: bytes) -> None:
            self.session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
            self._inputs = {t.name: tuple(t.shape) for t in self.session.get_inputs()}
            self._all = self._inputs | {t.name: tuple(t.shape) for t in self.session.get_outputs()}
            self.num_io_tensors = len(self._all)

        def get_tensor_name(self, index: int) -> str:
            return list(self._all)[index]

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return self._all[name]

        def get_tensor_mode(self, name: str) -> int:
            return trt.TensorIOMode.INPUT if name in self._inputs else trt.TensorIOMode.OUTPUT

        def get_tensor_dtype(self, name: str) -> str:
            return trt.refuse.get("dtype", trt.DataType.FLOAT)

        def create_execution_context(self) -> Context | None:
            return None if trt.refuse.get("context") else Context(self)

    class Runtime:
        def __init__(self, logger: Logger) -> None:
            if trt.refuse.get("gpu"):
                raise TypeError("pybind11::init(): factory function returned nullptr")

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
            fits = serialized_engine[4:20].strip() == version.encode()
            return Engine(serialized_engine[20:]) if fits else None

    trt.Logger, trt.Builder, trt.OnnxParser, trt.Runtime = Logger, Builder, OnnxParser, Runtime
    return trt


def install(monkeypatch: pytest.MonkeyPatch, version: str) -> tuple[ModuleType, FakeCuda]:
    cuda = FakeCuda()
    trt = fake_tensorrt(version, cuda)
    package, bindings = ModuleType("cuda"), ModuleType("cuda.bindings")
    package.bindings, bindings.runtime = bindings, cuda
    modules = {"tensorrt": trt, "cuda": package, "cuda.bindings": bindings, "cuda.bindings.runtime": cuda}  # fmt: skip
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return trt, cuda


@pytest.fixture(params=VERSIONS)
def gpu(request, monkeypatch) -> tuple[ModuleType, FakeCuda]:
    return install(monkeypatch, request.param)


@pytest.fixture
def gpu10(monkeypatch) -> tuple[ModuleType, FakeCuda]:
    return install(monkeypatch, "10.3.0")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(find_bundle("companion-follow"), load_body("companion").layout())


def quiet(_text: str) -> None:
    pass


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_built_engine_meets_the_golden_vectors_and_leaves_nothing(gpu, bundle, graph, tmp_path) -> None:  # fmt: skip
    trt, cuda = gpu
    build_engine(bundle, graph, tmp_path, quiet)
    session = TensorRtSession(bundle, graph, tmp_path)
    error = golden_error(session, bundle.golden(), graph)
    assert error <= bundle.manifest.graphs[graph].tolerance["fp32"]
    assert cuda.leaks == len(session.inputs) + len(session.outputs) + 2, "one stream, one launch"
    session.close()
    session.close()
    assert cuda.leaks == 0


def test_the_build_asks_for_full_float32_and_bounded_memory(gpu, bundle, tmp_path) -> None:
    trt, _ = gpu
    build_engine(bundle, "policy", tmp_path, quiet)
    (_, flags, pools) = next(c for c in trt.calls if c[0] == "build")
    assert not flags, "TF32 is off, nothing else is on"
    assert pools == {trt.MemoryPoolType.WORKSPACE: 256 << 20}
    assert trt.calls.count("Logger") == 1


def test_selection_takes_it_where_an_engine_was_built_and_degrades_where_not(
    gpu10, bundle, tmp_path
) -> None:
    order = ["tensorrt", "ort-cpu"]
    without = select(bundle, "decode", order, loaders(tmp_path))
    assert without.backend == "ort-cpu"
    assert re.search("no engine for decode .*run `companion engine build`", without.degraded or "")
    build_engine(bundle, "decode", tmp_path, quiet)
    chosen = select(bundle, "decode", order, loaders(tmp_path))
    assert chosen.backend == "tensorrt" and chosen.degraded is None
    chosen.session.close()


def test_a_second_build_does_nothing(gpu10, bundle, tmp_path) -> None:
    trt, _ = gpu10
    said: list[str] = []
    first = build_engine(bundle, "policy", tmp_path, said.append)
    again = build_engine(bundle, "policy", tmp_path, said.append)
    assert first == again and "up to date" in said[-1]
    assert sum(c[0] == "build" for c in trt.calls) == 1
    assert [p.name for p in tmp_path.iterdir()] == [first.name], "no half-written file"


def test_the_key_changes_with_graph_version_and_gpu(bundle, monkeypatch, tmp_path) -> None:
    def path(bundle: Bundle = bundle, version: str = "10.3.0", **gpu: object) -> Path:
        trt, cuda = install(monkeypatch, version)
        vars(cuda.gpu).update(gpu)
        return engine_path(tmp_path, bundle, "policy", trt, cuda)

    sha256 = {**bundle.manifest.sha256, "policy.onnx": "0" * 64}
    other = replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, sha256=sha256))
    paths = [
        path(), path(other), path(version="10.16.1.11"), path(name=b"Thor"), path(major=11, minor=0)
    ]  # fmt: skip
    assert len(set(paths)) == len(paths)
    assert path() == paths[0] == path(name="Orin"), "cuda-bindings may give the name as str"


REFUSALS = {
    "gpu": (True, "finds no usable GPU"),
    "context": (True, "no GPU memory for policy"),
    "shapes": (["belief"], "misses the shapes of belief"),
    "address": (True, "refuses the buffer of policy.belief"),
    "run": (True, "refuses to run policy"),
    "dtype": ("DataType.HALF", "policy.belief is DataType.HALF in the engine"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_tensorrt_refuses_is_one_sentence_and_leaks_nothing(gpu10, bundle, tmp_path, what) -> None:  # fmt: skip
    trt, cuda = gpu10
    build_engine(bundle, "policy", tmp_path, quiet)
    value, says = REFUSALS[what]
    trt.refuse[what] = value
    with pytest.raises(GraphError, match=re.escape(says)):
        TensorRtSession(bundle, "policy", tmp_path)
    assert cuda.leaks == 0


@pytest.mark.parametrize("call", ["cudaHostAlloc", "cudaHostGetDevicePointer", "cudaGraphInstantiate", "cudaStreamEndCapture"])  # fmt: skip
def test_a_cuda_error_is_named(gpu10, bundle, tmp_path, call) -> None:
    _, cuda = gpu10
    build_engine(bundle, "policy", tmp_path, quiet)
    cuda.fail[call] = CudaError.cudaErrorMemoryAllocation
    with pytest.raises(GraphError, match="CUDA says cudaErrorMemoryAllocation"):
        TensorRtSession(bundle, "policy", tmp_path)
    assert not cuda.live


def test_no_driver_is_named_before_anything_is_built(gpu10, bundle, tmp_path) -> None:
    _, cuda = gpu10
    cuda.fail["cudaGetDeviceProperties"] = CudaError.cudaErrorInsufficientDriver
    with pytest.raises(GraphError, match="CUDA says cudaErrorInsufficientDriver"):
        build_engine(bundle, "policy", tmp_path, quiet)


@pytest.mark.parametrize(("what", "says"), [("parse", "does not read policy: In node 3"), ("build", "builds no engine for policy")])  # fmt: skip
def test_a_failed_build_leaves_no_file(gpu10, bundle, tmp_path, what, says) -> None:
    trt, _ = gpu10
    trt.refuse[what] = True
    with pytest.raises(GraphError, match=says):
        build_engine(bundle, "policy", tmp_path, quiet)
    assert not list(tmp_path.iterdir())


def test_a_plan_of_another_tensorrt_is_refused(gpu10, bundle, tmp_path) -> None:
    plan = build_engine(bundle, "policy", tmp_path, quiet)
    plan.write_bytes(plan.read_bytes().replace(b"10.3.0 ", b"10.4.0 "))
    with pytest.raises(GraphError, match="does not fit this TensorRT; delete it"):
        TensorRtSession(bundle, "policy", tmp_path)


@pytest.mark.parametrize("kind", ["inputs", "outputs"])
def test_tensors_that_differ_from_the_manifest_are_refused(gpu10, bundle, tmp_path, kind) -> None:
    build_engine(bundle, "policy", tmp_path, quiet)
    spec = bundle.manifest.graphs["policy"]
    renamed = tuple(TensorSpec(name=f"{t.name}_2", shape=t.shape) for t in getattr(spec, kind))
    longer = tuple(TensorSpec(name=t.name, shape=(*t.shape[:-1], t.shape[-1] + 1)) for t in getattr(spec, kind))  # fmt: skip
    for changed, says in ((renamed, "in the manifest"), (longer, "in the engine, \\(")):
        graphs = {**bundle.manifest.graphs, "policy": msgspec.structs.replace(spec, **{kind: changed})}  # fmt: skip
        other = replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, graphs=graphs))
        with pytest.raises(GraphError, match=says):
            TensorRtSession(other, "policy", tmp_path)


def test_engine_build_builds_all_but_the_policy(gpu10, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert companion.main(["engine", "build"]) == 0
    built = sorted(p.name.split(".")[0] for p in (tmp_path / "companion/engines").iterdir())
    assert built == ["decode", "imagine", "observe"]
    assert "observe: building" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("module", "says"),
    [("tensorrt", "TensorRT is not on this machine"), ("cuda.bindings", "cuda-bindings does not load")],
)  # fmt: skip
def test_engine_build_without_it_says_one_sentence(gpu10, monkeypatch, capsys, module, says) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, module, None)
    assert companion.main(["engine", "build"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("companion: ") and says in said.err
    assert said.err.count("\n") == 1


def test_the_stand_in_lacks_what_eleven_dropped() -> None:
    """The guard of this file: using a name that 11.4 lost would fail above."""
    trt = fake_tensorrt("11.4.0.106", FakeCuda())
    assert not hasattr(trt.BuilderFlag, "FP16")
    assert not hasattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH")
    config = trt.Builder(trt.Logger()).create_builder_config()
    with pytest.raises(AttributeError):
        config.int8_calibrator = None
