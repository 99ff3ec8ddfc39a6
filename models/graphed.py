"""A training's update as one CUDA graph; on a CPU it is what it was.

An update is thousands of kernels that each take less time than their launch. Captured steps take no number from the host: what changes from update to update (the learning rate)
lives in a tensor, and what is drawn at random is drawn on the device.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Parts = dict[str, Tensor]
WARM_UP = 3  # calls before the capture, as torch asks: they allocate, and choose kernels


class Repeated:
    """Calls `step`, which makes one update and returns its losses; on a GPU it is replayed."""

    def __init__(self, step: Callable[[], Parts], drawn_by: torch.Generator) -> None:
        self._step, self._generator = step, drawn_by
        self._on_gpu = drawn_by.device.type == "cuda"
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._parts: Parts = {}
        if self._on_gpu:
            self._stream = torch.cuda.Stream()

    def __call__(self) -> Parts:
        """One update; the losses stay valid until the next one."""
        if not self._on_gpu:
            return self._step()
        if self._calls < WARM_UP:
            self._calls += 1
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                parts = self._step()
            torch.cuda.current_stream().wait_stream(self._stream)
            return parts
        if self._graph is None:
            self._graph = self._captured()
        self._graph.replay()
        return self._parts

    def _captured(self) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)  # a replay draws on
        with torch.cuda.graph(graph):
            self._parts = self._step()
        return graph


class Mean:
    """The mean of losses since it was last asked, added up where they are."""

    def __init__(self) -> None:
        self._total: Parts = {}
        self._count = 0

    def add(self, parts: Parts) -> None:
        """One update's."""
        for key, value in parts.items():
            before = self._total.get(key)
            self._total[key] = value.detach().clone() if before is None else before + value.detach()
        self._count += 1

    def take(self) -> dict[str, float]:
        """The means, and begin anew."""
        out = {key: float(value) / self._count for key, value in self._total.items()}
        self._total, self._count = {}, 0
        return out


def adam(parameters: list[torch.nn.Parameter], rate: float) -> torch.optim.Adam:
    """An optimiser whose rate `set_rate` may change from update to update, captured or not."""
    on_gpu = parameters[0].is_cuda
    first = torch.tensor(rate, device=parameters[0].device) if on_gpu else rate
    return torch.optim.Adam(parameters, lr=first, eps=1e-5, capturable=on_gpu)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next update."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def compiled(device: str, *modules: torch.nn.Module) -> None:
    """Fuse what these modules' `forward` does (TorchInductor), on a GPU alone."""
    if device == "cuda":
        for module in modules:
            module.compile(dynamic=False)
