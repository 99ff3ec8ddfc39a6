"""`companion bringup`: is this board wired right? Joint by joint, wheels off the ground, into its passport."""

from __future__ import annotations

import argparse
import contextlib
import json
import select
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict
from typing import Any

from firmware_bridge.errors import LinkLost
from firmware_bridge.limits import LimitTable
from firmware_bridge.link import Link
from firmware_bridge.serial_port import SerialTransport
from runtime.body import Body, load_body
from runtime.clock import now_ns, sleep_until
from runtime.errors import ConfigError
from tools import passport
from tools.bringup_checks import PERIOD_NS, BringUp, Check
from tools.confirmation import ask_once

Pump = Callable[[BringUp], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--port", default="", help="serial port (default: the board is found by itself)"
    )
    which.add_argument(
        "--firmware",
        choices=("host", "qemu"),
        help="practise on the twin on a stand, behind a firmware process or the emulated board",
    )
    parser.add_argument("--body", default="companion", help="body the board carries")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME[:JOINT]",
        help="with --firmware: a fault of the twin, as swapped_polarity:wheel_left or unplugged_encoder:wheel_right; may be given again",
    )
    parser.add_argument(
        "--joint",
        action="append",
        default=[],
        metavar="NAME",
        help="only this joint; may be given again (default: all)",
    )
    parser.add_argument("--seed", type=int, default=0, help="with --firmware: the twin's specimen")
    parser.add_argument(
        "--yes", action="store_true", help="the wheels are off the ground: do not ask"
    )
    parser.add_argument(
        "--operator",
        default="",
        metavar="NAME",
        help="who stands in the passport (default: login name)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")


def main(args: argparse.Namespace) -> int:
    """Run the checks; exit 0 when all pass."""
    body = load_body(args.body)
    table = body.limit_table()
    wanted = _joints(args.joint, table)
    if args.fault and not args.firmware:
        raise ConfigError("--fault is the twin's; give --firmware host too")
    if not args.firmware and not args.yes:
        _ask()
    with _bench(args, body, table) as (bringup, pump, hardware):
        checks = run(bringup, pump, wanted, _say(args.json))
        who = bringup.link.identity
    result = "PASS" if all(c.ok for c in checks) else "FAIL"
    where = ""
    if who is not None:
        facts = {"checks": [_entry(c) for c in checks], "firmware": who.version}
        whole = len(wanted) == len(table.joints)
        said = (
            result if whole or result == "FAIL" else "partial"
        )  # no label says PASS for one joint
        where = str(passport.append(who.uid, hardware, "bringup", said, facts, args.operator))
    if args.json:
        print(
            json.dumps(
                {"verdict": result, "checks": [_entry(c) for c in checks], "passport": where}
            )
        )
    else:
        failed = [c.subject for c in checks if not c.ok]
        print(f"\n{result}" + (f": {', '.join(failed)}" if failed else ""))
        if where:
            print(f"passport: {where}")
    return 0 if result == "PASS" else 1


def _entry(check: Check) -> dict[str, Any]:
    return {**asdict(check), "verdict": check.verdict}


def _joints(names: list[str], table: LimitTable) -> list[int]:
    known = [j.name for j in table.joints]
    unknown = [n for n in names if n not in known]
    if unknown:
        raise ConfigError(f"--joint {unknown[0]}: the joints are {', '.join(known)}")
    return [known.index(n) for n in names] or list(range(len(known)))


def _ask() -> None:
    ask_once(
        "Joints will move, one at a time, at a tenth of their current. Are the wheels off the ground and hands away?",
        False,
    )


def run(
    bringup: BringUp, pump: Pump, joints: list[int], tell: Callable[[Check], None]
) -> list[Check]:
    """All checks in order; nothing moves where link, battery or IMU have failed. Motors are parked at the end."""
    checks: list[Check] = []

    def take(check: Check) -> bool:
        checks.append(check)
        tell(check)
        return check.ok

    try:
        if not take(_drive(bringup, pump, bringup.connect())):
            return checks
        sound = take(bringup.supply()) & take(bringup.imu())
        sound &= take(_drive(bringup, pump, bringup.stop_input()))
        if sound:
            for index in joints:
                take(_drive(bringup, pump, bringup.joint(index)))
                if bringup.stopped:  # by whoever is at the bench: nothing goes on by itself
                    take(Check("stop", False, "stopped by hand", bringup.once_stopped))
                    break
    finally:
        bringup.park()
        for _ in range(30):
            pump(bringup)
    return checks


def _drive(bringup: BringUp, pump: Pump, steps: Generator[None, None, Check]) -> Check:
    """Run one procedure, a control period at a time."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            check: Check = done.value
            return check
        pump(bringup)


def _say(quiet: bool) -> Callable[[Check], None]:
    def tell(check: Check) -> None:
        if quiet:
            return
        print(f"{check.verdict}  {check.subject:12} {check.says}", flush=True)
        if not check.ok:
            print(f"      {'':12} {check.advice}", flush=True)

    return tell


class Prompt:
    """Tells the person at the bench what to do, once."""

    def __init__(self) -> None:
        self._told = ""

    def step(self, text: str) -> None:
        """Print a new wish."""
        if text and text != self._told:
            print(f"      now {text}", file=sys.stderr, flush=True)
        self._told = text


def _board(port: str) -> tuple[str, str]:
    """Its port and hardware; firmware without an update server is known by its link alone, "" then."""
    from tools.board_finder import find_board

    try:
        port, info = find_board(port)
    except LinkLost:
        if not port:
            raise
        return port, ""
    if info.driving:
        raise ConfigError(f"{port}: the robot is active; stop it first")
    passport.check(info.uid)
    return port, info.hardware


@contextlib.contextmanager
def _bench(
    args: argparse.Namespace, body: Body, table: LimitTable
) -> Iterator[tuple[BringUp, Pump, str]]:
    """A board on its port, or the twin on a stand."""
    if args.firmware:
        from tools.bringup_twin import twin_bench

        with twin_bench(args, body, table) as bench:
            yield bench
        return
    port, hardware = _board(args.port)
    transport = SerialTransport(port)
    prompt = Prompt()

    def pump(bringup: BringUp) -> None:
        end = now_ns() + PERIOD_NS
        fd = transport.fileno()
        while (left := end - now_ns()) > 0 and fd is not None:
            select.select([fd], [], [], left / 1e9)
            break
        sleep_until(end)
        bringup.tick(now_ns())
        prompt.step(bringup.say)

    try:
        yield BringUp(Link(transport, table, now_ns), table), pump, hardware
    finally:
        transport.close()
