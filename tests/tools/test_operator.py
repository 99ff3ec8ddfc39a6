"""What pages ask for becomes what the controller hears: no wish is late, doubled, or somebody else's."""

from typing import Any

import pytest

from runtime.channels import Channels, channel_bytes, channel_table
from tools.console.operator import LATE_MS, LEASE_NS, REARM_GAP_NS, REARM_HOLD_NS, Operator

MS = 1_000_000
NOW = 1_000_000 * MS


class Desk:
    """An operator channel and whoever sits before it."""

    def __init__(self) -> None:
        row = channel_table(8, (4, 4, 3))["operator"]
        channels = Channels({"operator": row}, {"operator": bytearray(channel_bytes(row))})
        self.operator = Operator(channels.writer("operator", "console"), ("idle", "follow"))
        self.reader = channels.reader("operator")
        self.seq = 0

    def drive(self, client: int = 1, now_ns: int = NOW, late_ms: int = 50, **more: Any) -> str:
        self.seq += 1
        wish = {"type": "drive", "hold": True, "forward": 0.5, "turn": -0.25, "seq": self.seq,
                "seen": now_ns // MS - late_ms, **more}  # fmt: skip
        return self.operator.hear(client, wish, now_ns)

    @property
    def said(self) -> dict[str, float]:
        self.reader.latest()
        r = self.reader.record
        return {
            name: float(r[name])
            for name in (
                "hold",
                "forward",
                "turn",
                "stops",
                "rearms",
                "present",
                "disengages",
                "press",
                "pages",
            )
        }


def test_a_held_stick_is_told_and_let_go() -> None:
    desk = Desk()
    assert desk.drive() == ""
    assert (desk.said["hold"], desk.said["forward"], desk.said["turn"]) == (1, 0.5, -0.25)
    assert desk.drive(hold=False, forward=None, seen=None) == ""
    assert (desk.said["hold"], desk.said["forward"]) == (0, 0)
    desk.drive()
    desk.operator.publish(NOW + 251 * MS)
    assert desk.said["hold"] == 0, "nor does it last without being renewed"


def test_a_wish_that_comes_late_drives_nothing() -> None:
    """It was sent before what the robot did since: over a slow link the stick was let go long ago."""
    desk = Desk()
    assert desk.drive(late_ms=LATE_MS) == "" and desk.said["hold"] == 1
    assert desk.drive(late_ms=LATE_MS + 1) == "" and desk.said["hold"] == 0, "a hiccup"
    assert desk.drive(late_ms=100) == "" and desk.said["hold"] == 1
    assert desk.drive(late_ms=800) == "" and desk.said["hold"] == 0
    later = NOW + 250 * MS
    assert "is 0.8 s behind the robot" in desk.drive(now_ns=later, late_ms=800)
    assert desk.said["disengages"] == 1, "no skill goes on under a hand that comes late"
    assert desk.drive(late_ms=2000) == desk.drive(late_ms=100) == "", "told once, until let go"
    assert (desk.said["hold"], desk.said["disengages"]) == (0, 1)
    desk.drive(hold=False)
    assert desk.drive(late_ms=100) == "" and desk.said["hold"] == 1


def test_a_press_lasts_until_it_is_let_go_whatever_the_link_does() -> None:
    desk = Desk()
    desk.drive()
    desk.operator.publish(NOW + 900 * MS)
    desk.drive(now_ns=NOW + 1_000 * MS)
    assert desk.said["press"] == 1, "a gap is no letting go"
    desk.operator.hear(2, {"type": "stop"}, NOW + 1_000 * MS)
    desk.drive(now_ns=NOW + 1_100 * MS)
    assert (desk.said["press"], desk.said["hold"]) == (1, 0), "nor is a stop, which ends it"
    desk.drive(hold=False)
    desk.drive(now_ns=NOW + 1_200 * MS)
    assert desk.said["press"] == 2
    desk.operator.leave(1, NOW)
    desk.drive(now_ns=NOW + 1_300 * MS)
    assert desk.said["press"] == 3, "a page that has gone holds nothing"


def test_each_hand_has_a_press_of_its_own() -> None:
    desk = Desk()
    desk.drive(1)
    desk.drive(2, NOW + LEASE_NS)
    assert desk.said["press"] == 2
    desk.drive(2, NOW + LEASE_NS, hold=False)
    desk.drive(1, NOW + LEASE_NS)
    assert desk.said["press"] == 1, "held since before"


def test_what_is_older_than_the_last_wish_is_none() -> None:
    desk = Desk()
    desk.drive(seq=5)
    desk.drive(seq=5, forward=1.0)
    desk.drive(seq=4, forward=1.0)
    assert desk.said["forward"] == 0.5


@pytest.mark.parametrize(
    "wrong",
    [{"forward": float("nan")}, {"turn": float("inf")}, {"forward": None}, {"forward": "x"}, {"seq": float("inf")},
     {"seq": None}, {"seen": None}, {"seen": float("nan")}, {"forward": [1]}],
)  # fmt: skip
def test_what_is_no_number_changes_nothing(wrong: dict[str, Any]) -> None:
    desk = Desk()
    with pytest.raises((ValueError, TypeError, ArithmeticError)):
        desk.drive(**wrong)
    assert desk.said["hold"] == 0 and desk.said["forward"] == 0
    assert desk.drive(client=2) == "", "nobody holds the lease"


@pytest.mark.parametrize("missing", ["seq", "hold", "forward", "turn", "seen"])
def test_a_wish_that_lacks_something_changes_nothing(missing: str) -> None:
    desk = Desk()
    wish = {"type": "drive", "hold": True, "forward": 1.0, "turn": 0.0, "seq": 1, "seen": NOW // MS}
    wish.pop(missing)
    with pytest.raises(KeyError):
        desk.operator.hear(1, wish, NOW)
    assert desk.said["hold"] == 0


def test_one_drives_at_a_time_and_anybody_stops() -> None:
    desk = Desk()
    desk.drive(1)
    assert desk.drive(2, forward=-1.0) == "somebody else is driving"
    assert desk.said["forward"] == 0.5
    assert desk.drive(2, NOW + LEASE_NS) == "", "who has not driven for a second has let go"
    desk.drive(2, NOW + LEASE_NS)
    desk.operator.hear(1, {"type": "stop"}, NOW + LEASE_NS)
    assert desk.said["stops"] == 1 and desk.said["hold"] == 0, "of whoever drives"
    desk.drive(2, NOW + LEASE_NS, hold=False)
    assert desk.drive(2, NOW + LEASE_NS) == "" and desk.said["hold"] == 1
    desk.operator.leave(2, NOW + LEASE_NS)
    assert desk.said["hold"] == 0


def test_rearm_is_two_seconds_without_a_gap() -> None:
    desk = Desk()

    def press(from_ns: int, step_ns: int, until_ns: int) -> None:
        for t_ns in range(from_ns, until_ns, step_ns):
            desk.operator.hear(1, {"type": "rearm", "hold": True}, t_ns)

    press(NOW, REARM_GAP_NS + 1, NOW + 5 * REARM_HOLD_NS)
    assert desk.said["rearms"] == 0, "clicks are no hold"
    desk.operator.hear(1, {"type": "rearm", "hold": False}, NOW)
    later = NOW + 20 * REARM_HOLD_NS
    press(later, 100 * MS, later + REARM_HOLD_NS)
    assert desk.said["rearms"] == 0
    press(later + REARM_HOLD_NS, 100 * MS, later + REARM_HOLD_NS + 1)
    assert desk.said["rearms"] == 1


def test_presence_is_of_who_was_heard_lately() -> None:
    desk = Desk()
    desk.operator.hear(1, {"type": "here"}, NOW)
    assert desk.said["present"] == 1
    desk.operator.publish(NOW + 2_000 * MS)
    assert (desk.said["present"], desk.said["pages"]) == (0, 1), (
        "it is there, and nobody looks at it"
    )


def test_what_it_does_not_know_is_refused() -> None:
    desk = Desk()
    assert "no skill go_to: known are idle, follow" in desk.operator.hear(
        1, {"type": "skill", "name": "go_to"}, NOW
    )
    assert desk.operator.hear(1, {"type": "launch"}, NOW) == "no message launch"
