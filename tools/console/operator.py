"""What operators ask for, turned into the operator channel: stop, re-arm, drive, skill.

Gestures are counters, so that none is lost or doubled between two reads. A page that vanishes
drives nothing: hold-to-drive expires here after 250 ms, and again in the controller. Neither does one
whose messages come late: each wish to drive says which state of the robot was the newest seen.
"""

from __future__ import annotations

import math
from typing import Any

from runtime.channels import Writer
from runtime.skills import SKILLS

DRIVE_EXPIRY_NS = 250_000_000
PRESENCE_NS = 2_000_000_000
REARM_HOLD_NS = 2_000_000_000
REARM_GAP_NS = 500_000_000  # longest silence within one press
LEASE_NS = 1_000_000_000
# From a state's leaving to a drive message that has seen it. States go out ten times a second and
# wishes twenty, so that a round trip of 0.35 s is the longest that drives.
LATE_MS = 500


class Operator:
    """All clients' wishes, merged: anyone may stop, one at a time may drive."""

    def __init__(self, writer: Writer, skills: tuple[str, ...] = tuple(SKILLS)) -> None:
        self._writer, self._skills = writer, skills
        self._seen: dict[int, int] = {}  # client -> time of its last message
        self._rearm: dict[int, tuple[int, int]] = {}  # client -> press began, last heard
        self._driver = 0
        self._driver_ns = -LEASE_NS
        self._drive_seq: dict[int, int] = {}
        # clients whose stick was taken in hand and not let go, and the number of that press
        self._pressing: dict[int, int] = {}
        self._presses = int(writer.record["press"])
        self._late: dict[int, int] = {}  # since when their wishes come late
        self._void: set[int] = set()  # those of them that do not drive before they let go

    @property
    def stops(self) -> int:
        """How often STOP was asked for: a page's is confirmed when one more has come to pass."""
        return int(self._writer.record["stops"])

    @property
    def clients(self) -> int:
        """Pages that are connected."""
        return len(self._seen)

    def hear(self, client: int, message: dict[str, Any], now_ns: int) -> str:
        """Act on one message; a sentence when it is refused."""
        self._seen[client] = now_ns
        kind = message.get("type")
        record = self._writer.record
        if kind == "stop":
            self._count("stops")
            self._release(self._driver)
            self._void.update(self._pressing)
        elif kind == "rearm":
            return self._hear_rearm(client, bool(message.get("hold")), now_ns)
        elif kind == "engage":
            self._count("engages")
        elif kind == "disengage":
            self._count("disengages")
        elif kind == "skill":
            name = str(message.get("name"))
            if name not in self._skills:
                return f"no skill {name}: known are {', '.join(self._skills)}"
            record["skill"] = SKILLS[name].index
            self._count("skill_changes")
        elif kind == "drive":
            return self._hear_drive(client, message, now_ns)
        elif kind != "here":
            return f"no message {kind}"
        self.publish(now_ns)
        return ""

    def leave(self, client: int, now_ns: int) -> None:
        """A page has gone: its hold is released at once."""
        self._seen.pop(client, None)
        self._rearm.pop(client, None)
        self._drive_seq.pop(client, None)
        self._let_go(client)
        self.publish(now_ns)

    def publish(self, now_ns: int) -> None:
        """Write the channel (20 Hz and on every gesture)."""
        record = self._writer.record
        if now_ns - int(record["drive_t_ns"]) > DRIVE_EXPIRY_NS:
            record["hold"] = 0
        record["present"] = any(now_ns - t < PRESENCE_NS for t in self._seen.values())
        record["pages"] = min(len(self._seen), 255)
        self._writer.publish(now_ns)

    def _count(self, field: str) -> None:
        self._writer.record[field] += 1

    def _hear_rearm(self, client: int, hold: bool, now_ns: int) -> str:
        """Re-arm only after 2 s of messages without a gap: a click is not a hold."""
        if not hold:
            self._rearm.pop(client, None)
            return ""
        began, last = self._rearm.get(client, (now_ns, now_ns))
        if now_ns - last > REARM_GAP_NS:
            began = now_ns
        self._rearm[client] = (began, now_ns)
        if now_ns - began >= REARM_HOLD_NS:
            self._rearm.pop(client)
            self._count("rearms")
            self.publish(now_ns)
        return ""

    def _hear_drive(self, client: int, message: dict[str, Any], now_ns: int) -> str:
        """Raises ValueError, TypeError or ArithmeticError, with nothing changed, for what is no wish."""
        seq, hold = int(message["seq"]), bool(message["hold"])
        forward, turn, late_ms = 0.0, 0.0, 0
        if hold:
            forward, turn = (_share(message[name]) for name in ("forward", "turn"))
            late_ms = now_ns // 1_000_000 - int(message["seen"])
        if hold and client not in self._pressing:
            self._presses += 1
            self._pressing[client] = self._presses
        if hold and client != self._driver and now_ns - self._driver_ns < LEASE_NS:
            return "somebody else is driving"
        if seq <= self._drive_seq.get(client, -1):
            return ""  # late or repeated: only what is newer counts
        self._drive_seq[client] = seq
        record = self._writer.record
        if not hold:
            self._let_go(client)
            self.publish(now_ns)
            return ""
        if client in self._void:
            return ""
        if late_ms > LATE_MS:
            return self._too_late(client, late_ms, now_ns)
        self._late.pop(client, None)
        record["press"] = self._pressing[client]
        self._driver, self._driver_ns = client, now_ns
        record["hold"] = 1
        record["forward"], record["turn"] = forward, turn
        record["drive_seq"] += 1
        record["drive_t_ns"] = now_ns
        self.publish(now_ns)
        return ""

    def _too_late(self, client: int, late_ms: int, now_ns: int) -> str:
        """A hand that the robot feels too late does not drive; neither does the skill go on under it.

        A hiccup, after which several come late at once, is no such link.
        """
        self._release(client)
        if now_ns - self._late.setdefault(client, now_ns) < DRIVE_EXPIRY_NS:
            self.publish(now_ns)
            return ""
        self._void.add(client)
        self._count("disengages")
        self.publish(now_ns)
        return f"this page is {late_ms / 1000:.1f} s behind the robot: it is disengaged; let go, and wait for a better link"

    def _let_go(self, client: int) -> None:
        self._pressing.pop(client, None)
        self._late.pop(client, None)
        self._void.discard(client)
        self._release(client)

    def _release(self, client: int) -> None:
        if client == self._driver:
            self._writer.record["hold"] = 0
            self._writer.record["forward"] = self._writer.record["turn"] = 0
            self._driver_ns = -LEASE_NS


def _share(value: Any) -> float:
    """A finite number, in -1 to 1."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is no speed")
    return max(-1.0, min(1.0, number))
