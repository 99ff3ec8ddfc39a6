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


@dataclass(frozen=True, slots=True)
class Row:
    """One result; `ratio` is value / baseline_value, and `ok` is ratio <= goal."""

    name: str
    value: float
    unit: str
    baseline: str
    baseline_value: float
    goal: float
    samples: int

    def to_json(self) -> dict[str, Any]:
        """The row as design section 10 names its keys."""
        ratio = self.value / self.baseline_value
        return {
            "name": self.name, "value": round(self.value, 4), "unit": self.unit,
            "baseline": self.baseline, "baseline_value": round(self.baseline_value, 4),
            "ratio": round(ratio, 4), "goal": self.goal, "ok": ratio <= self.goal,
            "samples": self.samples,
        }  # fmt: skip


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
    """The C codec against struct, binascii and byte-wise COBS in Python."""
    import binascii

    from firmware_bridge.native import library

    lib = library()
    body = np.frombuffer(bytes(range(48)), np.uint8)
    wire, plain = np.zeros(80, np.uint8), np.zeros(80, np.uint8)
    size = int(lib.frame_encode(body.ctypes.data, len(body), wire.ctypes.data))
    frame = wire[:size].tobytes()
    # pointers are kept, as the link keeps them: the call is what a frame costs
    wire_at, plain_at = wire.ctypes.data, plain.ctypes.data

    def c_decode() -> int:
        return int(lib.frame_decode(wire_at, size - 1, plain_at))

    def python_decode() -> bytes:
        out, i = bytearray(), 0
        while i < len(frame) - 1:
            code = frame[i]
            out += frame[i + 1 : i + code]
            i += code
            if code < 255 and i < len(frame) - 1:
                out.append(0)
        assert binascii.crc_hqx(bytes(out[:-2]), 0) == int.from_bytes(out[-2:], "big")
        return bytes(out[:-2])

    assert c_decode() == len(body)
    assert python_decode() == plain[: len(body)].tobytes()
    ours, theirs = interleaved(c_decode, python_decode, 300)
    yield Row("codec.decode", ours, "us", "COBS in Python, binascii CRC", theirs, 1.0, ROUNDS * 300)


def ring() -> Iterator[Row]:
    """A 12 kB record through the shared-memory ring against a ZeroMQ inproc pair."""
    import zmq

    from firmware_bridge.ring import Ring

    dtype = np.dtype([("pixels", "u1", 12288)])
    memory = bytearray(Ring.size(dtype.itemsize, 4))
    ours_ring = Ring(memory, dtype.itemsize, 4)
    record, out = np.zeros((), dtype), np.zeros((), dtype)
    context = zmq.Context()
    a, b = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    a.bind("inproc://bench")
    b.connect("inproc://bench")

    def ours() -> None:
        ours_ring.write(record, 1)
        ours_ring.latest(out)

    def theirs() -> None:
        a.send(record.tobytes())
        b.recv()

    value, baseline = interleaved(ours, theirs, 200)
    a.close()
    b.close()
    context.term()
    yield Row("ring.12kB", value, "us", "ZeroMQ inproc pair", baseline, 0.6, ROUNDS * 200)


def inference() -> Iterator[Row]:
    """The policy through fixed bindings against session.run with a dict."""
    from models.backends import loaders
    from tools.compose import RunSettings, engines_folder, prepare

    setup = prepare(RunSettings(lockstep=True))
    session = loaders(engines_folder())["ort-cpu"](setup.bundle, "policy")
    inner = session._session  # type: ignore[attr-defined]
    feed = {name: value.copy() for name, value in session.inputs.items()}
    value, baseline = interleaved(session.run, lambda: inner.run(None, feed), 300)
    yield Row(
        "policy.call", value, "us", "onnxruntime session.run(dict)", baseline, 1.0, ROUNDS * 300
    )


def lockstep() -> Iterator[Row]:
    """Wall time of a lockstep run against the time it simulates."""
    from tools.compose import RunSettings, open_policy, open_world, prepare
    from tools.lockstep_run import LockstepRun

    took = []
    for seed in range(3):
        setup = prepare(RunSettings(seed=seed, lockstep=True))
        world, _ = open_world(setup)
        policy, _ = open_policy(setup)
        took.append(LockstepRun(setup, world, policy).run(10.0).wall_s)
    yield Row("lockstep.10s", float(np.median(took)), "s", "real time", 10.0, 0.2, 3)


BENCHES: dict[str, Callable[[], Iterator[Row]]] = {
    "codec": codec, "ring": ring, "inference": inference, "lockstep": lockstep,
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which (default: all of {', '.join(BENCHES)})"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per row")


def main(args: argparse.Namespace) -> int:
    """Run benches; exit 1 when a goal is missed."""
    unknown = [n for n in args.names if n not in BENCHES]
    if unknown:
        raise ConfigError(f"no bench {', '.join(unknown)}: known are {', '.join(BENCHES)}")
    good = True
    for name in args.names or BENCHES:
        for row in (r.to_json() for r in BENCHES[name]()):
            good &= row["ok"]
            if args.json:
                print(json.dumps(row), flush=True)
            else:
                mark = "ok " if row["ok"] else "NO "
                print(
                    f"{mark} {row['name']:14} {row['value']:9.2f} {row['unit']}, {row['baseline']}: {row['baseline_value']:.2f}, ratio {row['ratio']:.2f} (goal {row['goal']:g})",
                    flush=True,
                )
    return 0 if good else 1
