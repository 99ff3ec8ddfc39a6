"""The watch as a whole: sensor batches and frames in, gauges and flags out. Pure and incremental."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.camera import PinholeCamera
from calibration.course import CourseBlocks
from calibration.small_turns import Float32, SmallTurns, small_rotation
from calibration.watch import KINDS, Flag, Gauge, flags_of
from calibration.watch_blocks import GAP_NS, Base, CameraBlocks, RestBlocks, WheelBlocks

Floats = npt.NDArray[np.float64]

KEEP = 128  # control periods of history
FRAME_GAP_NS = 150_000_000
TURNED_RAD = (0.012, 0.15)  # of the camera between two frames
AHEAD_M_S = 0.12  # faster, and near things pass by: no pure rotation
MOST_MORE_RAD = 0.03  # a larger surplus is a person in the way, or a picture that was never found
MOST_RMS = 12.0  # counts
HORIZON = (
    0.1  # only what is higher than this above the floor's edge: the floor is near, walls are far
)
# optical axes (x right, y down, z forward) in the head's (x forward, y left, z up)
HEAD_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True, slots=True)
class Watched:
    """The body that is watched: its wheels, and where head joints stand in the batches (-1: none)."""

    base: Base
    pinhole: PinholeCamera  # of the frames
    head_yaw: int
    head_pitch: int


class Monitor:
    """`sense` every control period in order of time, `see` each frame after its period was sensed."""

    def __init__(self, watched: Watched) -> None:
        self._body = watched
        self.gauges = {name: Gauge(name) for name in KINDS}
        self._rest = RestBlocks(self._tell)
        self._wheels = WheelBlocks(watched.base, self._tell)
        self._camera = CameraBlocks(self._tell)
        self._course = CourseBlocks(watched.pinhole, self._tell)
        self._turns = SmallTurns(watched.pinhole)
        self._t = np.zeros(KEEP)
        self._rows = np.zeros((KEEP, 6))  # gyro's integral (3), head yaw and pitch, way
        self._count = 0
        self._last: tuple[int, float, float] | None = None
        self._frame: tuple[int, Float32] | None = None

    @property
    def flags(self) -> list[Flag]:
        """All that stand, the worst first."""
        return flags_of(list(self.gauges.values()))

    def _tell(self, name: str, t_ns: int, value: float, std: float) -> None:
        self.gauges[name].add(t_ns, value, std)

    def pause(self) -> None:
        """Another recording follows: its clock and its place are its own."""
        self._last = self._frame = None
        self._count = 0
        self._wheels.pause()
        self._course.pause()

    def sense(self, t_ns: int, position_rad: Sequence[float] | Floats, gyro_rad_s: Floats, accel_m_s2: Floats) -> None:  # fmt: skip
        """Joint positions (J,), and the IMU's samples of one control period (5, 3)."""
        body, b = self._body, self._body.base
        left, right = float(position_rad[0]), float(position_rad[1])
        head = [float(position_rad[i]) if i >= 0 else 0.0 for i in (body.head_yaw, body.head_pitch)]
        last, self._last = self._last, (t_ns, left, right)
        if last is None or not 0 < t_ns - last[0] < GAP_NS:
            self.pause()
            self._last = (t_ns, left, right)
            self._keep(t_ns, np.array([0.0, 0.0, 0.0, *head, 0.0]))
            return
        dt = (t_ns - last[0]) / 1e9
        rolled_left, rolled_right = left - last[1], right - last[2]
        before = self._rows[(self._count - 1) % KEEP]
        turned = abs(head[0] - before[3]) + abs(head[1] - before[4])
        rolled = abs(rolled_left) + abs(rolled_right)
        self._rest.add(t_ns, rolled + turned, gyro_rad_s, accel_m_s2)
        angle = before[:3] + gyro_rad_s.mean(0) * dt
        way = before[5] + (b.left_m * rolled_left + b.right_m * rolled_right) / 2
        self._keep(t_ns, np.array([*angle, *head, way]))
        rate = (b.right_m * rolled_right - b.left_m * rolled_left) / b.track_m / dt
        self._wheels.add(t_ns, left, right, float(angle[2]), rate)

    def _keep(self, t_ns: int, row: Floats) -> None:
        self._t[self._count % KEEP] = t_ns
        self._rows[self._count % KEEP] = row
        self._count += 1

    def see(self, t_ns: int, pixels: npt.NDArray[np.uint8]) -> None:
        """A frame (H, W, 3) of the pinhole, by its mid-exposure time."""
        before, self._frame = self._frame, None
        now = self._at(t_ns) if self._count >= 2 else None
        grey = SmallTurns.grey(pixels)
        if now is None:
            return
        self._frame = (t_ns, grey)
        bias = self._rest.bias if self._rest.bias is not None else np.zeros(3)
        self._course.see(t_ns, grey, now, _camera(now), bias)
        if before is None or not 0 < t_ns - before[0] < FRAME_GAP_NS:
            return
        then = self._at(before[0])
        dt = (t_ns - before[0]) / 1e9
        if then is None or abs(now[5] - then[5]) > AHEAD_M_S * dt:
            return
        base_turn = small_rotation(now[:3] - then[:3] - bias * dt)
        one, other = _camera(then), _camera(now)
        turn = one.T @ base_turn @ other
        foretold = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / 2  # fmt: skip
        if not TURNED_RAD[0] < float(np.linalg.norm(foretold)) < TURNED_RAD[1]:
            return
        up = other.T @ np.array([0.0, 0.0, 1.0])
        above = up - HORIZON * (other.T @ np.array([1.0, 0.0, 0.0]))
        more = self._turns.leftover(before[1], grey, turn, above)
        if more is None or more.rms > MOST_RMS or np.abs(more.turn_rad).max() > MOST_MORE_RAD:
            return
        self._camera.add(t_ns, foretold, more.turn_rad)

    def _at(self, t_ns: int) -> Floats | None:
        """The history's row at a time, between two periods; None outside of it."""
        count = min(self._count, KEEP)
        order = np.arange(self._count - count, self._count) % KEEP
        times = self._t[order]
        if not times[0] <= t_ns <= times[-1]:
            return None
        k = min(max(int(np.searchsorted(times, t_ns)), 1), count - 1)
        share = (t_ns - times[k - 1]) / (times[k] - times[k - 1])
        found: Floats = self._rows[order[k - 1]] * (1 - share) + self._rows[order[k]] * share
        return found


def _camera(row: Floats) -> Floats:
    """(3, 3) base from optical, by head yaw and pitch (positive looks down)."""
    yaw, pitch = float(row[3]), float(row[4])
    turned = small_rotation(np.array([0.0, 0.0, yaw])) @ small_rotation(np.array([0.0, pitch, 0.0]))
    found: Floats = turned @ HEAD_FROM_OPTICAL
    return found
