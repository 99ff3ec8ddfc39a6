"""The firmware as a process of its own on a pty, in real time (`firmware/port_host.c`)."""

from __future__ import annotations

import os
import select
import subprocess
from pathlib import Path

from firmware_bridge.build import Target, build
from firmware_bridge.errors import LinkError
from firmware_bridge.firmware_process import FirmwareProcess
from firmware_bridge.header import limits_header, protocol_header
from firmware_bridge.limits import LimitTable
from firmware_bridge.lockstep import CLOCK_START_US
from firmware_bridge.native import CORE
from firmware_bridge.plant import Plant

START_TIMEOUT_S = 10.0


def host_program(table: LimitTable) -> Path:
    """The program, built with this body's limits compiled in."""
    return build(
        Target(
            name="companion-firmware",
            sources=(*CORE, "port_host.c", "port_wire.c"),
            headers={"protocol_gen.h": protocol_header(), "limits_gen.h": limits_header(table)},
        )
    )


class HostFirmware(FirmwareProcess):
    """A running firmware process; `port` is its serial port. Ends with its parent thread.

    Bytes take their time at `baud`; a host that opens the port at another rate hears rubbish, and
    so does the firmware (`seed` decides which).
    """

    def __init__(
        self,
        table: LimitTable,
        plant: Plant,
        clock_start_us: int = CLOCK_START_US,
        uid: str = "host",
        fifo: int = 0,
        baud: int = 921_600,
        seed: int = 1,
    ) -> None:
        if plant.fd is None:
            raise LinkError("firmware process: its plant has no file; make it with Plant.create()")
        command = [
            str(host_program(table)), "--plant-fd", str(plant.fd),
            "--clock-start-us", str(clock_start_us), "--uid", uid, "--fifo", str(fifo),
            "--baud", str(baud), "--seed", str(seed),
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, pass_fds=[plant.fd],
            start_new_session=True,  # Ctrl-C is its owner's to act on
        )  # fmt: skip
        self.port = self._read_port()

    def _read_port(self) -> str:
        assert self.process.stdout is not None
        stdout = self.process.stdout.fileno()
        ready, _, _ = select.select([stdout], [], [], START_TIMEOUT_S)
        port = os.read(stdout, 256).decode().strip() if ready else ""
        self.process.stdout.close()
        if not port:
            self.process.kill()
            code = self.process.wait()
            raise LinkError(f"firmware process: exit code {code} before it had a port; see stderr")
        return port
