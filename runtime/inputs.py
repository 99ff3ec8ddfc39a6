"""What the controller hears from other processes: newest records, and the events they hold up."""

from __future__ import annotations

from runtime.channels import Channels, Record
from runtime.events import EVENTS, SURPRISE_EVENTS, Effect, Event

HEARD = ("perception", "mind", "supervisor")
SURPRISES = frozenset(SURPRISE_EVENTS.values())


class Inputs:
    """Never blocks: a process that died simply goes stale."""

    def __init__(self, channels: Channels) -> None:
        self.belief = channels.reader("belief")
        self.intent = channels.reader("intent")
        self.operator = channels.reader("operator")
        self._surprise = channels.reader("surprise")
        self.health = channels.reader("health")
        self.correction = channels.reader("correction")
        self._readers = (
            self.belief, self.intent, self.operator, self._surprise, self.health, self.correction,
        )  # fmt: skip
        self._events = {process: channels.reader(f"event.{process}") for process in HEARD}
        self._active: dict[tuple[str, Event], Effect] = {}

    def read(self) -> None:
        """Take in what is new."""
        for reader in self._readers:
            reader.latest()
        for process, reader in self._events.items():
            if reader.latest():
                for record in reader.drain():
                    self._hear(process, record)

    def _hear(self, process: str, record: Record) -> None:
        event = Event(int(record["code"]))
        effect = EVENTS[event].effect
        if effect is Effect.NOTE:
            return
        if not record["active"]:
            self._active.pop((process, event), None)
            return
        self._active[process, event] = effect
        if event is Event.PROCESS_DIED:
            self._forget(record["text"].item().decode(errors="replace").split(" ")[0])

    def _forget(self, process: str) -> None:
        """What a dead process had raised: its successor starts with nothing and raises anew."""
        for key in [k for k in self._active if k[0] == process]:
            del self._active[key]

    def effects(self) -> set[Effect]:
        """Effects of all events that other processes have active."""
        return set(self._active.values())

    @property
    def degraded(self) -> bool:
        """Whether a graph runs on a backend that is not the first of its list."""
        return any(event is Event.BACKEND_FALLBACK for _, event in self._active)

    def surprised(self) -> bool:
        """Whether a surprise channel stands above its level."""
        return any(event in SURPRISES for _, event in self._active)
