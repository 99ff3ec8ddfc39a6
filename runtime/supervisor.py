"""The supervisor: starts the processes, watches them, restarts or ends, stops in order.

Tiny on purpose: it forks, waits on process ids and pipes, and writes events. What may be
restarted and what ends the run stands in the process table that tools hand in.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from runtime.channels import Channels
from runtime.clock import now_ns, sleep_until
from runtime.event_log import EventLog
from runtime.events import Event
from runtime.process import ERROR, USAGE, Child, Heartbeat

STOP_WAIT_NS = 3_000_000_000
SETTLE_NS = 300_000_000  # MOTION's time to live and the MCU's own ramp: a cut motor rolls longer
HANG_NS = 3_000_000_000
REST_NS = 500_000_000  # every death brings the wheels to rest, also where the restart is quicker
START_NS = (
    60_000_000_000  # to the first heartbeat; loading a bundle on a busy machine takes seconds
)
# What a run goes on without, as a child tells it.
WITHOUT = {"foresight": Event.FORESIGHT_OFF, "recording": Event.RECORDING_OFF}
MAX_RESTARTS = 3
RESTART_WINDOW_NS = 60_000_000_000


class OnDeath(Enum):
    """What a process's death means for the run; either way the wheels stop at once."""

    END = "end"
    RESTART = "restart"


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process: how it starts, what its death means, when it is stopped (low first)."""

    name: str
    start: Callable[[], Child]
    on_death: OnDeath
    stop_order: int
    has_heartbeat: bool = True


class Supervisor:
    """See the module's text."""

    def __init__(self, rows: list[ProcessRow], channels: Channels) -> None:
        self.rows = {row.name: row for row in rows}
        self.children: dict[str, Child] = {}
        self.ended = ""  # why the run ended, or empty
        self.failure = ""  # ERROR or USAGE where it did not end as asked
        self.said: list[tuple[str, str, str]] = []  # process, kind, text
        self._pidfds: dict[str, int] = {}
        self._started_ns: dict[str, int] = {}
        self._deaths: dict[str, list[int]] = {}
        self._events = EventLog(channels.writer("event.supervisor", "supervisor"))
        self._alive = {
            name: channels.reader(f"alive.{name}")
            for name, row in self.rows.items()
            if row.has_heartbeat
        }
        self._heartbeat = Heartbeat(channels, "supervisor")
        self._awaited: set[str] = set()  # restarted, not back yet

    def start(self) -> None:
        """Start every process in table order."""
        for name in self.rows:
            self._start(name)

    def _start(self, name: str) -> None:
        child = self.children[name] = self.rows[name].start()
        self._pidfds[name] = os.pidfd_open(child.pid)
        self._started_ns[name] = now_ns()

    def step(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` for a death; act on it; look at the heartbeats."""
        ready, _, _ = select.select(list(self._pidfds.values()), [], [], timeout_s)
        t = now_ns()
        for name in list(self.children):
            self._listen(t, name)
        for name in [n for n, fd in self._pidfds.items() if fd in ready]:
            self._died(t, name)
        self._check_hearts(t)
        self._heartbeat.step(t)

    def _listen(self, t: int, name: str) -> None:
        for kind, text in self.children[name].said():
            self.said.append((name, kind, text))
            if kind == "degraded":
                self._events.keep(t, Event.BACKEND_FALLBACK, True, text=text)
            elif kind in WITHOUT:
                self._events.note(t, WITHOUT[kind], text=text)

    def _check_hearts(self, t: int) -> None:
        for name, reader in self._alive.items():
            if name not in self.children:
                continue
            reader.latest()
            beat_ns = int(reader.record["t_ns"])
            started_ns = self._started_ns[name]
            if beat_ns < started_ns:
                late = t - started_ns > START_NS
            else:
                late = t - beat_ns > HANG_NS
                if t - started_ns > REST_NS:
                    self._welcome_back(t, name)
            if late:
                os.kill(self.children[name].pid, signal.SIGKILL)  # a hung process is a dead one

    def _welcome_back(self, t: int, name: str) -> None:
        if name in self._awaited:
            self._awaited.discard(name)
            self._events.keep(t, Event.PROCESS_DIED, bool(self._awaited), text=name)
            self._events.note(t, Event.PROCESS_BACK, text=name)

    def _died(self, t: int, name: str) -> None:
        _, status = os.waitpid(self.children[name].pid, 0)
        self._forget(t, name)
        if self.ended:
            return
        code = os.waitstatus_to_exitcode(status)
        how = f"{name} (signal {-code})" if code < 0 else f"{name} (exit {code})"
        if Event.PROCESS_DIED in self._events.active:
            self._events.note(t, Event.PROCESS_DIED, text=how)
        else:
            self._events.keep(t, Event.PROCESS_DIED, True, text=how)
        if self._may_restart(t, name):
            self._start(name)
            self._awaited.add(name)
            return
        kind, text = self._last_words(name)
        self.end(text or f"the process {how} died", kind or ERROR)

    def _may_restart(self, t: int, name: str) -> bool:
        """Not too often, and not what says that it cannot even start."""
        deaths = self._deaths.setdefault(name, [])
        deaths[:] = [d for d in deaths if t - d < RESTART_WINDOW_NS] + [t]
        reader = self._alive.get(name)
        never_ran = reader is not None and not reader.latest() and reader.seq == 0
        hopeless = never_ran and bool(self._last_words(name)[1])
        row = self.rows[name]
        return row.on_death is OnDeath.RESTART and len(deaths) <= MAX_RESTARTS and not hopeless

    def _last_words(self, name: str) -> tuple[str, str]:
        words = [(k, text) for n, k, text in self.said if n == name and k in (ERROR, USAGE)]
        return words[-1] if words else ("", "")

    def _forget(self, t: int, name: str) -> None:
        self._listen(t, name)
        self.children.pop(name).close()
        os.close(self._pidfds.pop(name))

    def note(self, event: Event, text: str = "") -> None:
        """Tell an event of the run as a whole."""
        self._events.note(now_ns(), event, text=text)

    def end(self, reason: str, failure: str = "") -> None:
        """Ask for the end of the run; the first reason counts."""
        if not self.ended:
            self.ended, self.failure = reason, failure

    def stop(self) -> None:
        """SIGTERM in stop order, each group waited for; what does not go is killed."""
        self.note(Event.RUN_ENDED, self.ended)
        if self.failure:
            sleep_until(now_ns() + SETTLE_NS)
        for order in sorted({row.stop_order for row in self.rows.values()}):
            group = [name for name in self.children if self.rows[name].stop_order == order]
            for name in group:
                os.kill(self.children[name].pid, signal.SIGTERM)
            deadline = now_ns() + STOP_WAIT_NS
            while self._reap(group, os.WNOHANG) and now_ns() < deadline:
                sleep_until(now_ns() + 5_000_000)
            for name in [n for n in group if n in self.children]:
                os.kill(self.children[name].pid, signal.SIGKILL)
            self._reap(group, 0)

    def _reap(self, group: list[str], options: int) -> bool:
        """Take leave of who has gone; True while somebody is left."""
        for name in [n for n in group if n in self.children]:
            pid, _ = os.waitpid(self.children[name].pid, options)
            if pid:
                self._forget(now_ns(), name)
        return any(name in self.children for name in group)
