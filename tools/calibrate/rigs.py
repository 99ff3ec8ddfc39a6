"""Which rig a command line asks for, and what a person must do before it moves."""

from __future__ import annotations

import argparse
import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from firmware_bridge.link import Link
from firmware_bridge.serial_port import SerialTransport
from runtime.body import load_body
from runtime.clock import now_ns, sleep_until, wall_ns
from runtime.errors import ConfigError, RuntimeFault
from tools.calibrate.rig import PERIOD_NS, Rig, TwinRig
from tools.compose import calibration_folder
from tools.in_force import in_force

HOLD_S = 0.7  # a keyboard repeats a held key after half a second, then 30 times a second


def add_rig(parser: argparse.ArgumentParser) -> None:
    """`--port`, `--seed`, `--body`."""
    add = parser.add_argument
    add("--port", default="", metavar="PORT", help="the robot's serial port (default: the twin)")
    add("--seed", type=int, default=0, help="the twin's specimen (default 0)")
    add("--body", default="companion", help="body the board carries")


@contextmanager
def open_rig(args: argparse.Namespace, space: str, stand: bool = False, raw_imu: bool = False) -> Iterator[Rig]:  # fmt: skip
    """The twin (on a stand, or with its IMU raw, if asked), or the robot: once somebody holds the key, if it needs `space`."""
    body = load_body(args.body)
    if not args.port:
        rig: Rig = TwinRig(body, args.seed, stand, raw_imu)
        rig.connect()
        yield rig
        return
    table = body.limit_table()
    with ExitStack() as stack:
        key = stack.enter_context(_hold_key(space)) if space else nobody
        link = Link(SerialTransport(args.port), table, now_ns)
        stack.callback(link.close)

        def pump() -> int:
            end = now_ns() + PERIOD_NS
            sleep_until(end)
            return now_ns()

        rig = Rig(body, link, table, pump, key)
        rig.connect()
        yield rig


def use_imu(rig: Rig, folder: Path | None) -> bool:
    """From now on the rig's samples are corrected by what is installed for its board; False: nothing is.

    RuntimeFault where a record is there that does not hold.
    """
    serial = rig.link.identity.uid if rig.link.identity is not None else ""
    found = in_force(folder or calibration_folder(), "", serial, rig.body, wall_ns())
    if any(kind.startswith("imu-") for kind in found.refused):
        raise RuntimeFault(f"the IMU's calibration cannot be used: {'; '.join(found.doubts)}")
    rig.imu = found.imu
    return found.imu is not None


def nobody() -> bool:
    """Nobody holds a key where nothing is to move."""
    return False


@contextmanager
def _hold_key(space: str) -> Iterator[HoldKey]:
    """The space bar, held down: its repeats are what keeps the robot moving."""
    if not sys.stdin.isatty():
        raise ConfigError(
            "the robot moves only while a key is held, and nobody can hold one here; use a terminal"
        )
    import termios
    import tty

    print(f"The robot will move. It needs {space}.", file=sys.stderr)
    print("Hold the space bar to start; let go to stop.", file=sys.stderr, flush=True)
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        key = HoldKey()
        while not key():
            time.sleep(0.02)
        yield key
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


class HoldKey:
    """True while the space bar is held."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self) -> bool:
        """Read what was typed since; held means pressed within HOLD_S."""
        stdin = sys.stdin.fileno()
        while select.select([stdin], [], [], 0)[0]:
            # not `sys.stdin`: its buffer would keep old spaces, and hand them out after the release
            typed = os.read(stdin, 256)
            if not typed:
                break
            if b" " in typed:
                self._last = time.monotonic()
        return time.monotonic() - self._last < HOLD_S
