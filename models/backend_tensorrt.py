"""Native TensorRT: one code path valid on 10.3 (JetPack 6), 10.16 and 11.4 (JetPack 7).

Strongly typed network (precision is what the ONNX file says), static shapes, one CUDA graph per
session. Nothing is built here: `build_engine` is called by `companion engine build` alone, and a
session loads the plan whose key (graph, TensorRT version, GPU, precision) matches.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.bundle import Bundle
from models.errors import GraphError

Float32 = npt.NDArray[np.float32]
WORKSPACE_BYTES = 256 << 20


def import_tensorrt() -> Any:
    """TensorRT's Python module, or a GraphError that says what is missing."""
    try:
        import tensorrt
    except (ImportError, OSError) as error:  # OSError: the package is there, a library is not
        raise GraphError(
            f"TensorRT is not on this machine ({error}); on a Jetson install the system package "
            "python3-libnvinfer and make the venv with --system-site-packages"
        ) from error
    return tensorrt


def import_cuda() -> Any:
    """The CUDA runtime bindings, or a GraphError that says what is missing."""
    try:
        from cuda.bindings import runtime
    except (ImportError, OSError, RuntimeError) as error:
        raise GraphError(
            f"cuda-bindings does not load ({error}); pip install 'cuda-bindings==12.*' on "
            "JetPack 6, 'cuda-bindings==13.*' on JetPack 7"
        ) from error
    return runtime


def check(result: tuple[Any, ...]) -> Any:
    """Unwrap a cuda-bindings result; GraphError on anything but success."""
    code, *values = result
    if int(code) != 0:
        raise GraphError(f"CUDA says {getattr(code, 'name', code)}; see nvidia-smi or dmesg")
    if not values:
        return None
    return values[0] if len(values) == 1 else tuple(values)


def engine_key(bundle: Bundle, graph: str, trt: Any, cuda: Any) -> str:
    """What a plan depends on: the graph's bytes, TensorRT, the GPU, the precision."""
    properties = check(cuda.cudaGetDeviceProperties(0))
    name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
    parts = [
        bundle.manifest.sha256[bundle.manifest.graphs[graph].file],
        trt.__version__,
        name,
        f"sm{properties.major}{properties.minor}",
        bundle.manifest.precision,
    ]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:24]


def engine_path(folder: Path, bundle: Bundle, graph: str, trt: Any, cuda: Any) -> Path:
    """Where the plan of a graph lies."""
    return folder / f"{graph}.{engine_key(bundle, graph, trt, cuda)}.plan"


@functools.cache
def _logger(trt: Any) -> Any:
    """One logger per process: TensorRT keeps the first it is given, and complains of others."""
    return trt.Logger(trt.Logger.WARNING)


def _open(trt: Any, kind: str) -> Any:
    """A Builder or Runtime; without a usable GPU its factory returns null, which is a TypeError."""
    try:
        return getattr(trt, kind)(_logger(trt))
    except TypeError as error:
        raise GraphError(
            f"TensorRT {trt.__version__} finds no usable GPU ({error}); its CUDA must match the driver"
        ) from error


def build_engine(bundle: Bundle, graph: str, folder: Path, say: Callable[[str], None]) -> Path:
    """Build one plan beside its place and rename it there; minutes on a Jetson, never in the loop."""
    trt, cuda = import_tensorrt(), import_cuda()
    target = engine_path(folder, bundle, graph, trt, cuda)
    if target.is_file():
        say(f"{graph}: up to date ({target.name})")
        return target
    say(f"{graph}: building for {target.name} ...")
    plan = _build(trt, bundle, graph)
    folder.mkdir(parents=True, exist_ok=True)
    work = target.with_suffix(".part")
    work.write_bytes(memoryview(plan))
    work.replace(target)
    return target


def _build(trt: Any, bundle: Bundle, graph: str) -> Any:
    """The serialized plan of one graph."""
    builder = _open(trt, "Builder")
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, _logger(trt))
    if not parser.parse_from_file(str(bundle.graph(graph))):
        errors = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise GraphError(f"TensorRT {trt.__version__} does not read {graph}: {errors}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    # On by default: it rounds float32 products to 10 bits, beyond the golden vectors' tolerance.
    config.clear_flag(trt.BuilderFlag.TF32)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise GraphError(
            f"TensorRT {trt.__version__} builds no engine for {graph}; see its log above"
        )
    return plan


class TensorRtSession:
    """One engine, its pinned host buffers and its captured CUDA graph."""

    def __init__(self, bundle: Bundle, graph: str, folder: Path) -> None:
        self.name = graph
        self.precision: str = bundle.manifest.precision
        self._trt, self._cuda = import_tensorrt(), import_cuda()
        path = engine_path(folder, bundle, graph, self._trt, self._cuda)
        if not path.is_file():
            raise GraphError(
                f"no engine for {graph} here ({path.name}); run `companion engine build`"
            )
        self.inputs: dict[str, Float32] = {}
        self.outputs: dict[str, Float32] = {}
        self._host: list[int] = []
        self._stream: Any = None
        self._launch: Any = None
        try:
            self._load(path)
            self._bind_all(bundle)
            self._capture()
        except GraphError:
            self.close()
            raise

    def _load(self, path: Path) -> None:
        self._runtime = _open(self._trt, "Runtime")
        self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise GraphError(
                f"{path.name} does not fit this TensorRT; delete it and run `companion engine build`"
            )
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise GraphError(f"no GPU memory for {self.name}; stop other programs")
        self._stream = check(self._cuda.cudaStreamCreate())

    def _bind_all(self, bundle: Bundle) -> None:
        """Bind every tensor of the manifest; the engine must have these and no others."""
        spec = bundle.manifest.graphs[self.name]
        engine, mode = self._engine, self._trt.TensorIOMode
        found = {
            n: engine.get_tensor_mode(n)
            for n in (engine.get_tensor_name(i) for i in range(engine.num_io_tensors))
        }
        asked = {t.name: mode.INPUT for t in spec.inputs}
        asked |= {t.name: mode.OUTPUT for t in spec.outputs}
        if found != asked:
            raise GraphError(
                f"{self.name} has tensors {', '.join(sorted(found))} in the engine, "
                f"{', '.join(sorted(asked))} in the manifest"
            )
        self.inputs = {t.name: self._bind(t.name, t.shape) for t in spec.inputs}
        self.outputs = {t.name: self._bind(t.name, t.shape) for t in spec.outputs}
        missing = self._context.infer_shapes()
        if missing:
            raise GraphError(f"{self.name}: TensorRT misses the shapes of {', '.join(missing)}")

    def _bind(self, name: str, shape: tuple[int, ...]) -> Float32:
        """Mapped host memory for one tensor: on a Jetson the GPU reads it without a copy."""
        found = tuple(self._engine.get_tensor_shape(name))
        if found != tuple(shape):
            raise GraphError(
                f"{self.name}.{name} is {found} in the engine, {tuple(shape)} in the manifest"
            )
        kind = self._engine.get_tensor_dtype(name)
        if kind != self._trt.DataType.FLOAT:
            raise GraphError(f"{self.name}.{name} is {kind} in the engine, float32 in the manifest")
        count = int(np.prod(shape))
        host = int(check(self._cuda.cudaHostAlloc(count * 4, self._cuda.cudaHostAllocMapped)))
        self._host.append(host)
        pointer = check(self._cuda.cudaHostGetDevicePointer(host, 0))
        if not self._context.set_tensor_address(name, int(pointer)):
            raise GraphError(
                f"TensorRT refuses the buffer of {self.name}.{name}; see its log above"
            )
        array: Float32 = np.ctypeslib.as_array((ctypes.c_float * count).from_address(host))
        array[...] = 0
        return array.reshape(shape)

    def _capture(self) -> None:
        """Warm up once, then record the launches: one call per run afterwards."""
        self._enqueue()
        check(self._cuda.cudaStreamSynchronize(self._stream))
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        check(self._cuda.cudaStreamBeginCapture(self._stream, mode))
        try:
            self._enqueue()
        finally:
            graph = check(self._cuda.cudaStreamEndCapture(self._stream))
        self._launch = check(self._cuda.cudaGraphInstantiate(graph, 0))
        check(self._cuda.cudaGraphDestroy(graph))

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(int(self._stream)):
            raise GraphError(f"TensorRT refuses to run {self.name}; see its log above")

    def run(self) -> None:
        """Launch the captured graph and wait for it."""
        check(self._cuda.cudaGraphLaunch(self._launch, self._stream))
        check(self._cuda.cudaStreamSynchronize(self._stream))

    def close(self) -> None:
        """Free engine, graph and buffers; arrays of this session must not be used afterwards."""
        self.inputs, self.outputs = {}, {}
        if self._launch is not None:
            check(self._cuda.cudaGraphExecDestroy(self._launch))
        if self._stream is not None:
            check(self._cuda.cudaStreamDestroy(self._stream))
        self._launch = self._stream = None
        self._context = self._engine = self._runtime = None
        while self._host:
            check(self._cuda.cudaFreeHost(self._host.pop()))
