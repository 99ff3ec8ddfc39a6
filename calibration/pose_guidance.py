"""Which way to hold an IMU next, and when it has been held: poses on a sphere, from its own samples.

The sphere is that of `calibration.sphere`: what an accelerometer shows at rest is up, in the body's
frame (x forward, y left, z up). Stillness is judged against the quietest moment so far, as the noise
of the sensor is not known before.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.sphere import cells, covered

Floats = npt.NDArray[np.float64]
FIRST_S = 30.0  # hands off: the gyro's bias, and what still is
HOLD_S = 2.5  # of each pose: half a second of it may be the hand's
POSES, CELLS = 26, 26  # a few more than judging wants: one may be knocked
WINDOW_S = 0.5
CALM = 2.0  # times the quietest window
ACCEL_STILL_M_S2, GYRO_STILL_RAD_S = 0.4, 0.06  # before there was a quiet one
TURNS_RAD_S = 0.08  # faster than any bias: it is being turned
APART_DEG = 14.0  # from every pose before: another one
NEAR_DEG = 15.0  # from what is asked for: hold it there
WORDS = (
    ("nose up, on its back end", "on its nose"),
    ("on its right side", "on its left side"),  # y up: the left side points up
    ("on its wheels", "upside down"),
)
LEANS = (("the nose", "the back end"), ("the left side", "the right side"), ("the top", "the wheels"))  # fmt: skip


@dataclass(frozen=True, slots=True)
class PoseAdvice:
    """What to say now; `taken`: a pose was just counted."""

    text: str
    taken: bool
    done: bool
    share: float  # 0 to 1
    still: bool
    held: float  # 0 to 1 of the time that this pose needs
    up: Floats  # (3,) unit vector: which way up it is
    target: Floats | None  # (3,) which way up it should be


class PoseGuide:
    """Fed with every batch; keeps which ways up were held."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._length = round(WINDOW_S / period_s)
        self._window: deque[Floats] = deque(maxlen=self._length)  # (6,) mean gyro, accel of a batch
        self._limits = np.array([GYRO_STILL_RAD_S, ACCEL_STILL_M_S2])
        self._first_s = 0.0
        self._held_s = 0.0
        self._counted = False  # this pose
        self.ways: list[Floats] = []  # (3,) unit vectors: poses held
        self._target: Floats | None = None

    @property
    def first_done(self) -> bool:
        """The long still period is over."""
        return self._first_s >= FIRST_S

    @property
    def cells(self) -> npt.NDArray[np.bool_]:
        """(32,) directions that were shown."""
        return covered(np.array(self.ways)) if self.ways else np.zeros(32, bool)

    @property
    def done(self) -> bool:
        """Enough poses, of enough directions."""
        return self.first_done and len(self.ways) >= POSES and int(self.cells.sum()) >= CELLS

    @property
    def share(self) -> float:
        """Of all that is wanted."""
        poses = min(len(self.ways) / POSES, 1.0)
        ways = min(float(self.cells.sum()) / CELLS, 1.0)
        return 0.2 * min(self._first_s / FIRST_S, 1.0) + 0.8 * (poses + ways) / 2

    def feed(self, gyro_rad_s: Floats, accel_m_s2: Floats) -> PoseAdvice:
        """One batch (S, 3) each; advice on it."""
        self._window.append(np.concatenate((gyro_rad_s.mean(axis=0), accel_m_s2.mean(axis=0))))
        window = np.array(self._window)
        up = window[:, 3:].mean(axis=0)
        up = up / max(float(np.linalg.norm(up)), 1e-9)
        still = self._is_still(window)
        taken = self._hold(still, up)
        if self._target is not None and self._shown(self._target):
            self._target = None
        if self._target is None and self.first_done and not self.done:
            self._target = self._next(up)
        text = self._said(still, up)
        held = self._first_s / FIRST_S if not self.first_done else self._held_s / HOLD_S
        return PoseAdvice(text, taken, self.done, self.share, still, min(held, 1.0), up, self._target)  # fmt: skip

    def _is_still(self, window: Floats) -> bool:
        if len(window) < self._length:
            return False
        spread = window.std(axis=0)
        both = np.array([float(np.linalg.norm(spread[:3])), float(np.linalg.norm(spread[3:]))])
        calm = bool((both <= self._limits).all() and np.linalg.norm(window[:, :3].mean(axis=0)) < TURNS_RAD_S)  # fmt: skip
        if calm:
            self._limits = np.minimum(self._limits, np.maximum(CALM * both, 1e-6))
        return calm

    def _hold(self, still: bool, up: Floats) -> bool:
        """Count the time of this pose; True when it has just been held for long enough."""
        if not still:
            self._held_s, self._counted = 0.0, False
            return False
        self._held_s += self._period_s
        if not self.first_done:
            self._first_s += self._period_s
            if self.first_done:
                self.ways.append(up)
                self._counted = True
                return True
            return False
        if self._counted or self._held_s < HOLD_S or self._known(up):
            return False
        self.ways.append(up)
        self._counted = True
        return True

    def _known(self, up: Floats) -> bool:
        return bool((np.array(self.ways) @ up > np.cos(np.deg2rad(APART_DEG))).any())

    def _shown(self, target: Floats) -> bool:
        return bool(self.cells[int(np.argmax(cells() @ target))])

    def _next(self, up: Floats) -> Floats:
        """The nearest direction that was not shown; where all were, the farthest from any pose."""
        empty = cells()[~self.cells]
        if not len(empty):
            away = (cells() @ np.array(self.ways).T).max(axis=1)
            return np.asarray(cells()[int(np.argmin(away))])
        return np.asarray(empty[int(np.argmax(empty @ up))])

    def _said(self, still: bool, up: Floats) -> str:
        if self.done:
            return "done: lay it down"
        if not self.first_done:
            left = FIRST_S - self._first_s
            return f"leave it alone: {left:.0f} s" if still else "lay it down, hands off"
        assert self._target is not None
        if still and not self._counted and not self._known(up):
            return f"hold it so: {max(HOLD_S - self._held_s, 0):.1f} s"
        off = float(np.rad2deg(np.arccos(np.clip(up @ self._target, -1, 1))))
        if off < NEAR_DEG:
            return "good: lay it down so, hands off"
        return f"{in_words(self._target)} ({5 * round(off / 5)} deg to go)"


def in_words(way: Floats) -> str:
    """How to put a robot so that `way` (3,), in its own axes, points up."""
    order = np.argsort(-np.abs(way))
    first = int(order[0])
    words = f"put it {WORDS[first][int(way[first] < 0)]}"
    leans = [
        f"{LEANS[k][int(way[k] < 0)]} {'half' if abs(way[k]) > 0.45 else 'a little'} up"
        for k in map(int, order[1:])
        if abs(way[k]) > 0.3
    ]
    return words if not leans else f"{words}, with {' and '.join(leans)}"
