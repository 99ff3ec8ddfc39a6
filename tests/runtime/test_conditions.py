"""The named conditions: one bit each, all with a name and something to do."""

import pytest

from runtime.conditions import ALL, CONDITIONS, MIND_CHECKS, Condition, missing
from runtime.events import EVENTS, Effect
from runtime.machine import MachineState


def test_every_condition_has_one_bit_a_name_and_a_fix() -> None:
    assert set(CONDITIONS) == set(Condition)
    for condition, (name, fix) in CONDITIONS.items():
        assert int(condition).bit_count() == 1
        assert name and fix
    assert len({name for name, _ in CONDITIONS.values()}) == len(CONDITIONS)
    assert sum(int(c) for c in Condition) == int(ALL)


def test_nothing_met_names_all_and_all_met_names_none() -> None:
    assert missing(0) == [name for name, _ in CONDITIONS.values()]
    assert missing(int(ALL)) == []


@pytest.mark.parametrize("condition", Condition)
def test_one_missing_is_named_alone(condition: Condition) -> None:
    assert missing(int(ALL & ~condition)) == [CONDITIONS[condition][0]]


def test_the_minds_checks_are_those_of_the_machines_events() -> None:
    found = Condition(0)
    for event, condition in MachineState.CONDITION_OF.items():
        found |= condition
        assert EVENTS[event].effect in (Effect.HOLD, Effect.NOTE)
    assert found == MIND_CHECKS
