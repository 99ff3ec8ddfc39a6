"""Native TensorRT: one code path valid on 10.3 (JetPack 6), 10.16 and 11.4 (JetPack 7).

Strongly typed network (precision is what the ONNX file says), static shapes, one CUDA graph per
session. Nothing is built here: `build_engine` is called by `companion engine build` alone, and a
session loads the plan whose key (graph, TensorRT version, GPU, precision) matches.
"""

from __future__ import annotations

import ctypes
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
    except ImportError as error:
        raise GraphError(
            f"TensorRT is not on this machine ({error}); on a Jetson install the system package "
            "python3-libnvinfer and make the venv with --system-site-packages"
        ) from error
    return tensorrt


def import_cuda() -> Any:
    """The CUDA runtime bindings, or a GraphError that says what is missing."""
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise GraphError(
            f"cuda-bindings is not installed ({error}); pip install cuda-bindings"
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
    """What a plan depends on: the graph's bytes, TensorRT, the GPU."""
    properties = check(cuda.cudaGetDeviceProperties(0))
    name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
    parts = [
        bundle.manifest.sha256[bundle.manifest.graphs[graph].file],
        trt.__version__,
        name,
        f"sm{properties.major}{properties.minor}",
        "fp32",
    ]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:24]


def engine_path(folder: Path, bundle: Bundle, graph: str, trt: Any, cuda: Any) -> Path:
    """Where the plan of a graph lies."""
    return folder / f"{graph}.{engine_key(bundle, graph, trt, cuda)}.plan"


def build_engine(bundle: Bundle, graph: str, folder: Path, say: Callable[[str], None]) -> Path:
    """Build one plan beside its place and rename it there; minutes on a Jetson, never in the loop."""
    trt, cuda = import_tensorrt(), import_cuda()
    target = engine_path(folder, bundle, graph, trt, cuda)
    if target.is_file():
        say(f"{graph}: up to date ({target.name})")
        return target
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(bundle.graph(graph))):
        errors = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise GraphError(f"TensorRT {trt.__version__} does not read {graph}: {errors}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    say(f"{graph}: building for {target.name} ...")
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise GraphError(
            f"TensorRT {trt.__version__} builds no engine for {graph}; see its log above"
        )
    folder.mkdir(parents=True, exist_ok=True)
    work = target.with_suffix(".part")
    work.write_bytes(memoryview(plan))
    work.replace(target)
    return target


class TensorRtSession:
    """One engine, its pinned host buffers and its captured CUDA graph."""

    precision = "fp32"

    def __init__(self, bundle: Bundle, graph: str, folder: Path) -> None:
        self.name = graph
        self._trt, self._cuda = import_tensorrt(), import_cuda()
        path = engine_path(folder, bundle, graph, self._trt, self._cuda)
        if not path.is_file():
            raise GraphError(
                f"no engine for {graph} here ({path.name}); run `companion engine build`"
            )
        logger = self._trt.Logger(self._trt.Logger.WARNING)
        self._runtime = self._trt.Runtime(logger)
        self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise GraphError(
                f"{path.name} does not fit this TensorRT; run `companion engine build`"
            )
        self._context = self._engine.create_execution_context()
        self._stream = check(self._cuda.cudaStreamCreate())
        self._device: list[int] = []
        spec = bundle.manifest.graphs[graph]
        self.inputs: dict[str, Float32] = {t.name: self._bind(t.name, t.shape) for t in spec.inputs}
        self.outputs: dict[str, Float32] = {
            t.name: self._bind(t.name, t.shape) for t in spec.outputs
        }
        missing = self._context.infer_shapes()
        if missing:
            raise GraphError(f"{graph}: TensorRT misses the shapes of {', '.join(missing)}")
        self._graph = self._capture()

    def _bind(self, name: str, shape: tuple[int, ...]) -> Float32:
        """Mapped host memory for one tensor: on a Jetson the GPU reads it without a copy."""
        found = tuple(self._engine.get_tensor_shape(name))
        if found != tuple(shape):
            raise GraphError(
                f"{self.name}.{name} is {found} in the engine, {tuple(shape)} in the manifest"
            )
        count = int(np.prod(shape))
        host = check(self._cuda.cudaHostAlloc(count * 4, self._cuda.cudaHostAllocMapped))
        self._device.append(int(host))
        pointer = check(self._cuda.cudaHostGetDevicePointer(host, 0))
        self._context.set_tensor_address(name, int(pointer))
        raw = (ctypes.c_float * count).from_address(int(host))
        array: Float32 = np.ctypeslib.as_array(raw).reshape(shape)
        array[...] = 0
        return array

    def _capture(self) -> Any:
        """Warm up once, then record the launches: one call per run afterwards."""
        if not self._context.execute_async_v3(int(self._stream)):
            raise GraphError(f"TensorRT refuses to run {self.name}; see its log above")
        check(self._cuda.cudaStreamSynchronize(self._stream))
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        check(self._cuda.cudaStreamBeginCapture(self._stream, mode))
        self._context.execute_async_v3(int(self._stream))
        graph = check(self._cuda.cudaStreamEndCapture(self._stream))
        return check(self._cuda.cudaGraphInstantiate(graph, 0))

    def run(self) -> None:
        """Launch the captured graph and wait for it."""
        check(self._cuda.cudaGraphLaunch(self._graph, self._stream))
        check(self._cuda.cudaStreamSynchronize(self._stream))

    def close(self) -> None:
        """Free engine, graph and buffers."""
        check(self._cuda.cudaGraphExecDestroy(self._graph))
        check(self._cuda.cudaStreamDestroy(self._stream))
        self._context = self._engine = None
        for host in self._device:
            check(self._cuda.cudaFreeHost(host))
