"""Is there an MCU of ours at that port? For tools; the loop reads `Link.status` instead."""

from __future__ import annotations

import select
from collections.abc import Callable

from firmware_bridge.connection import DEAF, ECHO
from firmware_bridge.errors import FirmwareMismatch, LinkError
from firmware_bridge.link import Link
from firmware_bridge.telemetry import Identity, LinkState


def probe(link: Link, timeout_s: float, now: Callable[[], int]) -> Identity:
    """Step the link until its MCU has answered; LinkError where none of ours does."""
    start_ns = now()
    while now() - start_ns < timeout_s * 1e9:
        link.step(now())
        if link.status.state is LinkState.MISMATCH:
            raise FirmwareMismatch(f"link: {link.status.reason}")
        if link.session and link.identity is not None:
            return link.identity
        fd = link.fileno()
        if fd is not None:
            select.select([fd], [], [], 0.01)
    if link.status.reason == DEAF:
        raise LinkError(f"link: {link.bytes_in} {DEAF}")
    if link.status.reason == ECHO:
        raise LinkError(f"link: {ECHO}")
    raise LinkError(
        f"link: HELLO unanswered for {timeout_s:g} s ({link.bytes_in} bytes came); "
        "that port is no MCU of ours, or it is without power: check the port and the cable"
    )
