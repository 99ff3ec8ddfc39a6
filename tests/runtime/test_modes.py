"""The mode machine over every mode and every set of signals."""

from itertools import chain, combinations

import pytest

from runtime.modes import MOVING, Mode, Signal, next_mode

ALL_SETS = [
    frozenset(s)
    for s in chain.from_iterable(combinations(Signal, n) for n in range(len(Signal) + 1))
]
NOTHING: frozenset[Signal] = frozenset()


@pytest.mark.parametrize("mode", Mode)
def test_rules_that_hold_for_every_set_of_signals(mode: Mode) -> None:
    for signals in ALL_SETS:
        new = next_mode(mode, signals)
        if Signal.FAULT in signals:
            assert new is Mode.FAULT
            continue
        if mode is Mode.FAULT:
            assert new in (Mode.FAULT, Mode.IDLE)
        elif Signal.STOP in signals:
            assert new is Mode.STOPPED
        if mode in (Mode.STOPPED, Mode.FAULT) and Signal.REARM not in signals:
            assert new is mode, "a latch opens by a re-arm only"
        if mode in (Mode.STOPPED, Mode.FAULT, Mode.BOOT):
            assert new not in MOVING, "motion starts from idle, never from a latch"
        if Signal.HOLD in signals:
            assert new not in MOVING
        if new in MOVING and mode not in (*MOVING, Mode.HOLD):
            lacking = Signal.NOT_BY_HAND if new is Mode.TELEOP else Signal.REFUSED
            assert lacking not in signals, "a missing condition refuses engaging"
            assert signals & {Signal.ENGAGE, Signal.DRIVE}, "nothing moves without a gesture"
        if new is Mode.TELEOP:
            assert Signal.DRIVE in signals, "hold-to-drive ends with the hold"


@pytest.mark.parametrize("mode", Mode)
def test_a_hand_on_the_stick_takes_the_robot_from_the_policy(mode: Mode) -> None:
    assert all(next_mode(mode, s) is not Mode.ACTIVE for s in ALL_SETS if Signal.DRIVE in s)


@pytest.mark.parametrize(
    ("mode", "signals", "expected"),
    [
        (Mode.BOOT, {Signal.BOOTED}, Mode.IDLE),
        (Mode.BOOT, {Signal.ENGAGE}, Mode.BOOT),
        (Mode.IDLE, {Signal.ENGAGE}, Mode.ACTIVE),
        (Mode.IDLE, {Signal.ENGAGE, Signal.REFUSED}, Mode.IDLE),
        (Mode.IDLE, {Signal.DRIVE}, Mode.TELEOP),
        (Mode.ACTIVE, {Signal.HOLD}, Mode.HOLD),
        (Mode.ACTIVE, {Signal.REFUSED}, Mode.ACTIVE),
        (Mode.ACTIVE, {Signal.DISENGAGE}, Mode.IDLE),
        (Mode.ACTIVE, {Signal.DRIVE}, Mode.TELEOP),
        (Mode.ACTIVE, {Signal.DRIVE, Signal.REFUSED}, Mode.TELEOP),
        (Mode.ACTIVE, {Signal.DRIVE, Signal.REFUSED, Signal.NOT_BY_HAND}, Mode.IDLE),
        (Mode.ACTIVE, {Signal.DRIVE, Signal.HOLD}, Mode.IDLE),
        (Mode.HOLD, {Signal.DRIVE, Signal.HOLD}, Mode.IDLE),
        (Mode.HOLD, {Signal.DRIVE}, Mode.TELEOP),
        (Mode.IDLE, {Signal.DRIVE, Signal.REFUSED}, Mode.TELEOP),
        (Mode.IDLE, {Signal.DRIVE, Signal.NOT_BY_HAND}, Mode.IDLE),
        (Mode.IDLE, {Signal.DRIVE, Signal.NOT_BY_HAND, Signal.ENGAGE}, Mode.IDLE),
        (Mode.TELEOP, {Signal.DRIVE, Signal.NOT_BY_HAND}, Mode.TELEOP),
        (Mode.HOLD, set(), Mode.ACTIVE),
        (Mode.HOLD, {Signal.HOLD}, Mode.HOLD),
        (Mode.TELEOP, set(), Mode.IDLE),
        (Mode.TELEOP, {Signal.DRIVE, Signal.HOLD}, Mode.IDLE),
        (Mode.STOPPED, {Signal.REARM}, Mode.IDLE),
        (Mode.STOPPED, {Signal.ENGAGE}, Mode.STOPPED),
        (Mode.FAULT, {Signal.REARM}, Mode.IDLE),
    ],
)
def test_transitions(mode: Mode, signals: set[Signal], expected: Mode) -> None:
    assert next_mode(mode, frozenset(signals)) is expected


@pytest.mark.parametrize("mode", Mode)
def test_nothing_happens_without_signals_but_resuming(mode: Mode) -> None:
    expected = {Mode.HOLD: Mode.ACTIVE, Mode.TELEOP: Mode.IDLE}.get(mode, mode)
    assert next_mode(mode, NOTHING) is expected
