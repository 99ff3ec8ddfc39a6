"""The gate against the MCU's limiter: two implementations, no differing output."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from firmware_bridge.header import JOINT, TABLE, packed_limits
from firmware_bridge.limits import LimitTable
from firmware_bridge.native import library
from runtime.body import load_body
from runtime.gate import Gate

TABLE_HEAD = TABLE.size  # bytes before the joints in `limit_table`


class CLimiter:
    """firmware/limits.c, joint by joint."""

    def __init__(self, table: LimitTable, dt_ms: int) -> None:
        self.lib = library()
        self.count = len(table.joints)
        self.dt_ms = dt_ms
        self.raw = packed_limits(table)
        self.state = (ctypes.c_int64 * (3 * self.count))()
        self.buffer = ctypes.create_string_buffer(self.raw, len(self.raw))

    def joint(self, j: int) -> tuple[int, int]:
        limit = ctypes.addressof(self.buffer) + TABLE_HEAD + j * JOINT.size
        return limit, ctypes.addressof(self.state) + 24 * j

    def start(self, measured: list[int]) -> None:
        for j, value in enumerate(measured):
            self.lib.limit_start(*self.joint(j), value)

    def limit(self, target: list[int]) -> tuple[list[int], int]:
        limited = 0
        for j, value in enumerate(target):
            limited |= self.lib.limit_step(*self.joint(j), value, self.dt_ms) << j
        return self.output(), limited

    def stop(self) -> list[int]:
        for j in range(self.count):
            self.lib.limit_stop(*self.joint(j), self.dt_ms)
        return self.output()

    def output(self) -> list[int]:
        return [self.lib.limit_output(*self.joint(j)) for j in range(self.count)]


def pair(dt_ms: int) -> tuple[Gate, CLimiter]:
    table = load_body("companion").limit_table()
    gate = Gate(table)
    gate.dt_ms = dt_ms
    return gate, CLimiter(table, dt_ms)


def state_of(gate: Gate) -> list[int]:
    return [v for m in gate._motion for v in (m.position, m.velocity, m.acceleration)]


@pytest.mark.parametrize("dt_ms", [1, 10])
def test_grid(dt_ms):
    """Every start with every target, through the approach and a reversal."""
    edges = [-32768, -20001, -9000, -300, -1, 0, 1, 4999, 8999, 9001, 20000, 32767]
    steps = 40
    for start in edges:
        for target in edges:
            gate, c = pair(dt_ms)
            gate.start([start] * 6)
            c.start([start] * 6)
            for step in range(steps):
                wanted = [target if step < steps // 2 else -target] * 6
                assert (gate.limit(wanted), gate.limited) == c.limit(wanted)
            assert state_of(gate) == list(c.state)


@pytest.mark.parametrize("dt_ms", [1, 10])
def test_random_walks(dt_ms):
    """Long walks with jumps, holds and stops; states are compared too, not only outputs."""
    rng = np.random.default_rng(dt_ms)
    gate, c = pair(dt_ms)
    start = rng.integers(-32768, 32767, 6).tolist()
    gate.start(start)
    c.start(start)
    target = [0] * 6
    for _ in range(12_000):
        draw = rng.random()
        if draw < 0.02:
            target = rng.integers(-32768, 32767, 6).tolist()
        elif draw < 0.2:
            target = (np.array(target) + rng.integers(-400, 400, 6)).clip(-32768, 32767).tolist()
        if draw > 0.97:
            assert gate.stop() == c.stop()
        else:
            assert (gate.limit(target), gate.limited) == c.limit(target)
    assert state_of(gate) == list(c.state)


@pytest.mark.parametrize("dt_ms", [1, 10])
def test_random_states(dt_ms):
    """From any state within the limits, one step."""
    rng = np.random.default_rng(100 + dt_ms)
    gate, c = pair(dt_ms)
    for _ in range(3000):
        for j, (joint, motion) in enumerate(zip(gate.joints, gate._motion, strict=True)):
            motion.position = 0
            if not joint.velocity_joint:
                motion.position = int(rng.integers(joint.position_min, joint.position_max)) * 10**9
                motion.position += int(rng.integers(0, 10**9))
            motion.velocity = int(rng.integers(-joint.velocity_max, joint.velocity_max)) * 10**6
            reach = joint.acceleration_max * 1000
            motion.acceleration = int(rng.integers(-reach, reach))
            c.state[3 * j : 3 * j + 3] = [motion.position, motion.velocity, motion.acceleration]
        target = rng.integers(-32768, 32767, 6).tolist()
        assert (gate.limit(target), gate.limited) == c.limit(target)
        assert state_of(gate) == list(c.state)


def derivatives(values: np.ndarray, dt_s: float) -> tuple[float, float, float]:
    first = np.diff(values) / dt_s
    second = np.diff(first) / dt_s
    third = np.diff(second) / dt_s
    return np.abs(first).max(), np.abs(second).max(), np.abs(third).max()


def test_limits_hold():
    """Velocity, acceleration and jerk of the gate's own motion never pass the body's."""
    gate, _ = pair(10)
    gate.start([0] * 6)
    rng = np.random.default_rng(3)
    target = [0] * 6
    for _ in range(5000):
        if rng.random() < 0.05:
            target = rng.integers(-32768, 32767, 6).tolist()
        before = [(m.velocity, m.acceleration) for m in gate._motion]
        out = gate.limit(target)
        for j, (joint, m) in enumerate(zip(gate.joints, gate._motion, strict=True)):
            assert abs(m.velocity) <= joint.velocity_max * 10**6
            assert abs(m.velocity - before[j][0]) <= joint.acceleration_max * 1000 * 10 or (
                m.velocity == 0  # stopped by a position bound
            )
            if m.acceleration and before[j][1]:
                assert abs(m.acceleration - before[j][1]) <= joint.jerk_max * 10
            if not joint.velocity_joint:
                assert joint.position_min <= out[j] <= joint.position_max


def test_reaches_and_holds_the_target():
    gate, _ = pair(10)
    gate.start([0, 0, 1000, -1000, 0, 0])
    target = [3000, -3000, 15000, 4000, -8000, 8000]
    for _ in range(150):
        out = gate.limit(target)
    assert out == target
    assert gate.limited == 0


def test_tighten_lowers_speed_and_never_raises_it():
    gate, _ = pair(10)
    gate.start([0] * 6)
    gate.tighten([2000, 99_000, 5000, 0, 60000, 60000])
    speeds = []
    for _ in range(200):
        out = gate.limit([9000, 9000, 20000, 5000, 12000, 12000])
        speeds.append([m.velocity / 1e6 for m in gate._motion])
    assert out[0] == 2000
    assert out[1] == 9000
    assert out[3] == 0
    assert np.abs(speeds)[:, 2].max() <= 5000
    gate.tighten(None)
    for _ in range(200):
        out = gate.limit([9000, 9000, 20000, 5000, 12000, 12000])
    assert out[0] == 9000


def test_tightened_in_motion_slows_within_its_acceleration():
    gate, _ = pair(10)
    gate.start([0] * 6)
    for _ in range(100):
        gate.limit([9000, 9000, 0, 0, 0, 0])
    gate.tighten([1000, 1000, 0, 0, 0, 0])
    last = 9000
    for _ in range(100):
        now = gate.limit([9000, 9000, 0, 0, 0, 0])[0]
        assert 0 <= last - now <= 300
        last = now
    assert last == 1000


def test_outside_its_range_a_joint_comes_back_by_itself():
    gate, _ = pair(10)
    gate.start([0, 0, 21_000, 0, 0, 0])
    first = gate.limit([0, 0, 20_000, 0, 0, 0])[2]
    assert 20_990 < first <= 21_000
    for _ in range(200):
        out = gate.limit([0, 0, 25_000, 0, 0, 0])
    assert out[2] == 20_000
    assert gate.limited == 0b100
