"""The MCU clock on the host: an offset from the quickest frames each way, a skew by regression.

A frame that waits before it is read only weakens a bound, it never shifts the estimate: the way up
is bounded by SYNC_REQ (sent at once), the way down by the quickest of all frames since the last
exchange. Offset is the middle of both bounds, their distance the round trip; exchanges with a
round trip near the shortest one feed the fit.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW = 24  # exchanges kept: at 1 Hz long enough for a skew of a few ppm
SETTLED = 8  # exchanges before the clock counts as synchronised
SKEW_SPAN_NS = 5_000_000_000  # a slope over less is noise
SKEW_MAX_PPB = 300_000
SLACK_NS = 100_000
VALID_NS = 10_000_000_000


@dataclass(frozen=True, slots=True)
class Exchange:
    """One bounded look at the offset MCU - host."""

    t_ns: int
    offset_ns: int
    rtt_ns: int


class ClockSync:
    """Estimates MCU time = host time + offset + skew * elapsed."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget every exchange: the MCU restarted or the link was lost."""
        self._exchanges: deque[Exchange] = deque(maxlen=WINDOW)
        self.count = 0
        self.base_ns = 0
        self.offset_ns = 0
        self.skew_ppb = 0
        self.rtt_ns = 0

    def add(self, t0_ns: int, mcu_rx_us: int, down_best_ns: int) -> None:
        """One exchange: sent at t0, received at mcu_rx, and the best downward bound since."""
        up_ns = mcu_rx_us * 1000 - t0_ns
        rtt_ns = max(0, up_ns - down_best_ns)
        self._exchanges.append(Exchange(t0_ns, (up_ns + down_best_ns) // 2, rtt_ns))
        self.count += 1
        self._fit(t0_ns)

    def valid(self, now_ns: int) -> bool:
        """Settled, and the last exchange is younger than 10 s."""
        if self.count < SETTLED:
            return False
        return now_ns - self._exchanges[-1].t_ns < VALID_NS

    def mcu_us(self, now_ns: int) -> int:
        """MCU time [us] at a host time."""
        elapsed = now_ns - self.base_ns
        return (now_ns + self.offset_ns + elapsed * self.skew_ppb // 1_000_000_000) // 1000

    def _fit(self, now_ns: int) -> None:
        """Line through the quick exchanges, about their mean time."""
        shortest = min(e.rtt_ns for e in self._exchanges)
        quick = [e for e in self._exchanges if e.rtt_ns <= shortest + shortest // 2 + SLACK_NS]
        mean_t = sum(e.t_ns for e in quick) // len(quick)
        mean_offset = sum(e.offset_ns for e in quick) // len(quick)
        if quick[-1].t_ns - quick[0].t_ns >= SKEW_SPAN_NS:
            spread = sum((e.t_ns - mean_t) ** 2 for e in quick)
            slope = sum((e.t_ns - mean_t) * (e.offset_ns - mean_offset) for e in quick)
            self.skew_ppb = max(-SKEW_MAX_PPB, min(SKEW_MAX_PPB, slope * 10**9 // spread))
        self.base_ns = now_ns
        self.offset_ns = mean_offset + (now_ns - mean_t) * self.skew_ppb // 1_000_000_000
        self.rtt_ns = shortest
