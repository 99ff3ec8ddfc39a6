"""What the controller checks each period: its own events, and the conditions of engaging."""

from __future__ import annotations

from firmware_bridge import protocol
from firmware_bridge.link import Link, LinkState
from firmware_bridge.protocol import Ack
from runtime.conditions import ALL, NOT_FOR_HANDS, Condition
from runtime.event_log import EventLog
from runtime.events import EVENTS, Effect, Event
from runtime.gestures import is_watched
from runtime.inputs import Inputs
from runtime.modes import Mode, Signal

SIGNAL_OF = {
    Effect.FAULT: Signal.FAULT,
    Effect.STOP: Signal.STOP,
    Effect.HOLD: Signal.HOLD,
}


BAD_PAUSE_NS = 1_000_000_000  # after numbers that are none; twice as long each time they come again
BAD_FORGOTTEN_NS = 30_000_000_000


def why_unarmed(link: Link) -> str:
    """Why the MCU does not switch the motors on, in its own words."""
    answer = link.answer(protocol.ARM)
    if answer in (None, Ack.OK):
        return "no answer" if answer is None else "they went off again"
    return _words(link.fault.active) or str(answer.name).lower().replace("_", " ")


def _words(faults: protocol.Fault) -> str:
    return ", ".join(str(f.name).lower().replace("_", " ") for f in protocol.Fault if f in faults)


class Checks:
    """Raises and clears events on what is measured; says which conditions are met."""

    def __init__(
        self,
        link: Link,
        inputs: Inputs,
        events: EventLog,
        at_start: Condition,
        needs_operator: bool,
        sensors_stale_s: float,
    ) -> None:
        self._link, self._inputs, self._events = link, inputs, events
        self._at_start = at_start  # decided before the run: bundle, calibration, camera
        self._needs_operator = needs_operator
        self._needed = ALL if needs_operator else ALL & ~Condition.OPERATOR
        self._sensors_stale_s = sensors_stale_s
        self.conditions = Condition(0)
        self.slow = False  # an event lowers the speed caps
        self._bad_until_ns, self._bad_pause_ns = -BAD_FORGOTTEN_NS, BAD_PAUSE_NS

    def signals(self, now_ns: int, mode: Mode, finite: bool) -> set[Signal]:
        """Raise the events, check the conditions, and say what the mode machine hears of it."""
        self._raise_link_events(now_ns, mode)
        self._raise_loop_events(now_ns, mode, finite)
        self.conditions = self._check_conditions(now_ns)
        effects = {EVENTS[event].effect for event in self._events.active} | self._inputs.effects()
        self.slow = Effect.SLOW in effects
        out = {signal for effect, signal in SIGNAL_OF.items() if effect in effects}
        lacking = self._needed & ~self.conditions
        if lacking:
            out.add(Signal.REFUSED)
        if lacking & ~NOT_FOR_HANDS:
            out.add(Signal.NOT_BY_HAND)
        if self._link.status.state is LinkState.READY:
            out.add(Signal.BOOTED)
        return out

    def _raise_link_events(self, now_ns: int, mode: Mode) -> None:
        keep, status = self._events.keep, self._link.status
        if self._link.log:  # one per period: the rest has time
            line = self._link.log.popleft()
            self._events.note(now_ns, Event.MCU_SAYS, text=line.text)
        started = mode is not Mode.BOOT
        age_s = (now_ns - int(self._link.sensors[0]["t_ns"])) / 1e9
        keep(now_ns, Event.LINK_LOST, started and status.state is not LinkState.READY)
        mismatch = status.state is LinkState.MISMATCH
        keep(now_ns, Event.FIRMWARE_MISMATCH, mismatch, text=status.reason)
        stale = started and age_s > self._sensors_stale_s
        keep(now_ns, Event.SENSORS_STALE, stale, age_s)

    def _raise_loop_events(self, now_ns: int, mode: Mode, finite: bool) -> None:
        keep, belief, intent = self._events.keep, self._inputs.belief, self._inputs.intent
        belief_age_s = (now_ns - int(belief.record["t_ns"])) / 1e9
        moved = mode in (Mode.ACTIVE, Mode.HOLD)
        keep(now_ns, Event.BELIEF_STALE, moved and belief.stale(now_ns), belief_age_s)
        keep(now_ns, Event.INTENT_STALE, moved and intent.stale(now_ns))
        latched = _words(self._link.fault.latched)
        keep(now_ns, Event.MCU_STOP, bool(latched) and mode is not Mode.BOOT, text=latched)
        bad = self._bad_numbers(now_ns, moved, finite)
        keep(now_ns, Event.BAD_NUMBERS, moved and bad)
        gone = self._needs_operator and not is_watched(self._inputs, now_ns)
        keep(now_ns, Event.OPERATOR_GONE, moved and gone)

    def _bad_numbers(self, now_ns: int, moved: bool, finite: bool) -> bool:
        """Numbers that are none hold for a while, and longer each time: at rest they cannot be seen.

        Else it would go on, find the next, pause, go on, a hundred times a second.
        """
        belief = self._inputs.belief
        if not finite or (moved and belief.seq and not belief.record["valid"]):
            if now_ns >= self._bad_until_ns:  # another time
                again = now_ns - self._bad_until_ns < BAD_FORGOTTEN_NS
                longer_ns = min(2 * self._bad_pause_ns, BAD_FORGOTTEN_NS)
                self._bad_pause_ns = longer_ns if again else BAD_PAUSE_NS
            self._bad_until_ns = now_ns + self._bad_pause_ns
        return now_ns < self._bad_until_ns

    def _sound(self, now_ns: int) -> bool:
        belief = self._inputs.belief
        fresh = not belief.stale(now_ns) and bool(belief.record["valid"])
        return fresh and now_ns >= self._bad_until_ns

    def _check_conditions(self, now_ns: int) -> Condition:
        state, inputs = self._link.status.state, self._inputs
        ready = state is LinkState.READY
        checks = (
            (Condition.LINK, ready),
            (Condition.FIRMWARE, state is not LinkState.MISMATCH),
            (Condition.SENSORS, ready and Event.SENSORS_STALE not in self._events.active),
            (Condition.BELIEF, self._sound(now_ns)),
            (Condition.SURPRISE, not inputs.surprised()),
            (Condition.STOP_INPUT, bool(self._link.sensors[0]["stop_ok"])),
            (Condition.OPERATOR, is_watched(inputs, now_ns)),
            (Condition.MIND, not inputs.intent.stale(now_ns)),
        )
        met = self._at_start | Condition(int(inputs.health.record["conditions"]))
        for condition, holds in checks:
            if holds:
                met |= condition
        return met
