"""What goes to the MCU: frames, requests repeated until answered, and the stop sent three times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firmware_bridge import protocol
from firmware_bridge.codec import Encoder
from firmware_bridge.protocol import Ack, EstopReason, Message, Param
from firmware_bridge.telemetry import ParamValue
from firmware_bridge.transport import Transport

RETRY_NS = 100_000_000
TRIES = 3
ESTOP_REPEAT_NS = 10_000_000
ESTOP_TIMES = 3
PARAM_KEY = 256


@dataclass(slots=True)
class _Request:
    message: Message
    values: tuple[int, ...]
    tries: int = 0
    next_ns: int = 0


class Outbox:
    """Frames out through one transport; a lost port raises OSError."""

    def __init__(self, transport: Transport, joints: int) -> None:
        self.bytes = 0
        self.dropped = 0  # frames that the port did not take whole
        self._transport = transport
        self._encoder = Encoder(joints)
        self._requests: dict[int, _Request] = {}  # by message type, parameters by PARAM_KEY + id
        self._estops = 0
        self._estop_reason = EstopReason.OPERATOR
        self._next_estop_ns = 0

    def motion(
        self, t_us: int, session: int, ttl_ms: int, mask: int, target: npt.NDArray[np.int16]
    ) -> bool:
        """A MOTION frame; False when the port was full."""
        return self._write(self._encoder.motion(t_us, session, ttl_ms, mask, target))

    def send(self, message: Message, t_us: int, *values: int) -> bool:
        """Any message of fixed size."""
        return self._write(self._encoder.message(message, t_us, *values))

    def request(self, message: Message, *values: int) -> None:
        """Queue a message that is repeated until it is answered."""
        self._requests[message.type] = _Request(message, values)

    def answered(self, kind: int) -> bool:
        """Whether that type was being asked; it is no longer."""
        return self._requests.pop(kind, None) is not None

    def request_param(self, message: Message, param: Param, *values: int) -> None:
        """The same for a parameter: one request per parameter is out at a time."""
        self._requests[PARAM_KEY + param] = _Request(message, values)

    def param_answered(self, found: ParamValue) -> bool:
        """Whether that parameter was being asked, and this is the answer to it."""
        request = self._requests.get(PARAM_KEY + found.param)
        if request is None:
            return False
        if request.message is protocol.PARAM_SET and found.code is Ack.OK:
            if found.value != request.values[-1]:
                return False  # a late answer to what was asked before
        del self._requests[PARAM_KEY + found.param]
        return True

    @property
    def waiting(self) -> bool:
        """Whether any request is still out."""
        return bool(self._requests)

    def forget(self) -> None:
        """Drop every request: the session they belong to is over."""
        self._requests.clear()

    def repeat(self, now_ns: int, t_us: int) -> None:
        """Send the requests that are due; give up on one after three tries."""
        for kind, request in list(self._requests.items()):
            if now_ns < request.next_ns:
                continue
            if request.tries >= TRIES:
                del self._requests[kind]
                continue
            request.tries += 1
            request.next_ns = now_ns + RETRY_NS
            self.send(request.message, t_us, *request.values)

    def estop(self, reason: EstopReason) -> None:
        """The stop, at once; `repeat_estop` sends it twice more."""
        self._estop_reason = reason
        self._estops = ESTOP_TIMES - 1
        self._next_estop_ns = 0
        self.send(protocol.ESTOP, 0, reason)

    def repeat_estop(self, now_ns: int) -> None:
        """Send the stop again when it is due."""
        if self._estops and now_ns >= self._next_estop_ns:
            self._estops -= 1
            self._next_estop_ns = now_ns + ESTOP_REPEAT_NS
            self.send(protocol.ESTOP, 0, self._estop_reason)

    def _write(self, frame: memoryview) -> bool:
        taken = self._transport.write(frame)
        self.bytes += taken
        if taken < len(frame):
            self.dropped += 1
            return False
        return True
