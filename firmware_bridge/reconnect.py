"""The link's states, what moves it between them, and how long each may wait: one table.

`Link` takes every change of state from NEXT; `python -m firmware_bridge.reconnect` prints it.
No wait is unbounded: each state asks again at its beat, for as long as it lasts.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from firmware_bridge.clock_sync import QUICK, SETTLED
from firmware_bridge.telemetry import LinkState

MS: Final = 1_000_000
HELLO_NS: Final = 100 * MS  # between tries, in every state without a session
REOPEN_NS: Final = 200 * MS
QUIET_NS: Final = 150 * MS  # a session this quiet: is it still there? HELLO with its own nonce
LOST_NS: Final = 1000 * MS  # a session this quiet is over
SYNC_FAST_NS: Final = 10 * MS
SYNC_FAST_FOR_NS: Final = 4000 * MS
SYNC_NS: Final = 20 * MS
HEARTBEAT_NS: Final = 50 * MS


class Event(Enum):
    """What happens to a link."""

    ANSWERED = "HELLO_ACK: a session"
    REFUSED = "HELLO_ACK: another schema or body"
    RESTARTED = "HELLO_ACK: a session, but not ours: the MCU restarted"
    SETTLED = f"{QUICK} to {SETTLED} exchanges: the clock is known"
    UNTIMED = "the clock jumped, or its skew is above 2 %"
    SILENT = "no good frame for 1 s"
    PORT_LOST = "reading or writing fails"
    PORT_OPEN = "the port opens"


_S, _E = LinkState, Event

NEXT: Final = {
    (_S.HELLO, _E.ANSWERED): _S.SYNCING,
    (_S.HELLO, _E.REFUSED): _S.MISMATCH,
    (_S.HELLO, _E.PORT_LOST): _S.DISCONNECTED,
    (_S.SYNCING, _E.SETTLED): _S.READY,
    (_S.SYNCING, _E.UNTIMED): _S.SYNCING,
    (_S.SYNCING, _E.RESTARTED): _S.SYNCING,
    (_S.SYNCING, _E.REFUSED): _S.MISMATCH,
    (_S.SYNCING, _E.SILENT): _S.HELLO,
    (_S.SYNCING, _E.PORT_LOST): _S.DISCONNECTED,
    (_S.READY, _E.UNTIMED): _S.SYNCING,
    (_S.READY, _E.RESTARTED): _S.SYNCING,
    (_S.READY, _E.REFUSED): _S.MISMATCH,
    (_S.READY, _E.SILENT): _S.HELLO,
    (_S.READY, _E.PORT_LOST): _S.DISCONNECTED,
    (_S.MISMATCH, _E.ANSWERED): _S.SYNCING,
    (_S.MISMATCH, _E.REFUSED): _S.MISMATCH,
    (_S.MISMATCH, _E.SILENT): _S.HELLO,
    (_S.MISMATCH, _E.PORT_LOST): _S.DISCONNECTED,
    (_S.DISCONNECTED, _E.PORT_OPEN): _S.HELLO,
}

WAITS: Final = {
    _S.HELLO: "HELLO every 100 ms",
    _S.SYNCING: "SYNC_REQ every 10 ms; HELLO every 100 ms once quiet for 150 ms",
    _S.READY: "SYNC_REQ every 10 ms for 4 s, then 20 ms; HELLO every 100 ms once quiet for 150 ms",
    _S.MISMATCH: "HELLO every 100 ms; ESTOP and SMP still work",
    _S.DISCONNECTED: "opens the port every 200 ms",
}


def markdown() -> str:
    """The table for the docs."""
    lines = ["| state | meanwhile | event | then |", "|---|---|---|---|"]
    for state in LinkState:
        rows = [(event, then) for (here, event), then in NEXT.items() if here is state]
        for index, (event, then) in enumerate(rows):
            first = (state.name, WAITS[state]) if index == 0 else ("", "")
            lines.append(f"| {first[0]} | {first[1]} | {event.value} | {then.name} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown())  # noqa: T201
