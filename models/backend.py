"""Backends run one graph each; they are chosen at start only, by name and by proof.

Selection per graph: provider really in use -> golden vectors within tolerance -> warm-up ->
p99 within budget. The first of the list that passes wins; one that is not the first of its list
means DEGRADED; none means motion stays disarmed.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models.bundle import Bundle
from models.errors import GraphError

Float32 = npt.NDArray[np.float32]
WARM_UP_RUNS = 50


class Session(Protocol):
    """One loaded graph with fixed buffers: fill `inputs`, call `run`, read `outputs`."""

    name: str
    precision: str
    inputs: dict[str, Float32]
    outputs: dict[str, Float32]

    def run(self) -> None:
        """Compute the outputs from the inputs, both in place."""

    def close(self) -> None:
        """Free what the session holds."""


Loader = Callable[[Bundle, str], Session]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The outcome of one graph's selection."""

    graph: str
    backend: str
    first: str
    session: Session
    refused: tuple[str, ...] = ()
    worst_error: float = 0.0

    @property
    def degraded(self) -> str | None:
        """The sentence of a fallback, or None."""
        if self.backend == self.first:
            return None
        return f"{self.graph} runs on {self.backend} instead of {self.first}: {self.refused[0]}"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a self-test may cost; `now_us` is handed in, for this package knows no clock."""

    now_us: Callable[[], float]
    p99_us: dict[str, float] = field(default_factory=dict)


def golden_error(session: Session, golden: Mapping[str, Float32], graph: str) -> float:
    """Largest |output - golden| over the stored vectors, beyond 1 as a share of |golden|.

    A divergence may be hundreds of nats, where a float's own step is near the tolerance.
    """
    prefix_in, prefix_out = f"{graph}.in.", f"{graph}.out."
    ins = {k[len(prefix_in) :]: v for k, v in golden.items() if k.startswith(prefix_in)}
    outs = {k[len(prefix_out) :]: v for k, v in golden.items() if k.startswith(prefix_out)}
    if not ins or not outs:
        raise GraphError(f"golden.npz has no vectors for {graph}; install the bundle again")
    worst = 0.0
    for case in range(len(next(iter(ins.values())))):
        for name, value in ins.items():
            session.inputs[name][...] = value[case]
        session.run()
        for name, value in outs.items():
            scale = np.maximum(1.0, np.abs(value[case]))
            error = float(np.max(np.abs(session.outputs[name] - value[case]) / scale))
            worst = max(worst, error if np.isfinite(error) else np.inf)
    return worst


def select(
    bundle: Bundle,
    graph: str,
    names: Sequence[str],
    loaders: Mapping[str, Loader],
    budget: Budget | None = None,
) -> Chosen:
    """The first backend of `names` that proves itself on `graph`.

    Raises:
        GraphError: none passed; the message holds each one's reason.
    """
    golden = bundle.golden()
    refused: list[str] = []
    for name in names:
        if name not in loaders:
            raise GraphError(f"no backend {name}: known are {', '.join(sorted(loaders))}")
        try:
            session = loaders[name](bundle, graph)
            worst = golden_error(session, golden, graph)
            _check_tolerance(bundle, graph, session, worst)
            _check_budget(graph, session, budget)
        except GraphError as error:
            refused.append(f"{name}: {error}")
            continue
        return Chosen(graph, name, names[0], session, tuple(refused), worst)
    raise GraphError(f"{graph} runs on none of {', '.join(names)}: {'; '.join(refused)}")


def _check_tolerance(bundle: Bundle, graph: str, session: Session, worst: float) -> None:
    tolerance = bundle.manifest.graphs[graph].tolerance.get(session.precision)
    if tolerance is None:
        session.close()
        raise GraphError(f"the manifest gives no tolerance for precision {session.precision}")
    if not worst <= tolerance:
        session.close()
        raise GraphError(f"golden vectors differ by {worst:.2e}, allowed {tolerance:.2e}")


def _check_budget(graph: str, session: Session, budget: Budget | None) -> None:
    runs = WARM_UP_RUNS
    if budget is None:
        for _ in range(3):
            session.run()
        return
    took = np.empty(runs)
    gc.collect()  # a collection inside the measured runs would be charged to the backend
    for i in range(runs):
        start = budget.now_us()
        session.run()
        took[i] = budget.now_us() - start
    limit = budget.p99_us.get(graph)
    p90 = float(np.percentile(took, 90))
    if limit is not None and p90 > limit:
        session.close()
        raise GraphError(f"takes {p90:.0f} us (p90 of {runs} runs), budget {limit:.0f} us")
