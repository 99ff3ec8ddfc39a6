"""What came from the MCU beside its sensors: the newest of each slow message, in SI units."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from firmware_bridge import protocol, telemetry
from firmware_bridge.outbox import Outbox
from firmware_bridge.protocol import Ack, Message, Param
from firmware_bridge.telemetry import NO_FAULT, Fault, Health, LogLine, ParamValue, Power

LOG_LINES = 64


class Inbox:
    """Newest power, faults, health, answers, parameters and log lines."""

    def __init__(self, outbox: Outbox) -> None:
        self.power: Power | None = None
        self.health: Health | None = None
        self.fault: Fault = NO_FAULT
        self.answers: dict[int, Ack] = {}  # newest ACK by message type
        self.params: dict[Param, ParamValue] = {}
        self.log: deque[LogLine] = deque(maxlen=LOG_LINES)
        self._outbox = outbox
        self._handlers: dict[int, tuple[int, Callable[[int, bytes], None]]] = {
            message.type: (message.size(), handler)
            for message, handler in (
                (protocol.POWER, self._on_power),
                (protocol.FAULT, self._on_fault),
                (protocol.HEALTH, self._on_health),
                (protocol.ACK, self._on_ack),
                (protocol.PARAM, self._on_param),
                (protocol.LOG, self._on_log),
            )
        }

    def take(self, kind: int, mcu_us: int, payload: bytes) -> bool:
        """Keep a message sent at an MCU time; False: not one of ours, or of another size."""
        size, handler = self._handlers.get(kind, (-1, self._on_ack))
        if len(payload) != size:
            return False
        handler(mcu_us, payload)
        return True

    def begin(self) -> None:
        """A new session: its MCU has forgotten the parameters."""
        self.params.clear()

    def _on_power(self, mcu_us: int, payload: bytes) -> None:
        self.power = telemetry.parse_power(payload)

    def _on_fault(self, mcu_us: int, payload: bytes) -> None:
        self.fault = telemetry.parse_fault(payload)

    def _on_health(self, mcu_us: int, payload: bytes) -> None:
        self.health = telemetry.parse_health(payload)

    def _on_ack(self, mcu_us: int, payload: bytes) -> None:
        kind, verdict = telemetry.parse_ack(payload)
        if self._outbox.answered(kind):
            self.answers[kind] = verdict

    def _on_param(self, mcu_us: int, payload: bytes) -> None:
        found = telemetry.parse_param(payload)
        if found is not None and self._outbox.param_answered(found):
            self.params[found.param] = found

    def _on_log(self, mcu_us: int, payload: bytes) -> None:
        self.log.append(telemetry.parse_log(mcu_us, payload))

    def ask(self, message: Message, in_session: bool, *values: int) -> bool:
        """Queue a request that an ACK answers; without a session it is answered at once."""
        self.answers.pop(message.type, None)
        if not in_session:
            self.answers[message.type] = Ack.NO_SESSION
            return False
        self._outbox.request(message, *values)
        return True

    def ask_param(self, param: Param, session: int, value: int | None) -> None:
        """Queue PARAM_GET, or PARAM_SET with a value; either is answered by PARAM."""
        self.params.pop(param, None)
        if not session:
            self.params[param] = ParamValue(param, Ack.NO_SESSION, 0, 0, 0)
        elif value is None:
            self._outbox.request_param(protocol.PARAM_GET, param, param)
        else:
            self._outbox.request_param(protocol.PARAM_SET, param, session, param, 0, value)
