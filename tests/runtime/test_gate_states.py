"""The gate against the MCU's limiter from any state, on any body: no differing output.

Initial state included: position in and outside the range, velocity and acceleration as far as a
state can hold them, at the MCU's millisecond and at every control period there is.
"""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from firmware_bridge.errors import LimitError
from firmware_bridge.header import JOINT, TABLE, packed_limits
from firmware_bridge.limits import JointCommand, JointLimit, LimitTable
from firmware_bridge.native import library
from runtime.body import load_body
from runtime.gate import Gate

INT16, INT32 = 32767, (1 << 31) - 1
PERIODS_MS = [1, 5, 10, 20]


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def drawn_joint(rng: np.random.Generator, name: str) -> JointLimit:
    """Any joint the limit table takes, from the slowest to the edge of the fixed point."""
    low, high = np.sort(rng.uniform(-1, 1, 2))
    top = log_uniform(rng, 1e-3, 100)
    return JointLimit(
        name=name,
        command=rng.choice([JointCommand.VELOCITY, JointCommand.POSITION]),
        scale=log_uniform(rng, 1e-5, 1e-1),
        position_min_rad=float(low) * log_uniform(rng, 1e-2, 50),
        position_max_rad=float(high) * log_uniform(rng, 1e-2, 50),
        velocity_max_rad_s=top,
        acceleration_max_rad_s2=top * log_uniform(rng, 0.1, 300),
        jerk_max_rad_s3=top * log_uniform(rng, 0.1, 1e5),
        stop_deceleration_rad_s2=top * log_uniform(rng, 0.1, 300),
        current_max_a=1.0,
    )


def drawn_body(seed: int) -> LimitTable:
    """A table of six joints that `counts()` does not refuse."""
    rng = np.random.default_rng((seed, 7))
    joints: list[JointLimit] = []
    while len(joints) < 6:
        joint = drawn_joint(rng, f"joint{len(joints)}")
        try:
            one_joint(joint).counts()
        except LimitError:
            continue
        joints.append(joint)
    return one_joint(*joints)


def one_joint(*joints: JointLimit) -> LimitTable:
    return LimitTable("drawn", joints, 100, 500, 60, False, 0, False, False, 0, 0)


class Pair:
    """Both implementations of one table in one state."""

    def __init__(self, table: LimitTable, dt_ms: int) -> None:
        self.gate = Gate(table)
        self.gate.dt_ms = self.dt_ms = dt_ms
        raw = packed_limits(table)
        self._limits = ctypes.create_string_buffer(raw, len(raw))
        self._lib = library()
        self.state = (ctypes.c_int64 * (3 * len(table.joints)))()
        self._joints = [
            (ctypes.addressof(self._limits) + TABLE.size + j * JOINT.size,
             ctypes.addressof(self.state) + 24 * j)
            for j in range(len(table.joints))
        ]  # fmt: skip

    def draw_state(self, rng: np.random.Generator) -> None:
        """A state within what each joint can hold: edges as often as anything between."""
        for j, (joint, motion) in enumerate(zip(self.gate.joints, self.gate._motion, strict=True)):
            motion.position = 0
            if not joint.velocity_joint:
                around = (-INT16, joint.position_min, 0, joint.position_max, INT16)
                motion.position = pick(rng, around, INT16) * 10**9
                if abs(motion.position) < INT16 * 10**9:
                    motion.position += int(rng.integers(-(10**9), 10**9))
            motion.velocity = pick(rng, (-1, 0, 1), 1, joint.velocity_max * 10**6)
            motion.acceleration = pick(rng, (-1, 0, 1), 1, joint.acceleration_max * 1000)
            self.state[3 * j : 3 * j + 3] = [motion.position, motion.velocity, motion.acceleration]

    def start(self, measured: list[int]) -> None:
        self.gate.start(measured)
        for at, value in zip(self._joints, measured, strict=True):
            self._lib.limit_start(*at, value)
        self.check()

    def limit(self, target: list[int]) -> None:
        out = self.gate.limit(target)
        limited = 0
        for j, (at, value) in enumerate(zip(self._joints, target, strict=True)):
            limited |= self._lib.limit_step(*at, value, self.dt_ms) << j
        assert (out, self.gate.limited) == (self.output(), limited)

    def stop(self) -> None:
        out = self.gate.stop()
        for at in self._joints:
            self._lib.limit_stop(*at, self.dt_ms)
        assert out == self.output()

    def output(self) -> list[int]:
        return [self._lib.limit_output(*at) for at in self._joints]

    def check(self) -> None:
        states = [v for m in self.gate._motion for v in (m.position, m.velocity, m.acceleration)]
        assert states == list(self.state)


def pick(rng: np.random.Generator, edges, reach: int, unit: int = 1) -> int:
    """One of the edges, one beside it, or anything within reach; times `unit`."""
    if rng.random() < 0.5:
        value = int(rng.choice(edges)) * unit + int(rng.integers(-1, 2))
    else:
        value = int(rng.uniform(-reach, reach) * unit)
    return max(-reach * unit, min(reach * unit, value))


def draw_target(rng: np.random.Generator, gate: Gate) -> list[int]:
    """Bounds, beside them, anything int16, and now and then what no wire carries."""
    out = []
    for joint in gate.joints:
        top = (
            (joint.velocity_max,)
            if joint.velocity_joint
            else (joint.position_min, joint.position_max)
        )
        value = pick(rng, (0, *top, *(-t for t in top), INT16, -INT16 - 1), INT16 + 1)
        out.append(int(rng.integers(-INT32, INT32)) if rng.random() < 0.02 else value)
    return out


def walk(table: LimitTable, dt_ms: int, seed: int, states: int, steps: int) -> int:
    """From `states` drawn states, `steps` each, with new targets and stops; steps of joints made."""
    rng = np.random.default_rng((seed, dt_ms))
    pair = Pair(table, dt_ms)
    for _ in range(states):
        pair.draw_state(rng)
        target = draw_target(rng, pair.gate)
        stops = rng.random() < 0.3
        for step in range(steps):
            if rng.random() < 0.05:
                target = draw_target(rng, pair.gate)
            if stops and step > steps // 2:
                pair.stop()
            else:
                pair.limit(target)
        pair.check()
    return states * steps * len(table.joints)


@pytest.mark.parametrize("dt_ms", PERIODS_MS)
@pytest.mark.parametrize("seed", range(12))
def test_drawn_bodies_from_drawn_states(seed, dt_ms):
    assert walk(drawn_body(seed), dt_ms, seed, states=12, steps=12) > 800


@pytest.mark.parametrize("dt_ms", PERIODS_MS)
def test_the_reference_body_from_drawn_states(dt_ms):
    assert walk(load_body("companion").limit_table(), dt_ms, 1, states=60, steps=25) > 8000


@pytest.mark.parametrize("dt_ms", PERIODS_MS)
def test_grid_of_states(dt_ms):
    """Every corner of position, velocity and acceleration with every corner of the target."""
    table = load_body("companion").limit_table()
    pair = Pair(table, dt_ms)
    targets = (-32768, -8000, -1, 0, 1, 5000, 9001, 32767)
    for position in (-32767, -20_000, -1, 0, 5000, 20_001, 32767):
        for v in (-1, 0, 1):
            for a in (-1, 0, 1):
                for target in targets:
                    for j, (joint, m) in enumerate(
                        zip(pair.gate.joints, pair.gate._motion, strict=True)
                    ):
                        m.position = 0 if joint.velocity_joint else position * 10**9
                        m.velocity = v * joint.velocity_max * 10**6
                        m.acceleration = a * joint.acceleration_max * 1000
                        pair.state[3 * j : 3 * j + 3] = [m.position, m.velocity, m.acceleration]
                    pair.limit([target] * 6)
                    pair.limit([target] * 6)
                    pair.stop()
                    pair.check()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("beside", [-1000, -1, 0, 1, 500, 999, 1000])
def test_where_the_two_braking_curves_meet(sign, beside):
    """Linear and root curve give the same speed 400 counts before the target: which one counts?"""
    table = load_body("companion").limit_table()
    pair = Pair(table, 1)
    for j, (joint, m) in enumerate(zip(pair.gate.joints, pair.gate._motion, strict=True)):
        distance = 1_600_000 * joint.acceleration_max + beside
        m.position = 0 if joint.velocity_joint else -sign * distance
        m.velocity, m.acceleration = sign * distance // 40, 0
        if joint.velocity_joint:
            m.velocity = 0
        pair.state[3 * j : 3 * j + 3] = [m.position, m.velocity, m.acceleration]
    for _ in range(3):
        pair.limit([0] * 6)
        pair.check()


@pytest.mark.parametrize("seed", range(5))
def test_start_from_anything_measured(seed):
    rng = np.random.default_rng(seed)
    pair = Pair(drawn_body(seed), 10)
    for measured in (0, INT16, INT16 + 1, -INT16, -INT16 - 1, INT32, -INT32 - 1):
        pair.start([measured] * 6)
        for _ in range(20):
            pair.limit(draw_target(rng, pair.gate))
        pair.check()


@pytest.mark.heavy
@pytest.mark.parametrize("dt_ms", [1, 10])
@pytest.mark.parametrize("share", range(10))
def test_millions_of_steps(share, dt_ms):
    """Some 6.6 million in all, half of them on the reference body."""
    done = 0
    reference = load_body("companion").limit_table()
    for seed in range(10 * share, 10 * share + 10):
        done += walk(drawn_body(seed), dt_ms, seed, states=100, steps=25)
        done += walk(reference, dt_ms, seed, states=60, steps=50)
    assert done == 330_000
