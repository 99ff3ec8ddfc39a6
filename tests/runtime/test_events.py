"""The table of events is complete, its sentences read, and a part tells each change once."""

import numpy as np
import pytest

from runtime.channels import EVENT, EVENT_TEXT, channel_table
from runtime.event_log import EventLog
from runtime.events import EVENTS, SURPRISE_EVENTS, Effect, Event, sentence
from runtime.lockstep import START_NS, Clockwork, LockstepChannels
from runtime.surprise import SURPRISE_CHANNELS


@pytest.mark.parametrize("event", Event)
def test_every_event_has_a_row_and_a_sentence(event: Event) -> None:
    row = EVENTS[event]
    said = sentence(event, (1.25, 2.5), "left")
    assert "{" not in said
    if event is not Event.NONE:
        assert row.sentence
    if "{text}" in row.sentence:
        assert "left" in said
    if row.effect is not Effect.NOTE:
        assert row.fix, "what changes the robot's conduct says what to do about it"
        assert said.endswith(f"({row.fix})")


def test_the_table_has_no_row_without_an_event() -> None:
    assert set(EVENTS) == set(Event)
    assert len({e.value for e in Event}) == len(Event)


def test_the_longest_values_still_fit_a_sentence() -> None:
    for event in Event:
        said = sentence(event, (float("nan"), float("inf")), "x" * EVENT_TEXT)
        assert said == said.strip() and len(said) < 400


def test_every_surprise_channel_raises_an_event() -> None:
    assert set(SURPRISE_EVENTS) == set(SURPRISE_CHANNELS)


def test_only_slip_and_a_frozen_or_dark_camera_hold_the_robot() -> None:
    holding = {c for c, e in SURPRISE_EVENTS.items() if EVENTS[e].effect is not Effect.SLOW}
    assert holding == {"odometry", "frozen", "dark"}
    assert all(EVENTS[SURPRISE_EVENTS[c]].effect is Effect.HOLD for c in holding)


@pytest.fixture
def log():
    table = channel_table(8, (4, 4, 3))
    clockwork = Clockwork()
    channels = LockstepChannels(table, clockwork, {})
    reader = channels.reader("event.mind")
    writer = channels.writer("event.mind", "mind")

    def said() -> list[tuple[int, int, bytes]]:
        clockwork.run(clockwork.now_ns)
        return [(int(r["code"]), int(r["active"]), r["text"].item()) for r in reader.drain()]

    return EventLog(writer), said


def test_a_lasting_event_is_told_when_it_begins_and_when_it_ends(log) -> None:
    events, said = log
    for holds in (False, True, True, True, False, False):
        events.keep(START_NS, Event.TOO_HOT, holds, 95.0)
    assert said() == [(Event.TOO_HOT, 1, b""), (Event.TOO_HOT, 0, b"")]
    assert not events.active


def test_effects_are_those_of_the_active_events(log) -> None:
    events, _ = log
    events.keep(START_NS, Event.TOO_HOT, True, 95.0)
    events.note(START_NS, Event.OPERATOR_STOP)
    assert events.has(Effect.HOLD)
    assert not events.has(Effect.STOP), "a note leaves nothing behind"
    events.keep(START_NS, Event.TOO_HOT, False)
    assert not events.has(Effect.HOLD)


def test_a_long_text_is_cut_and_still_reads(log) -> None:
    events, said = log
    events.note(START_NS, Event.PLAN_REJECTED, text="ä" * 200)
    ((_, _, text),) = said()
    assert len(text) <= EVENT_TEXT
    assert set(text.decode(errors="replace")) <= {"ä", "\N{REPLACEMENT CHARACTER}"}


def test_the_record_carries_both_values() -> None:
    assert EVENT["value"].shape == (2,)
    assert np.zeros((), EVENT)["text"].dtype.itemsize == EVENT_TEXT
