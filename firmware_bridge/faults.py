"""A wire that misbehaves on demand, the same for the same seed: delays, noise, cuts, a skewed clock.

Virtual time: `advance(now_ns)` runs the firmware core and hands bytes over when they are due, so
that a frame meets the core at its own time and not at the host's next step.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from firmware_bridge.lockstep import LockstepFirmware

TICK_US = 1000


@dataclass(slots=True)
class Faults:
    """What is wrong with the wire; may be changed while it runs."""

    delay_ns: tuple[int, int] = (0, 0)  # each chunk of each way waits between these
    error_rate: float = 0.0  # of bytes: one bit flips
    drop_rate: float = 0.0  # of bytes: they vanish
    cut: bool = False  # nothing passes, and what is under way is lost
    unplugged: bool = False  # the port is gone: reading and writing raise OSError


@dataclass(slots=True)
class Direction:
    """One way of the wire, and what it did to the frames; a frame ends with a zero byte."""

    queue: deque[tuple[int, bytes]]  # (arrival ns, bytes)
    last_ns: int = 0
    hurt: int = 0  # bytes changed or dropped, or lost in a cut
    frames: int = 0  # handed to the wire


class FaultyLine:
    """A transport to a firmware core in this process whose clock runs at its own rate."""

    def __init__(
        self, firmware: LockstepFirmware, faults: Faults, seed: int = 0, skew_ppm: float = 0.0
    ) -> None:
        self.faults = faults
        self.to_mcu, self.to_host = Direction(deque()), Direction(deque())
        self.now_ns = 0
        self._rng = np.random.default_rng(seed)
        self._ppb = round(skew_ppm * 1000)
        self._arrived = bytearray()
        self.replace(firmware)

    def replace(self, firmware: LockstepFirmware) -> None:
        """Another core, fresh from its reset, at the end of the same wire."""
        self.firmware = firmware
        self._start_ns = self.now_ns
        self._ticks = 0
        self.to_mcu.queue.clear()

    def mcu_us(self, now_ns: int) -> int:
        """The core's true clock at a host time."""
        elapsed = now_ns - self._start_ns
        return self.firmware.clock_start_us + (elapsed + elapsed * self._ppb // 10**9) // 1000

    def _tick_ns(self) -> int:
        """Host time of the core's next tick."""
        elapsed_ns = (self._ticks + 1) * TICK_US * 1000
        return self._start_ns - (-elapsed_ns * 10**9 // (10**9 + self._ppb))

    def advance(self, now_ns: int) -> None:
        """Run the core up to a host time; every byte meets it when it arrives."""
        queue = self.to_mcu.queue
        while True:
            tick_ns = self._tick_ns()
            byte_ns = queue[0][0] if queue else tick_ns + 1
            at_ns = min(tick_ns, byte_ns)
            if at_ns > now_ns:
                break
            self.now_ns = at_ns
            self.firmware.run(self.mcu_us(at_ns))
            if byte_ns < tick_ns:
                self.firmware.receive(queue.popleft()[1])
            else:
                self._ticks += 1
            self._send(self.to_host, self.firmware.transmit())
        self.now_ns = now_ns
        arrived = self.to_host.queue
        while arrived and arrived[0][0] <= now_ns:
            self._arrived += arrived.popleft()[1]

    @property
    def waiting(self) -> bool:
        """Whether bytes wait for the host: what a real one is woken by."""
        return bool(self._arrived)

    def _send(self, way: Direction, data: bytes) -> None:
        if not data:
            return
        way.frames += data.count(0)
        if self.faults.cut:
            way.hurt += len(data)
            return
        low, high = self.faults.delay_ns
        at_ns = self.now_ns + (int(self._rng.integers(low, high, endpoint=True)) if high else 0)
        way.last_ns = max(way.last_ns, at_ns)  # a wire does not reorder
        way.queue.append((way.last_ns, self._hurt(way, data)))

    def _hurt(self, way: Direction, data: bytes) -> bytes:
        if self.faults.error_rate == self.faults.drop_rate == 0.0:
            return data
        plain = np.frombuffer(data, np.uint8)
        flips = self._rng.random(len(plain)) < self.faults.error_rate
        bits = (1 << self._rng.integers(0, 8, len(plain))).astype(np.uint8)
        kept = self._rng.random(len(plain)) >= self.faults.drop_rate
        way.hurt += int((flips | ~kept).sum())
        return bytes(np.where(flips, plain ^ bits, plain)[kept].tobytes())

    def cut(self) -> None:
        """Pull the cable: what is under way is lost."""
        self.faults.cut = True
        for way in (self.to_mcu, self.to_host):
            way.hurt += sum(len(data) for _, data in way.queue)
            way.queue.clear()

    def mend(self) -> None:
        """Put the cable back."""
        self.faults.cut = self.faults.unplugged = False

    # ── what a link needs of a transport ───────────────────────────────────────────────
    def read_into(self, buffer: memoryview) -> int:
        """Bytes that have arrived."""
        if self.faults.unplugged:
            raise OSError("the port is gone")
        size = min(len(buffer), len(self._arrived))
        buffer[:size] = self._arrived[:size]
        del self._arrived[:size]
        return size

    def write(self, data: memoryview) -> int:
        """Send; they arrive when the wire lets them."""
        if self.faults.unplugged:
            raise OSError("the port is gone")
        self._send(self.to_mcu, bytes(data))
        return len(data)

    def fileno(self) -> int | None:
        """There is no file."""
        return None

    def reopen(self) -> bool:
        """Opens while the port is there; what came meanwhile is gone."""
        self._arrived.clear()
        return not self.faults.unplugged

    def close(self) -> None:
        """Nothing to give back."""
