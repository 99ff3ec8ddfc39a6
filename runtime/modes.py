"""The mode machine: one pure function, tested over every mode x every set of signals."""

from __future__ import annotations

from enum import Enum, IntEnum


class Mode(IntEnum):
    """What the robot is doing; only `active` and `teleop` may move it."""

    BOOT = 0
    IDLE = 1
    ACTIVE = 2
    TELEOP = 3
    HOLD = 4
    STOPPED = 5
    FAULT = 6


class Signal(Enum):
    """What the mode machine hears: effects of events, and gestures."""

    FAULT = "fault"
    STOP = "stop"
    HOLD = "hold"
    REFUSED = "refused"  # an engage condition is not met
    NOT_BY_HAND = "not by hand"  # one of those is not met that driving by hand needs, too
    BOOTED = "booted"
    ENGAGE = "engage"
    DISENGAGE = "disengage"
    DRIVE = "drive"
    REARM = "rearm"


MOVING = frozenset({Mode.ACTIVE, Mode.TELEOP})


def next_mode(mode: Mode, signals: frozenset[Signal]) -> Mode:
    """The next mode. Faults and stops win over everything; motion needs every condition."""
    if Signal.FAULT in signals:
        return Mode.FAULT
    if mode is Mode.FAULT:
        return Mode.IDLE if Signal.REARM in signals and Signal.STOP not in signals else mode
    if Signal.STOP in signals:
        return Mode.STOPPED
    if mode is Mode.STOPPED:
        return Mode.IDLE if Signal.REARM in signals else mode
    if mode is Mode.BOOT:
        return Mode.IDLE if Signal.BOOTED in signals else mode
    if Signal.DISENGAGE in signals:
        return Mode.IDLE
    return _next_running(mode, signals)


def _next_running(mode: Mode, signals: frozenset[Signal]) -> Mode:
    """Idle, active, teleop and hold among each other."""
    held = Signal.HOLD in signals
    # A hand on the stick takes the robot from the policy, whether it may drive or not. It may drive on
    # while a condition wavers, but nothing resumes by itself after.
    if Signal.DRIVE in signals:
        by_hand = mode is Mode.TELEOP or Signal.NOT_BY_HAND not in signals
        return Mode.TELEOP if by_hand and not held else Mode.IDLE
    if mode is Mode.TELEOP:
        return Mode.IDLE
    may_move = Signal.REFUSED not in signals and not held
    if mode is Mode.ACTIVE:
        return Mode.HOLD if held else mode
    if mode is Mode.HOLD:
        return mode if held else Mode.ACTIVE
    if Signal.ENGAGE in signals and may_move:
        return Mode.ACTIVE
    return mode
