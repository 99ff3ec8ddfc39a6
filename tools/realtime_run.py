"""`companion run` in real time: memory, processes, supervision, a status line, the report."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from firmware_bridge.host import HostFirmware
from firmware_bridge.plant import Plant
from runtime.channels import Channels, Reader
from runtime.clock import now_ns
from runtime.conditions import missing
from runtime.log import read_log
from runtime.modes import MOVING, Mode
from runtime.process import set_priority, spawn
from runtime.sharing import ChannelServer, create_memory, open_channels
from runtime.supervisor import OnDeath, ProcessRow, Supervisor
from tools import processes
from tools.compose import Setup
from tools.report import RunFacts
from tools.runtime_folder import RuntimeFolder

END, RESTART = OnDeath.END, OnDeath.RESTART
FIFO = {"supervisor": 80, "firmware": 75, "controller": 60, "perception": 20}
POLL_S = 0.02
STATUS_EVERY_NS = 500_000_000
START_LIMIT_NS = 30_000_000_000


@dataclass
class Outcome:
    """How a real-time run went."""

    records: dict[str, Any]
    facts: RunFacts
    interrupted: bool


class RealtimeRun:
    """Builds the process table, supervises, stops, reads the log back."""

    def __init__(self, setup: Setup, folder: RuntimeFolder, log: Path) -> None:
        self.setup, self.log = setup, log
        self.fds = create_memory(setup.table)
        self.channels = open_channels(setup.table, self.fds)
        self.port = setup.settings.firmware
        self.page_port = 0
        self.plant: Plant | None = None
        self.rss_mb: dict[str, float] = {}
        self._interrupted = False
        self.fifo = set_priority(FIFO["supervisor"])
        self.supervisor = Supervisor(self._rows(), self.channels)
        self.server = ChannelServer(
            folder.path / "channels.sock",
            self.fds,
            {"body": setup.body.name, "bundle": str(setup.bundle.path), "target": setup.settings.target},
        )
        self._status = self.channels.reader("status")
        self._alive_console = self.channels.reader("operator")

    # ── the process table ───────────────────────────────────────────────────────────────
    def _rows(self) -> list[ProcessRow]:
        """What starts, what its death means, in which order it is stopped."""
        setup, channels = self.setup, self.channels
        rows = []
        if self.port == "host":
            self.plant = Plant.create()
            rows += [
                ProcessRow("firmware", self._start_firmware, END, 3, has_heartbeat=False),
                ProcessRow("twin", self._child("twin", processes.twin, self.plant.fd), END, 4),
            ]
        rows += [
            ProcessRow("controller", self._start_controller, END, 1),
            ProcessRow("perception", self._child("perception", processes.perception), RESTART, 2),
            ProcessRow("mind", self._child("mind", processes.mind), RESTART, 2),
            ProcessRow("recorder", self._child("recorder", processes.recorder, self.log), RESTART, 5),
        ]
        if not setup.settings.headless:
            self._page_socket = _listen(setup.settings.page_port)
            self.page_port = self._page_socket.getsockname()[1]
            rows.append(
                ProcessRow("console", self._child("console", processes.console, self._page_socket), RESTART, 2)
            )
        assert channels.table
        return rows

    def _child(self, name: str, main: Any, *extra: Any) -> Any:
        start = partial(main, self.setup, self.channels, *extra)
        return lambda: spawn(lambda stop: start(stop), FIFO.get(name, 0))

    def _start_firmware(self) -> int:
        assert self.plant is not None
        self.firmware = HostFirmware(self.setup.body.limit_table(), self.plant, fifo=FIFO["firmware"])
        self.port = self.firmware.port
        return self.firmware.pid

    def _start_controller(self) -> int:
        start = partial(processes.controller, self.setup, self.channels, self.port)
        return spawn(lambda stop: start(stop), FIFO["controller"])

    # ── the run ─────────────────────────────────────────────────────────────────────────
    def run(self) -> Outcome:
        """Start, watch until the end, stop; motors are parked whatever happens."""
        previous = {s: signal.signal(s, self._interrupt) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            self.supervisor.start()
            self._watch()
        finally:
            self.supervisor.end("an error in the supervisor")
            self.supervisor.stop()
            self.server.close()
            for number, handler in previous.items():
                signal.signal(number, handler)
        failed = self.supervisor.ended if self.supervisor.failed else ""
        facts = RunFacts(
            backends={g: b[0] for g, b in self.setup.settings.backends.items()},
            log=str(self.log),
            rss_mb=self.rss_mb,
            firmware=self.setup.settings.firmware,
            failed=failed,
        )
        records: dict[str, Any] = {}
        for file in sorted(self.log.parent.glob(f"{self.log.stem}*{self.log.suffix}")):
            for name, rows in read_log(file, self.setup.table).items():
                records[name] = rows if name not in records else _join(records[name], rows)
        return Outcome(records, facts, self._interrupted)

    def _interrupt(self, number: int, _frame: object) -> None:
        self._interrupted = True
        self.supervisor.end("Ctrl-C" if number == signal.SIGINT else "SIGTERM")

    def _watch(self) -> None:
        began = now_ns()
        started = 0
        line = StatusLine(self.setup, self.channels)
        while not self.supervisor.ended:
            self.supervisor.step(POLL_S)
            self.server.step()
            t = now_ns()
            line.step(t, started)
            if not started:
                started = self._started(t)
                if not started and t - began > START_LIMIT_NS:
                    self.supervisor.failed = True
                    self.supervisor.end(f"it never became active: {self._why()}")
            elif self._is_over(t, started):
                self.supervisor.end("its time is over")
            if (t - began) // 1_000_000_000 % 5 == 0:
                self._measure_memory()
        line.close()

    def _started(self, t: int) -> int:
        """Time of the first active tick (or first frame where nothing may move), else 0."""
        self._status.latest()
        mode = Mode(int(self._status.record["mode"]))
        if self.setup.has_body and self.setup.settings.skill != "none":
            return t if mode in MOVING else 0
        frame = self.channels.reader("frame")
        return t if frame.latest() else 0

    def _why(self) -> str:
        names = missing(int(self._status.record["conditions"]))
        return ", ".join(names) or "all conditions hold, nobody engaged"

    def _is_over(self, t: int, started: int) -> bool:
        events = self.channels.reader("event.perception")
        if not self.setup.has_body:
            for record in events.drain():
                if record["code"] == 28 and record["active"]:
                    return True
        limit = self.setup.settings.duration_s
        if limit <= 0 or t - started < limit * 1e9:
            return False
        return not (self.setup.stays_with_page and self._page_connected(t))

    def _page_connected(self, t: int) -> bool:
        self._alive_console.latest()
        record = self._alive_console.record
        return bool(record["present"]) and t - int(record["t_ns"]) < 2_000_000_000

    def _measure_memory(self) -> None:
        for name, pid in {**self.supervisor.pids, "supervisor": os.getpid()}.items():
            try:
                fields = Path(f"/proc/{pid}/statm").read_text().split()
            except OSError:
                continue
            mb = int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
            self.rss_mb[name] = round(max(self.rss_mb.get(name, 0.0), mb), 1)


def _join(a: Any, b: Any) -> Any:
    import numpy as np

    return np.concatenate([a, b])


def _listen(port: int) -> socket.socket:
    """The page's socket on loopback: opened here, so that a busy port is one clear sentence."""
    from runtime.errors import ConfigError

    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        s.bind(("127.0.0.1", port))
    except OSError as error:
        s.close()
        raise ConfigError(f"port {port} of the page is busy ({error}); give --page-port another number") from error
    s.listen(16)
    return s


class StatusLine:
    """One live line on a terminal; a plain line every five seconds elsewhere."""

    def __init__(self, setup: Setup, channels: Channels) -> None:
        self._setup = setup
        self._status: Reader = channels.reader("status")
        self._tick: Reader = channels.reader("tick")
        self._surprise: Reader = channels.reader("surprise")
        self._truth: Reader = channels.reader("truth")
        self._next_ns = 0
        self._tty = sys.stderr.isatty()

    def step(self, t: int, started: int) -> None:
        """Refresh when it is due."""
        if t < self._next_ns:
            return
        self._next_ns = t + (STATUS_EVERY_NS if self._tty else 10 * STATUS_EVERY_NS)
        for reader in (self._status, self._tick, self._surprise, self._truth):
            reader.latest()
        mode = Mode(int(self._status.record["mode"])).name.lower()
        parts = [f"{self._setup.settings.target} {self._setup.body.name}", mode]
        if started:
            done = (t - started) / 1e9
            total = self._setup.settings.duration_s
            parts.append(f"{done:.0f} of {total:.0f} s" if total else f"{done:.0f} s")
        elif mode != "boot":
            waits = missing(int(self._status.record["conditions"]))
            parts.append(f"waiting for: {', '.join(waits) or 'engage'}")
        parts.append(f"{int(self._status.record['commands'])} commands")
        parts.append(f"tick {float(self._tick.record['tick_wall_us']):.0f} us")
        parts.append(f"surprise {float(self._surprise.record['value'][0]):.1f} nats")
        if self._truth.seq:
            parts.append(f"person at {float(self._truth.record['distance_m']):.2f} m")
        text = " | ".join(parts)
        print(f"\r\x1b[2K{text}" if self._tty else text, end="" if self._tty else "\n", file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the live line."""
        if self._tty:
            print(file=sys.stderr)


def log_path(folder: Path) -> Path:
    """`YYYYMMDDTHHMMSSZ_PID.mcap` in a run's folder."""
    return folder / (time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + f"_{os.getpid()}.mcap")
