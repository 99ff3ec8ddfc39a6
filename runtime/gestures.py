"""What the operator asks for: stop, re-arm, engage, disengage, hold-to-drive.

Gestures are counters in the operator channel, so that none is lost or doubled between two reads.
"""

from __future__ import annotations

from firmware_bridge.link import Link
from firmware_bridge.protocol import EstopReason
from firmware_bridge.protocol import Mode as McuMode
from runtime.event_log import EventLog
from runtime.events import Event
from runtime.inputs import Inputs
from runtime.modes import Mode, Signal

DRIVE_EXPIRY_NS = 250_000_000
OPERATOR_EXPIRY_NS = 2_000_000_000
REARM_WAIT_NS = 1_000_000_000  # for the MCU to clear its latches
COUNTERS = {
    "stops": Signal.STOP,
    "rearms": Signal.REARM,
    "engages": Signal.ENGAGE,
    "disengages": Signal.DISENGAGE,
}


def is_driven(inputs: Inputs, now_ns: int) -> bool:
    """Whether somebody holds the stick now: a hold that is not renewed expires."""
    operator = inputs.operator.record
    return bool(operator["hold"]) and now_ns - int(operator["drive_t_ns"]) < DRIVE_EXPIRY_NS


def is_watched(inputs: Inputs, now_ns: int) -> bool:
    """Whether an operator is there."""
    operator = inputs.operator.record
    return bool(operator["present"]) and now_ns - int(operator["t_ns"]) < OPERATOR_EXPIRY_NS


class Gestures:
    """Turns the operator channel into signals of the mode machine."""

    def __init__(self, link: Link, inputs: Inputs, events: EventLog, auto_engage: bool) -> None:
        self._link, self._inputs, self._events = link, inputs, events
        self._auto_engage = auto_engage  # once, and only where nobody has to be asked (the twin)
        self._seen = dict.fromkeys(COUNTERS, 0)
        self._rearm_until_ns = 0
        self._void = -1  # the press of the stick that a stop has ended: it must be let go first

    def engaged(self) -> None:
        """The robot has become active: from now on it engages only when somebody asks."""
        self._auto_engage = False

    def signals(self, now_ns: int, mode: Mode) -> set[Signal]:
        """The gestures since the last call."""
        out = {signal for field, signal in COUNTERS.items() if self._pressed(field)}
        if Signal.STOP in out:
            self._auto_engage = False  # who has stopped it says when it may move
            self._link.estop(EstopReason.OPERATOR)
            self._events.note(now_ns, Event.OPERATOR_STOP)
        if Signal.REARM in out:
            out.discard(Signal.REARM)  # it counts when the MCU has let go of its latches
            self._ask_to_clear(now_ns, mode)
        if now_ns < self._rearm_until_ns and Event.MCU_STOP not in self._events.active:
            self._rearm_until_ns = 0
            self._events.note(now_ns, Event.REARMED)
            out.add(Signal.REARM)
        if Signal.DISENGAGE in out:
            self._auto_engage = False
        out |= self._hand(now_ns, mode)
        if self._auto_engage and mode is Mode.IDLE and self._inputs.intent.record["engage"]:
            out.add(Signal.ENGAGE)
        return out

    def _hand(self, now_ns: int, mode: Mode) -> set[Signal]:
        """What a held stick means: to drive, if it was taken in hand since the last latched stop.

        Else re-arming, by whoever does it, would set the robot moving. Neither does the policy drive
        under a hand.
        """
        press = int(self._inputs.operator.record["press"])
        if mode in (Mode.STOPPED, Mode.FAULT):
            self._void = max(self._void, press)
        if not is_driven(self._inputs, now_ns):
            return set()
        self._auto_engage = False
        return {Signal.DISENGAGE if press <= self._void else Signal.DRIVE}

    def _pressed(self, field: str) -> bool:
        """Whether a counter went up (a console that starts anew may bring a lower one)."""
        count = int(self._inputs.operator.record[field])
        up = 0 < (count - self._seen[field]) % (1 << 32) < 1 << 31
        self._seen[field] = count
        return up

    def _ask_to_clear(self, now_ns: int, mode: Mode) -> None:
        if mode in (Mode.STOPPED, Mode.FAULT):
            self._link.arm(now_ns, McuMode.SAFE)  # latches are cleared in SAFE only
            self._link.clear(now_ns)
            self._rearm_until_ns = now_ns + REARM_WAIT_NS
