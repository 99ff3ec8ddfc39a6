"""`companion run` in real time: memory, processes, supervision, then the log read back."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from firmware_bridge.firmware_process import FirmwareProcess
from firmware_bridge.host import HostFirmware
from firmware_bridge.plant import Plant
from firmware_bridge.qemu import PLANT_OFFSET
from runtime.clock import now_ns
from runtime.conditions import missing
from runtime.events import Event
from runtime.log import Arrays
from runtime.modes import MOVING, Mode
from runtime.process import ERROR, Child, Parent, StopFlag, set_priority, spawn
from runtime.sharing import ChannelServer, create_memory, open_channels
from runtime.supervisor import WITHOUT, OnDeath, ProcessRow, Supervisor
from tools import processes
from tools.compose import Setup
from tools.emulated_board import EmulatedBoard
from tools.report import RunFacts
from tools.run_log import read_parts
from tools.runtime_folder import RuntimeFolder
from tools.status_line import StatusLine

END, RESTART = OnDeath.END, OnDeath.RESTART
FIFO = {"supervisor": 80, "firmware": 75, "controller": 60, "perception": 20}
NO_FIFO = "real-time priority is not allowed here (LimitRTPRIO), so ticks may be late"
POLL_S = 0.02
MEMORY_EVERY_NS = 5_000_000_000
START_LIMIT_NS = 60_000_000_000
PAGE_LIFE_NS = 2_000_000_000


@dataclass
class Outcome:
    """How a real-time run went."""

    records: Arrays
    facts: RunFacts
    started: bool  # it got as far as motion, or as the first frame where nothing may move
    failure: str = ""  # runtime.process.ERROR or USAGE
    missed: int = 0  # records that the log lacks because the recorder came late


class RealtimeRun:
    """Builds the process table, supervises, stops, reads the log back."""

    def __init__(
        self,
        setup: Setup,
        folder: RuntimeFolder,
        log: Path,
        page: socket.socket | None,
        emulated: EmulatedBoard | None = None,
    ) -> None:
        self.emulated = emulated
        self.firmware: FirmwareProcess
        self.setup, self.log = setup, log
        self.fds = create_memory(setup.table)
        self.channels = open_channels(setup.table, self.fds)
        self.port = setup.settings.firmware
        self.rss_mb: dict[str, float] = {}
        self.started_ns = 0
        self.fifo = set_priority(FIFO["supervisor"])
        self.supervisor = Supervisor(self._rows(page), self.channels)
        about = {
            "body": setup.body.name,
            "bundle": str(setup.bundle.path),
            "target": setup.settings.target,
            "pid": os.getpid(),
        }
        self.server = ChannelServer(folder.path / "channels.sock", self.fds, about)
        self._status = self.channels.reader("status")
        self._frame = self.channels.reader("frame")
        self._operator = self.channels.reader("operator")
        self._perception = self.channels.reader("event.perception")

    # ── the process table ───────────────────────────────────────────────────────────────
    def _rows(self, page: socket.socket | None) -> list[ProcessRow]:
        """What starts, what its death means, in which order it is stopped."""
        rows = []
        if self.setup.moves_by_itself:
            plant = Plant.create() if self.emulated is None else self.emulated.plant()
            assert plant.fd is not None
            offset = 0 if self.emulated is None else PLANT_OFFSET
            twin = self._child("twin", partial(processes.twin, plant_fd=plant.fd, offset=offset))
            firmware = partial(self._start_firmware, plant)
            rows += [
                ProcessRow("firmware", firmware, END, 3, has_heartbeat=False),
                ProcessRow("twin", twin, END, 4),
            ]
        recorder = partial(processes.recorder, log=self.log)
        rows += [
            ProcessRow("controller", self._start_controller, END, 1),
            ProcessRow("perception", self._child("perception", processes.perception), RESTART, 2),
            ProcessRow("mind", self._child("mind", processes.mind), RESTART, 2),
            ProcessRow("recorder", self._child("recorder", recorder), RESTART, 5),
        ]
        if page is not None:
            console = self._child("console", partial(processes.console, sock=page))
            rows.append(ProcessRow("console", console, RESTART, 2))
        return rows

    def _child(self, name: str, main: Callable[..., None]) -> Callable[[], Child]:
        def start(stop: StopFlag, parent: Parent) -> None:
            main(self.setup, self.channels, stop=stop, parent=parent)

        return lambda: spawn(name, start, FIFO.get(name, 0))

    def _start_firmware(self, plant: Plant) -> Child:
        table = self.setup.body.limit_table()
        self.firmware = (
            self.emulated.start()
            if self.emulated is not None
            else HostFirmware(table, plant, fifo=FIFO["firmware"])
        )
        self.port = self.firmware.port
        return Child(self.firmware.pid)

    def _start_controller(self) -> Child:
        """Late, for the port is known only when the firmware runs."""
        return self._child("controller", partial(processes.controller, port=self.port))()

    # ── the run ─────────────────────────────────────────────────────────────────────────
    def run(self, on_start: Callable[[], None]) -> Outcome:
        """Start, watch until the end, stop; motors are parked whatever happens."""
        ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        previous = {s: signal.signal(s, self._interrupt) for s in ends}
        try:
            self.supervisor.start()
            self._tell_privilege()
            self._watch(on_start)
        finally:
            self.supervisor.end("an error in the supervisor", ERROR)
            self.supervisor.stop()
            self.server.close()
            for number, handler in previous.items():
                signal.signal(number, handler)
        records = read_parts(self.log, self.setup.table)
        missed = sum(int(text) for _, kind, text in self.supervisor.said if kind == "missed")
        failure = self.supervisor.failure
        return Outcome(records, self._facts(), bool(self.started_ns), failure, missed)

    def _tell_privilege(self) -> None:
        if not self.fifo:
            self.supervisor.note(Event.NO_FIFO)

    def _facts(self) -> RunFacts:
        """What the log does not say."""
        said = self.supervisor.said
        told = {"degraded", *WITHOUT}
        degraded = list(dict.fromkeys(text for _, kind, text in said if kind in told))
        if not self.fifo and not self.setup.is_twin:
            degraded.append(NO_FIFO)
        return RunFacts(
            backends=dict(text.split(" ", 1) for _, kind, text in said if kind == "backend"),
            degraded=degraded,
            log=str(self.log),
            rss_mb=self.rss_mb,
            firmware=self.setup.settings.firmware if self.setup.has_body else "none",
            failed=self.supervisor.ended if self.supervisor.failure else "",
        )

    def _interrupt(self, number: int, _frame: object) -> None:
        self.supervisor.end("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)

    def _watch(self, on_start: Callable[[], None]) -> None:
        began = now_ns()
        measured = 0
        line = StatusLine(self.setup, self.channels)
        while not self.supervisor.ended:
            self.supervisor.step(POLL_S)
            self.server.step()
            t = now_ns()
            if not self.started_ns and self._is_started():
                self.started_ns = t
                on_start()
            line.step(t, self.started_ns)
            self._check_end(t, began)
            if t - measured > MEMORY_EVERY_NS:
                measured = t
                self._measure_memory()
        line.close()

    def _is_started(self) -> bool:
        """In motion; where nothing moves by itself, with the first frame or the first gesture."""
        self._status.latest()
        if self.setup.moves_by_itself:
            return Mode(int(self._status.record["mode"])) in MOVING
        waits_for_operator = self.setup.has_body and not self.setup.settings.headless
        if waits_for_operator:
            return Mode(int(self._status.record["mode"])) in MOVING
        return self._frame.latest()

    def _check_end(self, t: int, began: int) -> None:
        if not self.started_ns:
            if self.setup.moves_by_itself and t - began > START_LIMIT_NS:
                names = missing(int(self._status.record["conditions"]))
                why = ", ".join(names) or "all conditions hold, nobody engaged"
                self.supervisor.end(f"it never became active: {why}; ask `companion why`", ERROR)
            return
        if any(
            r["code"] == Event.END_OF_RECORDING and r["active"] for r in self._perception.drain()
        ):
            self.supervisor.end("the recording has ended")
        limit_s = self.setup.settings.duration_s
        if 0 < limit_s <= (t - self.started_ns) / 1e9 and not self._stays(t):
            self.supervisor.end("its time is over")

    def _stays(self, t: int) -> bool:
        """A page is connected, looked at or not, and the run was to go on meanwhile."""
        if not self.setup.stays_with_page:
            return False
        self._operator.latest()
        record = self._operator.record
        return bool(record["pages"]) and t - int(record["t_ns"]) < PAGE_LIFE_NS

    def _measure_memory(self) -> None:
        pids = {name: child.pid for name, child in self.supervisor.children.items()}
        for name, pid in {**pids, "supervisor": os.getpid()}.items():
            try:
                fields = Path(f"/proc/{pid}/statm").read_text().split()
            except OSError:
                continue
            mb = int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
            self.rss_mb[name] = round(max(self.rss_mb.get(name, 0.0), mb), 1)
