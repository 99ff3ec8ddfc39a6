"""An image on trial: be the host it needs, and see whether it is confirmed or goes back."""

from __future__ import annotations

import sys
import time

from firmware_bridge.errors import LinkError, LinkLost, UpdateError
from firmware_bridge.limits import LimitTable
from firmware_bridge.link import Link, LinkState
from firmware_bridge.protocol import StateFlag
from firmware_bridge.serial_port import SerialTransport
from firmware_bridge.update import UpdatePort
from runtime.clock import now_ns, sleep_until

CONFIRM_S = 40.0  # an image that is not confirmed goes back after 30 s by itself
BACK_S = 15.0  # after its reset the board must answer again
GONE_S = 10.0  # a port that stays away so long was pulled out
GOES_ON = "give it power and run this again: it goes on with the trial, or begins anew"
TRIAL = int(StateFlag.TRIAL)


class Say:
    """Words and progress for a person; nothing when a script reads."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._tty = sys.stdout.isatty()
        self._began = 0.0
        self._told = -1
        self._open = False  # a bar stands on the line

    def line(self, text: str) -> None:
        """One sentence."""
        if not self._quiet:
            print("\n" * self._open + text, flush=True)
            self._open = False

    def end(self) -> None:
        """Whatever comes next begins on a line of its own."""
        if self._open:
            print(flush=True)
            self._open = False

    def progress(self, done: int, total: int) -> None:
        """How far an upload is, and how long it will still take."""
        now = time.monotonic()
        if done == 0 or self._began == 0.0:
            self._began, self._told = now, -1
        share = done / total
        left = (now - self._began) / share * (1 - share) if share > 0.02 else 0.0
        text = f"upload {100 * share:3.0f} %  {done // 1024} of {total // 1024} KiB" + (
            f"  {left:.0f} s left" if 0 < share < 1 and left else ""
        )
        if self._quiet:
            return
        if self._tty:
            bar = "#" * round(24 * share)
            self._open = done < total
            print(f"\r[{bar:<24}] {text}\x1b[K", end="" if self._open else "\n", flush=True)
        elif int(4 * share) > self._told:
            self._told = int(4 * share)
            print(text, flush=True)


def watch_trial(port: str, table: LimitTable, say: Say) -> tuple[str, str]:
    """Be the host that a healthy application needs; 'confirmed', or 'rolled back' and why."""
    try:
        transport = _reopened(port)
    except LinkError as error:
        raise LinkLost(
            f"the board's port did not come back after its reset ({error}); {GOES_ON}"
        ) from error
    link = Link(transport, table, now_ns)
    end = now_ns() + int(CONFIRM_S * 1e9)
    say.line("on trial: waiting for the application to prove healthy (clock, sensors, link) ...")
    here_ns = now_ns()
    try:
        while now_ns() < end:
            link.step(now_ns())
            sleep_until(now_ns() + 5_000_000)
            here_ns = here_ns if link.status.state is LinkState.DISCONNECTED else now_ns()
            if now_ns() - here_ns > GONE_S * 1e9:
                raise LinkLost(f"port {port} went away during the trial; {GOES_ON}")
            trial = bool(int(link.sensors[0]["flags"]) & TRIAL)
            if link.status.state is LinkState.MISMATCH and link.status.reason:
                say.line(f"it does not speak with this host: {link.status.reason}")
                return _wait_back(port)
            if link.ready and link.sensors_seq and not trial:
                return "confirmed", ""
    finally:
        link.close()
    return _wait_back(port)


def _reopened(port: str) -> SerialTransport:
    """The port after a reset: a USB bridge may be gone for a moment."""
    end = time.monotonic() + BACK_S
    while True:
        try:
            return SerialTransport(port)
        except LinkError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def _wait_back(port: str) -> tuple[str, str]:
    """The trial ends by itself; then the board says why it went back."""
    end = time.monotonic() + CONFIRM_S
    while time.monotonic() < end:
        time.sleep(1.0)
        try:
            with UpdatePort(port, timeout_s=1.0) as board:
                info = board.info()
        except UpdateError:
            continue
        if not info.trial:
            return "rolled back", info.refused or "it was not confirmed"
    return "rolled back", "the board does not answer; power-cycle it, it starts the old image"
