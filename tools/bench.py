"""`companion bench`: speed as ratios, each against a named baseline measured in the same run.

Samples of the two sides are interleaved, and medians compared: these figures hold on a noisy
machine where absolute times do not.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.errors import ConfigError

ROUNDS = 15
ABOUT = """
Every row is a ratio against a named baseline that is measured in the same run, in turn; `ok` is
ratio <= goal, and a miss is exit 1. Some rows of inference also show an absolute limit (one frame
folded in: 1 ms at the 95th percentile; 64 candidates over 12 steps: 15 ms): it is meant for a quiet
core, and never decides the exit code.

JSON keys: ok, rows[{name, value, unit, baseline, baseline_value, ratio, goal, ok, samples}],
  and in some rows limit, within
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One result; `ratio` is value / baseline_value, and `ok` is ratio <= goal.

    `limit`, in the row's unit, is what it should take on a quiet machine: shown, not judged.
    """

    name: str
    value: float
    unit: str
    baseline: str
    baseline_value: float
    goal: float
    samples: int
    limit: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The row as design section 10 names its keys."""
        ratio = self.value / self.baseline_value
        row = {
            "name": self.name, "value": round(self.value, 4), "unit": self.unit,
            "baseline": self.baseline, "baseline_value": round(self.baseline_value, 4),
            "ratio": round(ratio, 4), "goal": self.goal, "ok": ratio <= self.goal,
            "samples": self.samples,
        }  # fmt: skip
        if self.limit is not None:
            row |= {"limit": self.limit, "within": self.value <= self.limit}
        return row


def interleaved(
    ours: Callable[[], Any], theirs: Callable[[], Any], calls: int
) -> tuple[float, float]:
    """Median microseconds per call of both, measured in turn."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for kept, call in zip(found, (ours, theirs), strict=True):
            start = time.perf_counter()
            for _ in range(calls):
                call()
            kept.append((time.perf_counter() - start) / calls * 1e6)
    return float(np.median(found[0])), float(np.median(found[1]))


def codec() -> Iterator[Row]:
    """One control period's frames."""
    from tools.bench_link import codec as rows

    return rows()


def link() -> Iterator[Row]:
    """The link's share of a core."""
    from tools.bench_link import link as rows

    return rows()


def ring() -> Iterator[Row]:
    """A 12 kB record through the shared-memory ring against a ZeroMQ ipc pair, both with a copy."""
    import tempfile

    import zmq

    from firmware_bridge.ring import Ring

    dtype = np.dtype([("pixels", "u1", 12288)])
    memory = bytearray(Ring.size(dtype.itemsize, 4))
    shared = Ring(memory, dtype.itemsize, 4)
    record, out = np.zeros((), dtype), np.zeros((), dtype)
    with tempfile.TemporaryDirectory() as folder, zmq.Context() as context:
        a, b = context.socket(zmq.PUSH), context.socket(zmq.PULL)
        a.bind(f"ipc://{folder}/bench")
        b.connect(f"ipc://{folder}/bench")

        def ours() -> None:
            shared.write(record, 1)
            shared.latest(out)

        def theirs() -> None:
            a.send(record.data)
            b.recv()

        value, baseline = interleaved(ours, theirs, 200)
        a.close(0)
        b.close(0)
    yield Row("ring.12kB", value, "us", "ZeroMQ ipc PUSH/PULL", baseline, 0.5, ROUNDS * 200)


def inference() -> Iterator[Row]:
    """Graphs through fixed bindings."""
    from tools.bench_inference import inference as rows

    return rows()


def lockstep() -> Iterator[Row]:
    """Wall time of a lockstep run against the time it simulates."""
    from tools.compose import RunSettings, load_policy, open_world, prepare
    from tools.lockstep_run import LockstepRun

    took = []
    for seed in range(3):
        setup = prepare(RunSettings(seed=seed, lockstep=True))
        world, _ = open_world(setup)
        policy, _ = load_policy(setup)
        took.append(LockstepRun(setup, world, policy).run(10.0).wall_s)
    yield Row("lockstep.10s", float(np.median(took)), "s", "real time", 10.0, 0.2, 3)


BENCHES: dict[str, Callable[[], Iterator[Row]]] = {
    "codec": codec, "link": link, "ring": ring, "inference": inference, "lockstep": lockstep,
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = ABOUT
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which (default: all of {', '.join(BENCHES)})"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """Run benches; exit 1 when a goal is missed."""
    unknown = [n for n in args.names if n not in BENCHES]
    if unknown:
        raise ConfigError(f"no bench {', '.join(unknown)}: known are {', '.join(BENCHES)}")
    rows = []
    for name in args.names or BENCHES:
        for row in (r.to_json() for r in BENCHES[name]()):
            rows.append(row)
            if not args.json:
                mark = "ok " if row["ok"] else "NO "
                limit = f", {'within' if row['within'] else 'OVER'} {row['limit']:g} {row['unit']}" if "limit" in row else ""  # fmt: skip
                print(
                    f"{mark} {row['name']:14} {row['value']:9.4g} {row['unit']}, {row['baseline']}: {row['baseline_value']:.4g}, ratio {row['ratio']:.3g} (goal {row['goal']:g}){limit}",
                    flush=True,
                )
    good = all(row["ok"] for row in rows)
    if args.json:
        print(json.dumps({"ok": good, "rows": rows}))
    return 0 if good else 1
