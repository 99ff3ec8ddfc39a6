"""Graphs through our fixed bindings and the code around them, against bare ONNX Runtime calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from models.backend import Session
from models.layout import IMU_SLICES, OBSERVE_MASKS
from models.since import Senses, Since
from models.world import World
from tools import bench
from tools.bench import Row
from tools.compose import DEFAULT_BUNDLE, RunSettings, open_world, prepare

CALLS = 20
STEPS = 12
OBSERVE_LIMIT_US = 1000.0
IMAGINE_LIMIT_US = 15_000.0
BASELINE = "onnxruntime session.run(dict)"


def inference(bundle: str = DEFAULT_BUNDLE) -> Iterator[Row]:
    """The policy, the world model's three graphs, and a planner's 64 candidates over 12 steps."""
    setup = prepare(RunSettings(bundle=bundle, lockstep=True))
    yield _policy(setup)
    world, _ = open_world(setup)
    observe, imagine, decode = world.sessions
    rng = np.random.default_rng(0)
    for session in world.sessions:
        for name, array in session.inputs.items():
            array[...] = rng.uniform(0, 1, array.shape) if name in ("frame", "mask") else 0.1
    yield _p95(_observing(world, setup.layout), observe, OBSERVE_LIMIT_US)
    yield _planning(world, imagine)
    since = Since(Senses.of(setup.layout))
    belief, frame = world.belief.copy(), decode.inputs["frame"][0].copy()
    value, baseline = bench.interleaved(
        lambda: world.decode(belief, frame, since), _bare(decode), CALLS
    )
    yield Row("decode.call", value, "us", BASELINE, baseline, 1.1, bench.ROUNDS * CALLS)


def _policy(setup: Any) -> Row:
    from models.backends import loaders
    from tools.compose import engines_folder

    session = loaders(engines_folder())["ort-cpu"](setup.bundle, "policy")
    value, baseline = bench.interleaved(session.run, _bare(session), 300)
    return Row("policy.call", value, "us", BASELINE, baseline, 1.0, bench.ROUNDS * 300)


def _bare(session: Session) -> Callable[[], Any]:
    """The same graph called as everybody does: a dict in, new arrays out."""
    inner: Any = session
    feed = {name: value.copy() for name, value in session.inputs.items()}
    return lambda: inner._session.run(None, feed)


def _observing(world: World, layout: Any) -> Callable[[], Any]:
    """What perception does for every frame: all inputs but the picture are copied in as well."""
    imu = np.zeros((IMU_SLICES, 6), np.float32)
    proprio, action = (np.zeros(n, np.float32) for n in (layout.proprio_size, layout.action_size))
    mask = np.ones(len(OBSERVE_MASKS), np.float32)
    return lambda: world.observe(imu, proprio, 0.0, action, mask)


def _p95(ours: Callable[[], Any], session: Session, limit: float) -> Row:
    """95th percentiles of single calls, in turn."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(bench.ROUNDS * CALLS):
        for kept, call in zip(found, (ours, _bare(session)), strict=True):
            start = time.perf_counter()
            call()
            kept.append((time.perf_counter() - start) * 1e6)
    value, baseline = (float(np.percentile(f, 95)) for f in found)
    return Row(
        "observe.p95", value, "us", BASELINE, baseline, 1.1, bench.ROUNDS * CALLS, limit=limit
    )


def _planning(world: World, imagine: Session) -> Row:
    """All candidates over all steps, with noise drawn and beliefs handed on."""
    start = world.belief.copy()
    action = np.zeros((world.candidates, imagine.inputs["action"].shape[1]), np.float32)
    bare = _bare(imagine)

    def ours() -> None:
        beliefs = start
        for _ in range(STEPS):
            beliefs = world.imagine(beliefs, action, 1).beliefs

    def theirs() -> None:
        for _ in range(STEPS):
            bare()

    value, baseline = bench.interleaved(ours, theirs, 2)
    return Row(
        f"imagine.{world.candidates}x{STEPS}", value, "us", f"{STEPS} {BASELINE}, no noise drawn",
        baseline, 1.3, bench.ROUNDS * 2, limit=IMAGINE_LIMIT_US,
    )  # fmt: skip
