"""What the computer itself reports: memory, disk, temperature. Readers take a root for tests."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from runtime.conditions import Condition
from runtime.events import Event


@dataclass(frozen=True, slots=True)
class MachineState:
    """One reading; an absent sensor is None, never 0."""

    CONDITION_OF: ClassVar[dict[Event, Condition]] = {
        Event.MEMORY_LOW: Condition.MEMORY,
        Event.DISK_LOW: Condition.DISK,
        Event.TOO_HOT: Condition.TEMPERATURE,
        Event.BATTERY_LOW: Condition.BATTERY,
    }

    memory_mb: float
    disk_mb: float
    temperature_c: float | None


class LinuxMachine:
    """Reads /proc and /sys at most once a second."""

    def __init__(self, logs: Path, root: Path = Path("/")) -> None:
        self._logs, self._root = logs, root
        self._next_ns = 0
        self._state = MachineState(1e6, 1e6, None)

    def read(self, now_ns: int) -> MachineState:
        """The newest readings."""
        if now_ns >= self._next_ns:
            self._next_ns = now_ns + 1_000_000_000
            self._state = MachineState(self._memory_mb(), self._disk_mb(), self._temperature_c())
        return self._state

    def _memory_mb(self) -> float:
        for line in (self._root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) / 1024
        return 1e6

    def _disk_mb(self) -> float:
        for folder in (self._logs, *self._logs.parents):  # somebody may have cleared it away
            try:
                return shutil.disk_usage(folder).free / 1e6
            except OSError:
                continue
        return 0.0

    def _temperature_c(self) -> float | None:
        zones = (self._root / "sys/class/thermal").glob("thermal_zone*/temp")
        readings = []
        for zone in zones:
            try:
                readings.append(int(zone.read_text()) / 1000)
            except (OSError, ValueError):
                continue
        return max(readings, default=None)


class SteadyMachine:
    """The computer of a lockstep run: always fit, so that a run depends on its seed alone."""

    def read(self, now_ns: int) -> MachineState:
        """Plenty of everything."""
        return MachineState(1e6, 1e6, None)
