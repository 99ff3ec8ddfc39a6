"""What the controller hears: gestures once each, events of the dead forgotten, surprise apart."""

import pytest

from firmware_bridge.telemetry import LinkState
from runtime.channels import Channels
from runtime.event_log import EventLog
from runtime.events import Effect, Event
from runtime.gestures import DRIVE_EXPIRY_NS, Gestures, is_driven, is_watched
from runtime.inputs import Inputs
from runtime.modes import Mode, Signal

S = 1_000_000_000


class Wire:
    """A link that remembers what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def estop(self, reason) -> None:
        self.asked.append("estop")

    def arm(self, now_ns, mode) -> None:
        self.asked.append(f"arm {mode.name}")

    def clear(self, now_ns) -> None:
        self.asked.append("clear")


@pytest.fixture
def parts(channels: Channels):
    inputs, wire = Inputs(channels), Wire()
    events = EventLog(channels.writer("event.controller", "controller"))
    gestures = Gestures(wire, inputs, events, auto_engage=True)
    writer = channels.writer("operator", "console")

    def hear(mode: Mode = Mode.IDLE, t: int = S, **fields) -> set[Signal]:
        for name, value in fields.items():
            writer.record[name] = value
        writer.publish(t)
        inputs.read()
        return gestures.signals(t, mode)

    return inputs, wire, events, gestures, hear


def test_each_press_counts_once(parts) -> None:
    _, wire, _, _, hear = parts
    assert hear(stops=1) == {Signal.STOP} and wire.asked == ["estop"]
    assert hear(stops=1) == set() and wire.asked == ["estop"]
    assert hear(stops=2, engages=1) == {Signal.STOP, Signal.ENGAGE}


def test_counters_that_fall_back_are_no_gesture(parts) -> None:
    """A console that starts anew must neither stop nor engage the robot."""
    *_, hear = parts
    hear(stops=5, engages=5)
    assert hear(stops=0, engages=0) == set()
    assert hear(engages=1) == {Signal.ENGAGE}


def test_counters_may_wrap(parts) -> None:
    *_, hear = parts
    hear(stops=(1 << 32) - 1)  # from 0: a step down by one
    assert hear(stops=0) == {Signal.STOP}


def test_rearm_waits_for_the_mcu(parts) -> None:
    _, wire, events, _, hear = parts
    events.keep(S, Event.MCU_STOP, True)
    assert hear(Mode.STOPPED, rearms=1) == set()
    assert wire.asked == ["arm SAFE", "clear"]
    events.keep(S, Event.MCU_STOP, False)
    assert hear(Mode.STOPPED) == {Signal.REARM}
    assert hear(Mode.STOPPED) == set(), "once"


def test_rearm_expires(parts) -> None:
    _, _, events, _, hear = parts
    events.keep(S, Event.MCU_STOP, True)
    hear(Mode.STOPPED, rearms=1)
    events.keep(S, Event.MCU_STOP, False)
    assert hear(Mode.STOPPED, t=3 * S) == set()


def test_hold_to_drive_and_presence_expire(parts) -> None:
    inputs, *_, hear = parts
    assert Signal.DRIVE in hear(hold=1, present=1, drive_t_ns=S)
    assert is_driven(inputs, S + DRIVE_EXPIRY_NS - 1) and is_watched(inputs, S)
    assert not is_driven(inputs, S + DRIVE_EXPIRY_NS) and not is_watched(inputs, 4 * S)


@pytest.mark.parametrize("ended", [Mode.STOPPED, Mode.FAULT])
def test_a_stick_held_through_a_stop_moves_nothing_when_it_is_rearmed(parts, ended) -> None:
    *_, hear = parts
    held = {"hold": 1, "present": 1, "drive_t_ns": S, "press": 1}
    assert Signal.DRIVE in hear(Mode.TELEOP, **held)
    assert Signal.DRIVE not in hear(ended, **held)
    assert Signal.DRIVE not in hear(Mode.IDLE, **held), "nothing moves because somebody re-arms"
    assert hear(Mode.IDLE, hold=0) == set()
    assert Signal.DRIVE not in hear(Mode.IDLE, hold=1), "a gap in the link is no letting go"
    assert hear(Mode.ACTIVE) == {Signal.DISENGAGE}, "the policy does not drive under a hand"
    assert hear(Mode.IDLE, press=2) == {Signal.DRIVE}, "taken in hand anew"


def test_a_stick_taken_while_stopped_moves_nothing_either(parts) -> None:
    *_, hear = parts
    assert hear(Mode.STOPPED) == set()
    held = {"hold": 1, "present": 1, "drive_t_ns": S, "press": 1}
    assert Signal.DRIVE not in hear(Mode.STOPPED, **held)
    assert Signal.DRIVE not in hear(Mode.IDLE, **held)


@pytest.mark.parametrize("gesture", ["stops", "disengages", "hold"])
def test_the_twin_that_somebody_has_taken_in_hand_does_not_engage_itself(
    parts, channels, gesture: str
) -> None:
    _, _, _, _, hear = parts
    intent = channels.writer("intent", "mind")
    intent.record["engage"] = 1
    intent.publish(S)
    hear(Mode.BOOT, drive_t_ns=S, **{gesture: 1})
    assert Signal.ENGAGE not in hear(Mode.IDLE, hold=0)


def test_the_twin_engages_itself_once(parts, channels) -> None:
    _, _, _, gestures, hear = parts
    intent = channels.writer("intent", "mind")
    intent.record["engage"] = 1
    intent.publish(S)
    assert hear() == {Signal.ENGAGE}
    assert hear(Mode.HOLD) == set()
    gestures.engaged()
    assert hear() == set()


def test_events_of_a_dead_process_are_forgotten(channels) -> None:
    """Its successor starts with nothing raised: a HOLD that nobody clears would last for ever."""
    inputs = Inputs(channels)
    perception = EventLog(channels.writer("event.perception", "perception"))
    supervisor = EventLog(channels.writer("event.supervisor", "supervisor"))
    perception.keep(S, Event.CAMERA_DARK, True)
    inputs.read()
    assert inputs.surprised() and inputs.effects() == {Effect.HOLD}
    supervisor.keep(S, Event.PROCESS_DIED, True, text="perception (signal 9)")
    inputs.read()
    assert not inputs.surprised() and inputs.effects() == {Effect.HOLD}
    supervisor.keep(S, Event.PROCESS_DIED, False)
    inputs.read()
    assert inputs.effects() == set()


def test_a_fallback_backend_slows_but_is_no_surprise(channels) -> None:
    inputs = Inputs(channels)
    supervisor = EventLog(channels.writer("event.supervisor", "supervisor"))
    supervisor.keep(S, Event.BACKEND_FALLBACK, True, text="observe runs on ort-cpu")
    inputs.read()
    assert inputs.degraded and inputs.effects() == {Effect.SLOW} and not inputs.surprised()


def test_link_states_are_told_by_number() -> None:
    from runtime.controller import LINK_STATES

    assert list(LinkState) == LINK_STATES
