"""The bring-up's practice bench: the twin on a stand, behind a firmware process or the emulated board."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from firmware_bridge.firmware_process import FirmwareProcess
from firmware_bridge.host import HostFirmware
from firmware_bridge.limits import LimitTable
from firmware_bridge.link import Link
from firmware_bridge.plant import Plant
from firmware_bridge.serial_port import SerialTransport
from runtime.body import Body
from runtime.clock import now_ns, sleep_until
from runtime.errors import ConfigError
from tools import passport
from tools.bringup_checks import PERIOD_NS, BringUp
from tools.twin.errors import TwinError
from tools.twin.twin import STEP_NS, Twin

HAND_NS = 400_000_000  # until the twin's hand has pressed or released the stop button


class StopHand:
    """Does at the twin what the bring-up asks of a person."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        self._asked, self._since_ns = "", 0

    def step(self, asked: str, now: int) -> None:
        """Press or release, a moment after it was asked."""
        if asked != self._asked:
            self._asked, self._since_ns = asked, now
        if asked and now - self._since_ns > HAND_NS:
            switch = self._twin.faults.start if asked.startswith("press") else self._twin.faults.end
            switch("stop_input_open")


@contextlib.contextmanager
def twin_bench(
    args: argparse.Namespace, body: Body, table: LimitTable
) -> Iterator[tuple[BringUp, Callable[[BringUp], None], str]]:
    """BringUp, what lets time pass, and the hardware's name."""
    passport.check(f"twin-{args.seed}")
    with contextlib.ExitStack() as stack:
        plant, firmware, hardware = _firmware(args, table, stack)
        twin = Twin(body, args.seed, plant, start_ns=now_ns(), stand=True)
        _break(twin, args.fault)
        link = Link(SerialTransport(firmware.port), table, now_ns)
        stack.callback(link.close)
        hand = StopHand(twin)
        twin.skip_to(now_ns())

        def pump(bringup: BringUp) -> None:
            end = now_ns() + PERIOD_NS
            while now_ns() < end:
                sleep_until(min(end, now_ns() + STEP_NS))
                twin.step_to(now_ns())
            bringup.tick(now_ns())
            hand.step(bringup.say, now_ns())

        yield BringUp(link, table), pump, hardware


def _firmware(
    args: argparse.Namespace, table: LimitTable, stack: contextlib.ExitStack
) -> tuple[Plant, FirmwareProcess, str]:
    firmware: FirmwareProcess
    if args.firmware == "qemu":
        from tools.emulated_board import emulated_board

        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="companion-bringup-")))
        board = emulated_board(folder, table, uid=f"twin-{args.seed}")
        plant = board.plant()
        firmware = board.start()
        hardware = board.memory.board.hardware
    else:
        plant = Plant.create()
        firmware = HostFirmware(table, plant, uid=f"twin-{args.seed}")
        hardware = "companion-host"
    stack.callback(plant.close)
    stack.callback(firmware.stop)
    return plant, firmware, hardware


def _break(twin: Twin, faults: list[str]) -> None:
    for text in faults:
        name, _, joint = text.partition(":")
        try:
            twin.faults.start(name, joint or None)
        except TwinError as error:
            raise ConfigError(f"--fault {text}: {error}") from error
