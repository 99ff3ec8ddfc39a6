"""The watch over calibrations while the robot runs: tells drift, slows, and changes nothing.

Part of the mind, which has time: sensor batches and frames in, one event out, and a file beside the
board's records so that the next start knows. No clock is read; in lockstep nothing is kept on disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibration.drift import Drift, Standing, begin, kept_of, read_drift, write_drift
from calibration.watch_monitor import Monitor, Watched
from runtime.channels import Channels, Record
from runtime.event_log import EventLog
from runtime.events import Event

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class WatchConfig:
    """What is watched, whose it is, and where it is kept (None: nowhere, as in lockstep)."""

    watched: Watched
    serials: dict[str, str]  # of "mcu" and "camera"
    folder: Path | None = None
    wall_offset_ns: int | None = None  # wall clock less the run's; None: times of the run are told


class Watch:
    """`sense` each batch, then `step` once per round of the mind."""

    def __init__(self, channels: Channels, config: WatchConfig, events: EventLog) -> None:
        self._config, self._events = config, events
        self._frames = channels.reader("frame")
        self.monitor = Monitor(config.watched)
        self._before = Drift()
        if config.folder is not None:
            self._before = read_drift(config.folder, config.serials["mcu"])
            begin(self.monitor.gauges, self._before)
        self._told: tuple[tuple[str, bool], ...] = ()
        self._learnt = len(self._before.gauges)
        self._start_ns = 0

    def sense(self, batch: Record) -> None:
        """One SENSORS record, in order of time."""
        t_ns = int(batch["t_ns"])
        self._start_ns = self._start_ns or t_ns
        self.monitor.sense(t_ns, batch["position_rad"], batch["gyro_rad_s"].astype(float), batch["accel_m_s2"].astype(float))  # fmt: skip

    def step(self, now_ns: int) -> None:
        """Look at the new frames; raise, clear and keep what changed."""
        for frame in self._frames.drain():
            if not (frame["dark"] or frame["repeated"]):
                self.monitor.see(int(frame["t_ns"]), frame["pixels"])
        standing = self._standing()
        told = tuple((s.name, s.gross) for s in standing)
        learnt = sum(g.reference is not None for g in self.monitor.gauges.values())
        if told != self._told:
            self._events.keep(now_ns, Event.CALIBRATION_DRIFT, False)
            said = "; ".join(s.said for s in standing)
            self._events.keep(now_ns, Event.CALIBRATION_DRIFT, bool(told), float(len(told)), text=said)  # fmt: skip
        if told != self._told or learnt != self._learnt:
            self._keep(now_ns, standing)
        self._told, self._learnt = told, learnt

    def _standing(self) -> list[Standing]:
        """Flags of now, and those from before this run until a calibration settles them.

        One that stood before stands since then, by the most that it was ever off.
        """
        before = {(s.name, s.serial): s for s in self._before.flags}
        found = []
        for f in self.monitor.flags:
            serial = self._config.serials[f.kind.device]
            old = before.pop((f.name, serial), None)
            if old is not None and abs(old.amount) >= abs(f.amount):
                found.append(old)
                continue
            date = old.since if old else self._date(f.since_ns)
            said = f.said(_day(date) if date else self._into_run(f.since_ns))
            found.append(
                Standing(name=f.name, amount=f.amount, since=date, serial=serial, said=said)
            )
        return found + list(before.values())

    def _keep(self, now_ns: int, standing: list[Standing]) -> None:
        config = self._config
        if config.folder is None:
            return
        gauges = kept_of(self.monitor.gauges, self._before, self._date(now_ns), config.serials)
        try:
            write_drift(config.folder, config.serials["mcu"], Drift(gauges=gauges, flags=tuple(standing)))  # fmt: skip
        except OSError as error:
            self._events.note(now_ns, Event.WATCH_UNKEPT, text=str(error.strerror))

    def _date(self, t_ns: int) -> str:
        """ISO 8601, UTC; empty where no wall clock is known."""
        if self._config.wall_offset_ns is None:
            return ""
        wall = np.datetime64(t_ns + self._config.wall_offset_ns, "ns").astype("datetime64[s]")
        return f"{wall}Z"

    def _into_run(self, t_ns: int) -> str:
        return f"{(t_ns - self._start_ns) / 1e9:.0f} s into the run"


def _day(date: str) -> str:
    """An ISO date as an operator reads it."""
    return f"{int(date[8:10])} {MONTHS[int(date[5:7]) - 1]}"
