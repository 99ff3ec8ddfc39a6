"""A cue from the robot itself: its LED ring blinks where the tech looks, not at a screen."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from firmware_bridge.limits import LimitTable
from firmware_bridge.link import Link
from firmware_bridge.protocol import Param
from firmware_bridge.serial_port import SerialTransport
from runtime.clock import now_ns, sleep_until
from runtime.errors import RuntimeFault

PERIOD_NS = 10_000_000
BLINK_NS = 150_000_000
DIM_PERMILLE, FULL_PERMILLE = 50, 1000
CONNECT_NS = 5_000_000_000
LAST_NS = 2_000_000_000


class Cue:
    """Blinks by the ring's brightness, which the board lets a host set as long as nothing drives.

    One `step` per control period; `blink` may be called from another thread.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._pending: list[int] = []
        self._next_ns = 0

    def busy(self, now_ns: int) -> bool:
        """Something is still to be shown, or on its way."""
        return bool(self._pending) or now_ns < self._next_ns

    def blink(self, times: int = 1) -> None:
        """Dark and bright again, so often."""
        self._pending += [DIM_PERMILLE, FULL_PERMILLE] * times

    def step(self, now_ns: int) -> None:
        """Pump the link; set what is due."""
        self._link.step(now_ns)
        if self._pending and self._link.ready and now_ns >= self._next_ns:
            self._link.set_param(Param.LED_PERMILLE, self._pending.pop(0))
            self._next_ns = now_ns + BLINK_NS


@contextmanager
def open_cue(port: str, table: LimitTable) -> Iterator[Cue]:
    """The cue of the board at a port, pumped by a thread; RuntimeFault when none answers there."""
    link = Link(SerialTransport(port), table, now_ns)
    cue, over = Cue(link), threading.Event()

    def pump() -> None:
        at = now_ns()
        while not over.is_set():
            cue.step(now_ns())
            at += PERIOD_NS
            sleep_until(at)

    thread = threading.Thread(target=pump, daemon=True)
    thread.start()
    try:
        until = now_ns() + CONNECT_NS
        while not link.ready:
            if now_ns() > until:
                raise RuntimeFault(f"port {port}: no answer from the board ({link.status.reason}); leave --port away to record without its LED")  # fmt: skip
            sleep_until(now_ns() + PERIOD_NS)
        yield cue
        end = now_ns() + LAST_NS
        while cue.busy(now_ns()) and now_ns() < end:  # the last blink is seen, and ends bright
            sleep_until(now_ns() + PERIOD_NS)
    finally:
        over.set()
        thread.join()
        link.close()
