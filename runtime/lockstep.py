"""Lockstep: all parts in one process on virtual time, bit-identical for the same seed.

A fixed event queue ordered by (time, row of the process table, order of scheduling). What a part
writes becomes visible after that part's declared latency, so nothing is trained or judged for a
robot without delay. Nothing here reads a wall clock.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from firmware_bridge.ring import Ring
from runtime.channels import PROCESSES, Channel, Channels, Record, Writer, channel_bytes

MS = 1_000_000
START_NS = 1_000_000_000  # virtual time starts away from zero, so that 0 stays "never"


@dataclass(frozen=True, slots=True)
class Latency:
    """Declared latencies [ns] of one run; defaults as measured in real time, drawn per seed."""

    camera: int  # mid exposure to frame readable
    serial: int  # one way on the wire
    controller: int  # sensor batch to command written
    perception: int  # frame readable to belief published
    mind: int

    @staticmethod
    def draw(seed: int) -> Latency:
        """One robot's latencies."""
        rng = np.random.default_rng([seed, 0x1A7E])
        low = np.array([14.0, 0.3, 0.2, 3.0, 1.0])
        high = np.array([24.0, 0.8, 0.6, 9.0, 4.0])
        drawn = (rng.uniform(low, high) * MS).astype(int)
        return Latency(*(int(v) for v in drawn))


class Clockwork:
    """The event queue."""

    def __init__(self) -> None:
        self.now_ns = START_NS
        self._queue: list[tuple[int, int, int, Callable[[], None]]] = []
        self._order = 0

    def at(self, t_ns: int, process: str, action: Callable[[], None]) -> None:
        """Schedule an action."""
        self._order += 1
        heapq.heappush(self._queue, (t_ns, PROCESSES.index(process), self._order, action))

    def every(self, period_ns: int, process: str, action: Callable[[int], None]) -> None:
        """Call `action(now_ns)` each period from the start on."""

        def again() -> None:
            action(self.now_ns)
            self.at(self.now_ns + period_ns, process, again)

        self.at(self.now_ns, process, again)

    def run(self, until_ns: int, done: Callable[[], bool] = lambda: False) -> None:
        """Run the queue up to a time, or until `done` after an event."""
        while self._queue and self._queue[0][0] <= until_ns:
            self.now_ns, _, _, action = heapq.heappop(self._queue)
            action()
            if done():
                return
        self.now_ns = max(self.now_ns, until_ns)


class DelayedRing:
    """A ring whose writes appear later; stands where a Writer expects a ring."""

    def __init__(
        self,
        ring: Ring,
        row: Channel,
        clockwork: Clockwork,
        latency_ns: int,
        delivered: Callable[[Channel, Record], None],
    ) -> None:
        self._ring, self._row, self._clockwork = ring, row, clockwork
        self._latency_ns, self._delivered = latency_ns, delivered
        self._seq = 0

    def write(self, record: Record, t_ns: int) -> int:
        """Schedule the write; returns the sequence it will have."""
        copy = record.copy()

        def deliver() -> None:
            self._ring.write(copy, t_ns)
            self._delivered(self._row, copy)

        self._clockwork.at(self._clockwork.now_ns + self._latency_ns, self._row.writer, deliver)
        self._seq += 1
        return self._seq


class LockstepChannels(Channels):
    """Channels in plain memory whose writers are delayed and whose deliveries are hashed."""

    def __init__(
        self, table: dict[str, Channel], clockwork: Clockwork, latency_ns: dict[str, int]
    ) -> None:
        memory = {name: bytearray(channel_bytes(row)) for name, row in table.items()}
        super().__init__(table, memory)
        self._clockwork, self._latency_ns = clockwork, latency_ns
        self._hash = hashlib.sha256()
        self._watchers: dict[str, Callable[[], None]] = {}

    def writer(self, name: str, process: str) -> Writer:
        """See `Channels.writer`."""
        writer = super().writer(name, process)
        row = self.table[name]
        latency = self._latency_ns.get(name, self._latency_ns.get(process, 0))
        writer._ring = DelayedRing(  # type: ignore[assignment]
            self._rings[name], row, self._clockwork, latency, self._delivered
        )
        return writer

    def on_delivery(self, name: str, action: Callable[[], None]) -> None:
        """Run an action whenever a record of the channel appears (an event-driven process)."""
        self._watchers[name] = action

    def tick_log_sha256(self) -> str:
        """SHA-256 over every channel's records in order of appearance."""
        return self._hash.hexdigest()

    def _delivered(self, row: Channel, record: Record) -> None:
        self._hash.update(row.name.encode())
        self._hash.update(record.tobytes())
        if row.name in self._watchers:
            self._watchers[row.name]()
