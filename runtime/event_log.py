"""Raising events: each part writes its own event channel, once per change."""

from __future__ import annotations

from runtime.channels import EVENT_TEXT, Writer
from runtime.events import EVENTS, Effect, Event


class EventLog:
    """The events a part has active; raising and clearing writes the channel only on a change."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.active: dict[Event, str] = {}

    def note(self, now_ns: int, event: Event, *values: float, text: str = "") -> None:
        """Tell once: no state is kept."""
        self._write(now_ns, event, True, values, text)

    def keep(self, now_ns: int, event: Event, holds: bool, *values: float, text: str = "") -> None:
        """Raise while `holds`, clear when it does not."""
        if holds and event not in self.active:
            self.active[event] = text
            self._write(now_ns, event, True, values, text)
        elif not holds and event in self.active:
            del self.active[event]
            self._write(now_ns, event, False, values, text)

    def has(self, effect: Effect) -> bool:
        """True when an active event has this effect."""
        return any(EVENTS[event].effect is effect for event in self.active)

    def _write(
        self, now_ns: int, event: Event, active: bool, values: tuple[float, ...], text: str
    ) -> None:
        record = self._writer.record
        record["code"] = event
        record["active"] = active
        record["value"] = (*values, 0.0, 0.0)[:2]
        record["text"] = text.encode()[:EVENT_TEXT]
        self._writer.publish(now_ns)
