"""Has a calibration drifted? Gauges that learn what is usual, and tell when it has moved for good.

Data comes in blocks under good conditions, each a value with its std, as in openpilot's calibrationd.
The first blocks after a calibration are the reference; later ones go into a two-sided CUSUM (Page
1954) with slack of half the change that matters. A flag needs the CUSUM above H and the newest
blocks beyond `raise_at`; it goes when they are within `clear_at` (hysteresis). The onset, where the
sum last left zero, says since when. Blocks coarser than a third of `raise_at` are not used, so the
slack is at least 1.5 std: by Siegmund's formula that is one false alarm in 10^11 blocks of pure noise;
what is left are causes, which is why a flag only slows the robot and never changes a calibration.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

DEG = math.pi / 180
REFERENCE = 4  # blocks
TAIL = 12  # blocks kept
NEWEST = 3  # blocks whose mean is what it has moved to
H = 8.0  # std, of the CUSUM
LEAST_SLACK = 1.5  # std
MOST = 4.0  # std beyond the slack that one block may add: two odd blocks raise nothing
GROSS = 3.0  # times `raise_at`: as good as not calibrated


@dataclass(frozen=True, slots=True)
class Kind:
    """What is watched: whose it is, the tool that sets it right, limits in SI units, and its words."""

    device: str  # mcu | camera: whose record it is of
    tool: str
    raise_at: float
    clear_at: float
    floor: float  # std that no block is better than: floors, loads and rooms differ
    words: str  # {0}: the amount in `per`
    per: float  # what the amount is told in


KINDS = {
    "wheel_ratio": Kind("mcu", "wheels", 0.005, 0.0025, 0.0012, "wheel ratio moved {0:+.1f} %", 0.01),
    "wheel_base": Kind("mcu", "wheels", 0.02, 0.01, 0.004, "base over wheel diameter moved {0:+.1f} %", 0.01),
    "gyro_bias_x": Kind("mcu", "imu-static", 0.012, 0.006, 0.002, "gyro bias about x moved {0:+.1f} deg/s", DEG),
    "gyro_bias_y": Kind("mcu", "imu-static", 0.012, 0.006, 0.002, "gyro bias about y moved {0:+.1f} deg/s", DEG),
    "gyro_bias_z": Kind("mcu", "imu-static", 0.012, 0.006, 0.002, "gyro bias about z moved {0:+.1f} deg/s", DEG),
    "imu_roll": Kind("mcu", "imu-static", 3 * DEG, 1.5 * DEG, 0.7 * DEG, "IMU turned {0:+.1f} deg about x", DEG),
    "imu_pitch": Kind("mcu", "imu-static", 3 * DEG, 1.5 * DEG, 0.7 * DEG, "IMU turned {0:+.1f} deg about y", DEG),
    "gravity": Kind("mcu", "imu-multi", 0.3, 0.15, 0.06, "gravity as felt moved {0:+.2f} m/s^2", 1.0),
    "camera_roll": Kind("camera", "head", 1.0 * DEG, 0.5 * DEG, 0.25 * DEG, "camera turned {0:+.1f} deg about its axis", DEG),
    "camera_pitch": Kind("camera", "head", 1.2 * DEG, 0.6 * DEG, 0.35 * DEG, "camera turned {0:+.1f} deg up or down", DEG),
    "camera_course": Kind("camera", "head", 3.0 * DEG, 1.5 * DEG, 0.8 * DEG, "camera turned {0:+.1f} deg sideways", DEG),
    "focal": Kind("camera", "camera", 0.1, 0.05, 0.03, "focal length moved {0:+.0f} %", 0.01),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Flag:
    """A drift that stands: what, how much [SI], and since when [ns of the monitor's clock]."""

    name: str
    amount: float
    since_ns: int

    @property
    def kind(self) -> Kind:
        """Its row."""
        return KINDS[self.name]

    @property
    def gross(self) -> bool:
        """So far off that the device is as good as not calibrated."""
        return abs(self.amount) >= GROSS * self.kind.raise_at

    def said(self, since: str) -> str:
        """The operator's sentence; `since` as a date or a time of the run."""
        k = self.kind
        return f"{k.words.format(self.amount / k.per)} since {since}: run `companion calibrate {k.tool} record`"  # fmt: skip


@dataclass
class Gauge:
    """One watched quantity. `add` takes its blocks in order of time."""

    name: str
    reference: float | None = None
    first: list[float] = field(default_factory=list)
    up: float = 0.0
    down: float = 0.0
    since_up_ns: int = 0
    since_down_ns: int = 0
    blocks: int = 0
    flag: Flag | None = None
    tail: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=TAIL))

    def usable(self, std: float) -> bool:
        """Whether a block with this std can say anything."""
        return std <= KINDS[self.name].raise_at / 3

    def add(self, t_ns: int, value: float, std: float) -> None:
        """One block; those too coarse are passed over."""
        if not (self.usable(std) and math.isfinite(value)):
            return
        self.blocks += 1
        if self.reference is None:
            self.first.append(value)
            if len(self.first) == REFERENCE:
                self.reference = sum(sorted(self.first)[1:-1]) / (REFERENCE - 2)
            return
        kind = KINDS[self.name]
        off = value - self.reference
        self.tail.append((t_ns, off))
        spread = max(std, kind.floor)
        z, slack = off / spread, kind.raise_at / (2 * spread)
        up, down = _sum(self.up, z, slack), _sum(self.down, -z, slack)
        self.since_up_ns = t_ns if self.up == 0 else self.since_up_ns
        self.since_down_ns = t_ns if self.down == 0 else self.since_down_ns
        self.up, self.down = up, down
        self._decide()

    @property
    def amount(self) -> float:
        """How far it has moved by the newest blocks."""
        return _mean([off for _, off in list(self.tail)[-NEWEST:]])

    def _decide(self) -> None:
        kind, amount = KINDS[self.name], self.amount
        if self.flag is not None:
            if abs(amount) < kind.clear_at:
                self.flag, self.up, self.down = None, 0.0, 0.0
            else:
                self.flag = Flag(self.name, amount, self.flag.since_ns)
            return
        beyond = self.up if amount > 0 else self.down
        if beyond >= H and abs(amount) >= kind.raise_at:
            since_ns = self.since_up_ns if amount > 0 else self.since_down_ns
            moved = _mean([off for t_ns, off in self.tail if t_ns >= since_ns])
            self.flag = Flag(self.name, moved, since_ns)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _sum(before: float, z: float, slack: float) -> float:
    return min(max(0.0, before + min(z - slack, MOST)), 4 * H)  # it must be able to come down again


def blocks_to_false_alarm(slack: float = LEAST_SLACK, h: float = H) -> float:
    """Mean blocks of noise until a two-sided CUSUM is above h (Siegmund 1985, eq. 2.59)."""
    b = h + 1.166
    return (math.exp(2 * slack * b) - 2 * slack * b - 1) / (2 * slack**2) / 2


def flags_of(gauges: Sequence[Gauge]) -> list[Flag]:
    """All that stand, the worst first.

    Where gravity says that the IMU turned, the camera seems to have turned against it: not told too.
    """
    found = [g.flag for g in gauges if g.flag is not None]
    if any(f.name in ("imu_roll", "imu_pitch") for f in found):
        found = [f for f in found if not f.name.startswith("camera_")]
    return sorted(found, key=lambda f: -abs(f.amount) / f.kind.raise_at)
