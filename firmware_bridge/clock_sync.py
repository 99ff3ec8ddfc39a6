"""The MCU clock on the host: the line between the quickest frames of both ways.

Every frame bounds the offset MCU - host: one to the MCU from above (it arrived after it was sent),
one from the MCU from below. A frame that waits weakens its bound and never shifts it. So the line
is laid where the bounds of both ways stand furthest apart, in the middle of the gap: this is
min-RTT regression with each way's minimum taken for itself, as convex hulls do it in Moon, Skelly
and Towsley, "Estimation and removal of clock skew from network delay measurements" (INFOCOM 1999)
and Zhang, Liu and Xia, "Clock synchronization algorithms for network measurements" (INFOCOM 2002).
The gap that is left is the shortest round trip; what both ways share of it cannot be told apart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

SLOT_NS = 100_000_000  # once settled, the quickest of each way per slot is kept
WINDOW = 128  # slots: 12.8 s, in which an RC oscillator's skew hardly wanders
SETTLED = 75  # exchanges after which the clock is known on any wire
QUICK = 25  # exchanges after which it is on a wire whose mean round trip is so close to its best:
CALM_NS = 500_000
SKEW_SPAN_S = 0.1  # a slope over less is noise, and not needed for so short a time
TILT = 0.2  # a slope must widen the gap by this part of what it moves the ends: few do by chance
SURE_SPAN_S = 5.0  # from here on a skew is known to some 20 ppm under 5 ms of jitter
VALID_NS = 10_000_000_000
TOLERANCE_NS = 2_000_000  # bounds that cross by more come from a jump, or from a broken frame
JUMPED = 8  # such exchanges in a row: the clock has jumped

CRYSTAL_PPM = 500.0  # what a crystal never has: the MCU runs on its RC oscillator
TRACKED_PPM = 20_000.0  # beyond this times to live and rates are not what they claim

Point = tuple[float, float]  # host time [s], offset [ns]; both since the first exchange


class ClockSync:
    """Estimates MCU time = host time + offset + skew * elapsed."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget every exchange: the MCU restarted or the link was lost."""
        self._up: deque[Point] = deque(maxlen=WINDOW)
        self._down: deque[Point] = deque(maxlen=WINDOW)
        self._origin_ns = (0, 0)
        self._last_ns = self._slot_ns = 0
        self._jumps = 0
        self._rtt_ns = (0.0, 0.0)  # sum of all round trips, and the shortest
        self.settled = False  # the clock is known
        self.count = 0
        self.base_ns = 0
        self.offset_ns = 0
        self.skew_ppb = 0
        self.rtt_ns = 0

    def add(self, t0_ns: int, mcu_rx_us: int, down_at_ns: int, down_ns: int) -> None:
        """One exchange: sent at t0, received at mcu_rx; the quickest frame since came at down_at."""
        up_ns = mcu_rx_us * 1000 - t0_ns
        if not self.count:
            self._origin_ns = t0_ns, up_ns
        start_ns, zero_ns = self._origin_ns
        up = (t0_ns - start_ns) * 1e-9, float(up_ns - zero_ns)
        down = (down_at_ns - start_ns) * 1e-9, float(down_ns - zero_ns)
        if self._impossible(up, down):
            return
        self.count += 1
        self._last_ns = t0_ns
        slope = self.skew_ppb
        if self.settled and t0_ns - self._slot_ns < SLOT_NS:
            self._up[-1] = min(self._up[-1], up, key=lambda p: p[1] - slope * p[0])
            self._down[-1] = max(self._down[-1], down, key=lambda p: p[1] - slope * p[0])
            return
        self._slot_ns = t0_ns
        self._up.append(up)
        self._down.append(down)
        self._fit(t0_ns)
        self._settle(up[1] - down[1])

    def _settle(self, rtt_ns: float) -> None:
        total, best = self._rtt_ns
        total, best = total + rtt_ns, rtt_ns if self.count == 1 else min(best, rtt_ns)
        self._rtt_ns = total, best
        enough = QUICK if total / self.count - best < CALM_NS else SETTLED
        self.settled = self.settled or self.count >= enough

    def valid(self, now_ns: int) -> bool:
        """Settled, and the last exchange is younger than 10 s."""
        return self.settled and now_ns - self._last_ns < VALID_NS

    def mcu_us(self, now_ns: int) -> int:
        """MCU time [us] at a host time."""
        elapsed = now_ns - self.base_ns
        return (now_ns + self.offset_ns + elapsed * self.skew_ppb // 1_000_000_000) // 1000

    @property
    def span_s(self) -> float:
        """Time between the oldest and the newest exchange in use."""
        return self._up[-1][0] - self._up[0][0] if self._up else 0.0

    @property
    def note(self) -> str:
        """What is odd about this clock, once it is sure; empty: nothing."""
        ppm = self.skew_ppb / 1000
        if self.span_s < SURE_SPAN_S or abs(ppm) <= CRYSTAL_PPM:
            return ""
        return f"MCU clock {_speed(ppm)}: more than a crystal has; is it on its RC oscillator?"

    @property
    def refusal(self) -> str:
        """Why no command may be timed by this clock; empty: one may."""
        ppm = self.skew_ppb / 1000
        if abs(ppm) <= TRACKED_PPM:
            return ""
        return (
            f"MCU clock {_speed(ppm)}, more than the {TRACKED_PPM / 1e4:g} % that are followed; "
            "check the clock settings of the firmware's board file"
        )

    def _impossible(self, up: Point, down: Point) -> bool:
        """Whether this exchange crosses what the others say; many in a row begin anew."""
        slack = [up[1] - down[1] + self.skew_ppb * (down[0] - up[0])]
        if self.settled:
            slack += [up[1] - self._line(up[0]), self._line(down[0]) - down[1]]
        if min(slack) > -TOLERANCE_NS:
            self._jumps = 0
            return False
        self._jumps += 1
        if self._jumps >= JUMPED:
            self.reset()
        return True

    def _line(self, t_s: float) -> float:
        """The estimate at a time, both since the first exchange [ns]."""
        start_ns, zero_ns = self._origin_ns
        base_s = (self.base_ns - start_ns) * 1e-9
        return self.offset_ns - zero_ns + self.skew_ppb * (t_s - base_s)

    def _fit(self, now_ns: int) -> None:
        """The line in the middle of the widest gap between the bounds of both ways."""
        above = _lower_hull(self._up)
        below = _lower_hull([(t, -v) for t, v in self._down])
        slope = float(self.skew_ppb)
        if self.span_s >= SKEW_SPAN_S:
            slopes = [0.0, *_edges(above), *(-edge for edge in _edges(below))]
            tilt = TILT * self.span_s
            slope = max(slopes, key=lambda k: _touch(above, k) + _touch(below, -k) - abs(k) * tilt)
        high, low = _touch(above, slope), -_touch(below, -slope)
        now_s = (now_ns - self._origin_ns[0]) * 1e-9
        self.base_ns = now_ns
        self.skew_ppb = round(slope)
        self.offset_ns = self._origin_ns[1] + round((high + low) / 2 + slope * now_s)
        self.rtt_ns = max(0, round(high - low))


def _speed(ppm: float) -> str:
    size = f"{abs(ppm) / 1e4:.1f} %" if abs(ppm) >= 5000 else f"{abs(ppm):.0f} ppm"
    return f"{size} {'fast' if ppm > 0 else 'slow'}"


def _lower_hull(points: Iterable[Point]) -> list[Point]:
    """Lower convex hull of points in order of time (Andrew's monotone chain)."""
    hull: list[Point] = []
    for t, v in points:
        while len(hull) > 1:
            (t1, v1), (t2, v2) = hull[-2:]
            if (v2 - v1) * (t - t2) < (v - v2) * (t2 - t1):
                break
            hull.pop()
        hull.append((t, v))
    return hull


def _edges(hull: list[Point]) -> list[float]:
    """Slope of each edge [ns/s], which is ppb."""
    pairs = zip(hull[:-1], hull[1:], strict=True)
    return [(v2 - v1) / (t2 - t1) for (t1, v1), (t2, v2) in pairs if t2 > t1]


def _touch(hull: list[Point], slope: float) -> float:
    """Where the line of that slope that touches the hull from below crosses time 0."""
    return min(v - slope * t for t, v in hull)
