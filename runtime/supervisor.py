"""The supervisor: starts the processes, watches them, restarts or ends, stops in order.

Tiny on purpose: it forks, waits on process ids and channels, and writes events. What may be
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
from runtime.process import Heartbeat

STOP_WAIT_NS = 3_000_000_000
HANG_NS = 3_000_000_000
MAX_RESTARTS = 3


class OnDeath(Enum):
    """What a process's death means for the run; either way the wheels stop at once."""

    END = "end"
    RESTART = "restart"


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process: how it starts, what its death means, when it is stopped (low first)."""

    name: str
    start: Callable[[], int]
    on_death: OnDeath
    stop_order: int
    has_heartbeat: bool = True


class Supervisor:
    """See the module's text."""

    def __init__(self, rows: list[ProcessRow], channels: Channels) -> None:
        self.rows = {row.name: row for row in rows}
        self.pids: dict[str, int] = {}
        self.ended = ""  # why the run ended, or empty
        self.failed = False
        self._fds: dict[str, int] = {}
        self._restarts: dict[str, int] = {}
        self._events = EventLog(channels.writer("event.supervisor", "supervisor"))
        self._alive = {name: channels.reader(f"alive.{name}") for name, row in self.rows.items() if row.has_heartbeat}  # fmt: skip
        self._heartbeat = Heartbeat(channels, "supervisor")
        self._waiting_back: set[str] = set()

    def start(self) -> None:
        """Start every process in table order."""
        for name in self.rows:
            self._start(name)

    def _start(self, name: str) -> None:
        self.pids[name] = self.rows[name].start()
        self._fds[name] = os.pidfd_open(self.pids[name])

    def step(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` for a death; act on it; look at the heartbeats."""
        ready, _, _ = select.select(list(self._fds.values()), [], [], timeout_s)
        t = now_ns()
        for name in [n for n, fd in self._fds.items() if fd in ready]:
            self._died(t, name)
        for name in list(self._waiting_back):
            reader = self._alive[name]
            if reader.latest() and t - int(reader.record["t_ns"]) < HANG_NS:
                self._waiting_back.discard(name)
                self._events.keep(t, Event.PROCESS_DIED, bool(self._waiting_back), text=name)
                self._events.note(t, Event.PROCESS_BACK, text=name)
        self._check_hangs(t)
        self._heartbeat.step(t)

    def _check_hangs(self, t: int) -> None:
        for name, reader in self._alive.items():
            reader.latest()
            if name in self._waiting_back or reader.seq == 0 or name not in self.pids:
                continue
            if t - int(reader.record["t_ns"]) > HANG_NS:
                os.kill(self.pids[name], signal.SIGKILL)  # a hung process is a dead one

    def _died(self, t: int, name: str) -> None:
        pid = self.pids.pop(name)
        os.close(self._fds.pop(name))
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if self.ended:
            return
        row = self.rows[name]
        how = f"{name} ({'signal ' + str(-code) if code < 0 else 'exit ' + str(code)})"
        self._events.keep(t, Event.PROCESS_DIED, True, text=how)
        restarts = self._restarts.get(name, 0)
        if row.on_death is OnDeath.RESTART and restarts < MAX_RESTARTS:
            self._restarts[name] = restarts + 1
            self._start(name)
            self._alive[name].latest()
            self._waiting_back.add(name)
        else:
            self.ended, self.failed = f"{how} died", True

    def end(self, reason: str) -> None:
        """Ask for the end of the run."""
        if not self.ended:
            self.ended = reason

    def stop(self) -> None:
        """SIGTERM in stop order, each group waited for; what does not go is killed."""
        self._events.note(now_ns(), Event.RUN_ENDED, text=self.ended)
        for order in sorted({row.stop_order for row in self.rows.values()}):
            group = [n for n, row in self.rows.items() if row.stop_order == order and n in self.pids]
            for name in group:
                os.kill(self.pids[name], signal.SIGTERM)
            deadline = now_ns() + STOP_WAIT_NS
            while any(n in self.pids for n in group) and now_ns() < deadline:
                self._reap(group)
                sleep_until(now_ns() + 5_000_000)
            for name in [n for n in group if n in self.pids]:
                os.kill(self.pids[name], signal.SIGKILL)
                os.waitpid(self.pids.pop(name), 0)
                os.close(self._fds.pop(name))

    def _reap(self, group: list[str]) -> None:
        for name in [n for n in group if n in self.pids]:
            pid, _ = os.waitpid(self.pids[name], os.WNOHANG)
            if pid:
                del self.pids[name]
                os.close(self._fds.pop(name))
