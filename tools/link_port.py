"""A port with its traffic laid open, for the `companion link` verbs; or a firmware to try them on."""

from __future__ import annotations

import argparse
import contextlib
import select
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from firmware_bridge.dissect import Frame, Splitter
from firmware_bridge.host import HostFirmware
from firmware_bridge.limits import LimitTable
from firmware_bridge.link import Link
from firmware_bridge.plant import Plant
from firmware_bridge.serial_port import SerialTransport
from runtime.body import load_body
from runtime.clock import now_ns
from runtime.errors import ConfigError

PORT = "/dev/companion-mcu"
WAIT_S = 2.0  # for an answer to HELLO
SENSE_S = 0.002
KEPT = 100_000  # frames between two looks at them
GRAVITY_M_S2 = 9.81


@dataclass(frozen=True, slots=True)
class Seen:
    """One frame that passed: when it was read or written, and which way it really went."""

    t_ns: int
    from_mcu: bool
    frame: Frame


class Tap:
    """A transport that shows what passes through it."""

    def __init__(self, inner: SerialTransport, table: LimitTable) -> None:
        self.inner = inner
        self.seen: deque[Seen] = deque(maxlen=KEPT)
        self.bytes_in = self.bytes_out = 0
        self._in, self._out = Splitter(table), Splitter(table)

    def read_into(self, buffer: memoryview) -> int:
        """See `Transport`."""
        size = self.inner.read_into(buffer)
        if size:
            self.bytes_in += size
            self._show(self._in, buffer[:size], True)
        return size

    def write(self, data: memoryview) -> int:
        """See `Transport`."""
        taken = self.inner.write(data)
        self.bytes_out += taken
        self._show(self._out, data[:taken], False)
        return taken

    def _show(self, splitter: Splitter, data: memoryview, from_mcu: bool) -> None:
        t_ns = now_ns()
        for frame in splitter.feed(bytes(data)):
            self.seen.append(Seen(t_ns, from_mcu, frame))

    def take(self) -> list[Seen]:
        """What passed since the last call."""
        seen = list(self.seen)
        self.seen.clear()
        return seen

    def wait(self, timeout_s: float) -> None:
        """Until bytes come, at most so long."""
        fd = self.inner.fileno()
        if fd is None:
            threading.Event().wait(timeout_s)  # the port is gone: `Link` tries it again
        else:
            select.select([fd], [], [], timeout_s)

    def fileno(self) -> int | None:
        """See `Transport`."""
        return self.inner.fileno()

    def reopen(self) -> bool:
        """See `Transport`."""
        return self.inner.reopen()

    def close(self) -> None:
        """See `Transport`."""
        self.inner.close()


@dataclass(slots=True)
class Port:
    """An open port: its name and rate, the tap on it, and the body that it should belong to."""

    name: str
    baud: int
    tap: Tap
    table: LimitTable

    @property
    def capacity(self) -> float:
        """Bytes/s each way: ten bits per byte."""
        return self.baud / 10

    def link(self) -> Link:
        """A host on this port; it arms nothing."""
        return Link(self.tap, self.table, now_ns)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which port, and what is on it."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--port", default=PORT, help=f"serial port (default: {PORT})")
    which.add_argument(
        "--firmware",
        choices=("host", "qemu"),
        help="start a firmware process, or the emulated board, and look at that one",
    )
    parser.add_argument("--baud", type=int, default=921_600, metavar="RATE", help="default: 921600")
    parser.add_argument("--body", default="companion", help="name or file of the body")


@contextlib.contextmanager
def open_port(args: argparse.Namespace) -> Iterator[Port]:
    """The port that was asked for, closed afterwards."""
    table = load_body(args.body).limit_table()
    if args.baud < 1:
        raise ConfigError(f"--baud {args.baud}: give a rate above 0")
    with contextlib.ExitStack() as stack:
        starts = {"host": _host_firmware, "qemu": _emulated}
        name = stack.enter_context(starts[args.firmware](table)) if args.firmware else args.port
        tap = Tap(SerialTransport(name, args.baud), table)
        stack.callback(tap.close)
        yield Port(f"{args.firmware} firmware" if args.firmware else name, args.baud, tap, table)


@contextlib.contextmanager
def _emulated(table: LimitTable) -> Iterator[str]:
    """The ARM image on the emulated board, its robot at rest; yields its port."""
    from firmware_bridge.qemu import QuietBody
    from tools.emulated_board import emulated_board

    with tempfile.TemporaryDirectory(prefix="companion-link-") as folder:
        board = emulated_board(Path(folder), table)
        firmware = board.start()
        body = QuietBody(board.memory)
        try:
            yield firmware.port
        finally:
            firmware.stop()
            body.close()


@contextlib.contextmanager
def _host_firmware(table: LimitTable) -> Iterator[str]:
    """A firmware process whose robot stands still on a level floor; yields its port."""
    plant = Plant.create()
    plant.sensors["accel_m_s2"] = (0.0, 0.0, GRAVITY_M_S2)
    plant.sensors["battery_mv"] = 14_800
    plant.sensors["soc"] = 80
    plant.sensors["temperature_c"] = 25
    plant.write_sensors()
    ended = threading.Event()

    def sense() -> None:
        while not ended.wait(SENSE_S):
            plant.sensors["imu_seq"] += 1
            plant.write_sensors()

    firmware = HostFirmware(table, plant, uid="host")
    feeder = threading.Thread(target=sense, daemon=True)
    feeder.start()
    try:
        yield firmware.port
    finally:
        ended.set()
        feeder.join()
        firmware.stop()
        plant.close()
