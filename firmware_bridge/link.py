"""The host's end of the wire: session, clock, heartbeat, sensors in, commands out.

`step(now_ns)` never blocks and reads no clock; one per control period is enough. Exceptions stop
construction (`SerialTransport`, `probe()`); afterwards trouble is `status.state` and its counters.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge import protocol
from firmware_bridge.codec import Decoder
from firmware_bridge.connection import ECHO, Connection
from firmware_bridge.inbox import Inbox
from firmware_bridge.limits import LimitTable
from firmware_bridge.memory import address
from firmware_bridge.outbox import Outbox
from firmware_bridge.protocol import Ack, EstopReason, Message, Mode, Param, Reboot
from firmware_bridge.reconnect import Event
from firmware_bridge.sensors import SENSORS
from firmware_bridge.telemetry import (
    Fault,
    Health,
    Identity,
    LinkState,
    LinkStatus,
    LogLine,
    ParamValue,
    Power,
)
from firmware_bridge.transport import LockstepTransport, Transport

__all__ = ["SENSORS", "Link", "LinkState", "LinkStatus", "LockstepTransport", "Transport"]

READ_SIZE = 16384  # at most so many bytes per step: a port that floods cannot hold the tick


class Link:
    """One MCU behind one transport."""

    def __init__(
        self, transport: Transport, table: LimitTable, clock: Callable[[], int] | None = None
    ) -> None:
        """`clock` [ns] dates what was read, after the read.

        A process that is held up between asking the time and reading would else date bytes before
        they came. Without it `step`'s time counts, as in lockstep, where nothing happens in between.
        """
        table.counts()  # a table that does not fit the wire is refused here
        self.table = table
        self.status = LinkStatus()
        self.bytes_in = 0
        self._transport, self._clock = transport, clock
        self._decoder = Decoder(table)
        self._outbox = Outbox(transport, len(table.joints))
        self._inbox = Inbox(self._outbox)
        self._connection = Connection(table, self._decoder, self._outbox, self.status)
        self.clock = self._connection.clock
        self._buffer = np.zeros(READ_SIZE, np.uint8)
        self._buffer_at = address(self._buffer)
        self._view = self._buffer.data

    @property
    def sensors(self) -> npt.NDArray[Any]:
        """Newest sensor record, (1,) SENSORS, overwritten in place by `step`."""
        return self._decoder.sensors

    @property
    def sensors_seq(self) -> int:
        """Grows by one per sensor record."""
        return self._decoder.batches

    @property
    def ready(self) -> bool:
        """Session, layout and clock are good."""
        return self.status.state is LinkState.READY

    def fileno(self) -> int | None:
        """To wait on, if the transport has one."""
        return self._transport.fileno()

    @property
    def bytes_out(self) -> int:
        """Bytes written since the start."""
        return self._outbox.bytes

    @property
    def identity(self) -> Identity | None:
        """Who answered the newest HELLO."""
        return self._connection.identity

    @property
    def session(self) -> int:
        """Number of the session, 0: none."""
        return self._connection.session

    @property
    def power(self) -> Power | None:
        """Newest POWER."""
        return self._inbox.power

    @property
    def health(self) -> Health | None:
        """Newest HEALTH."""
        return self._inbox.health

    @property
    def fault(self) -> Fault:
        """Newest FAULT."""
        return self._inbox.fault

    @property
    def log(self) -> deque[LogLine]:
        """The MCU's newest lines; take them with `popleft`."""
        return self._inbox.log

    def step(self, now_ns: int) -> None:
        """Read, decode, and send what is due."""
        connection = self._connection
        if self.status.state is LinkState.DISCONNECTED:
            if connection.reopen_due(now_ns) and self._transport.reopen():
                connection.connect(now_ns, "reopened, no answer yet", Event.PORT_OPEN)
            return
        if not self.status.connects:
            connection.connect(now_ns, "no answer yet")
        try:
            self._read(now_ns)
            self._outbox.repeat_estop(now_ns)
            connection.step(now_ns)
            if connection.open:
                self._outbox.repeat(now_ns, connection.mcu_low(now_ns))
        except OSError as error:
            self._disconnect(now_ns, error)

    def _read(self, now_ns: int) -> None:
        size = self._transport.read_into(self._view)
        if not size:
            return
        self.bytes_in += size
        now_ns = self._clock() if self._clock is not None else now_ns
        if self._decoder.feed(self._buffer_at, size, now_ns):
            session = self.session
            for kind, t_us, rx_ns, payload in self._decoder.take():
                self._take(now_ns, kind, t_us, rx_ns, payload)
            if (
                self.session != session
            ):  # the decoder forgot what it had of the frame behind HELLO_ACK
                rest = bytes(self._view[:size]).rfind(0) + 1
                self._decoder.feed(self._buffer_at + rest, size - rest, now_ns)
        self._decoder.tell(self.status)
        self.status.tx_dropped = self._outbox.dropped

    def _take(self, now_ns: int, kind: int, t_us: int, rx_ns: int, payload: bytes) -> None:
        if kind == protocol.SYNC_RSP.type and len(payload) == protocol.SYNC_RSP.size():
            self._connection.on_sync(now_ns, rx_ns, payload)
        elif kind == protocol.HELLO_ACK.type and len(payload) == protocol.HELLO_ACK.size():
            if self._connection.on_hello_ack(now_ns, payload):
                self._inbox.begin()
        elif kind < protocol.HELLO_ACK.type and not self._connection.open:
            self.status.reason = ECHO
        elif self._inbox.take(kind, self._decoder.widen(t_us), payload):
            if kind == protocol.POWER.type and self.power is not None:
                self._decoder.sensors["battery_v"] = self.power.voltage_v

    def send_motion(
        self, now_ns: int, target: npt.NDArray[np.int16], mask: int, ttl_ms: int
    ) -> bool:
        """MOTION issued at now_ns, target (n,) int16 counts; False: not sent."""
        if self.status.state is not LinkState.READY:
            return False
        t_us = self._connection.mcu_low(now_ns)
        try:
            sent = self._outbox.motion(t_us, self.session, ttl_ms, mask, target)
        except OSError as error:
            self._disconnect(now_ns, error)
            return False
        self.status.motion_sent += sent
        return sent

    def arm(self, now_ns: int, mode: Mode) -> None:
        """Ask for a mode; the verdict comes as `answer(protocol.ARM)`."""
        self._connection.mode = mode
        self._request(protocol.ARM, now_ns, self.session, mode, 0, self._connection.layout)

    def clear(self, now_ns: int) -> None:
        """Ask to clear every latch; the verdict comes as `answer(protocol.ESTOP_CLEAR)`."""
        boot_id = self.identity.boot_id if self.identity else 0
        self._request(protocol.ESTOP_CLEAR, now_ns, self.session, boot_id)

    def reboot(self, now_ns: int, target: Reboot) -> None:
        """Ask to restart, only in SAFE; the verdict comes as `answer(protocol.REBOOT)`."""
        magic = protocol.REBOOT_MAGIC
        self._request(protocol.REBOOT, now_ns, self.session, magic, target, 0, 0, 0)

    def _request(self, message: Message, now_ns: int, *values: int) -> None:
        if not self._inbox.ask(message, self._connection.open, *values):
            return
        try:
            self._outbox.repeat(now_ns, self._connection.mcu_low(now_ns))
        except OSError as error:
            self._disconnect(now_ns, error)

    def answer(self, message: Message) -> Ack | None:
        """The MCU's answer to the last such request, None while it is out or was given up."""
        return self._inbox.answers.get(message.type)

    @property
    def waiting(self) -> bool:
        """Whether a request is still out; each is given up after three tries of 100 ms."""
        return self._outbox.waiting

    def set_param(self, param: Param, value: int) -> None:
        """Set a parameter from the next step on, for this session; `param` is the answer."""
        self._inbox.ask_param(param, self.session, value)

    def ask_param(self, param: Param) -> None:
        """Ask for a parameter; `param` is the answer."""
        self._inbox.ask_param(param, self.session, None)

    def param(self, param: Param) -> ParamValue | None:
        """The MCU's answer about a parameter; None while it is out, was given up, or never asked."""
        return self._inbox.params.get(param)

    def estop(self, reason: EstopReason) -> None:
        """Latch a stop: at once, and twice more at 10 ms; needs no session."""
        if self.status.state is not LinkState.DISCONNECTED:
            try:
                self._outbox.estop(reason)
            except OSError as error:
                self._disconnect(0, error)

    def close(self) -> None:
        """Give the transport back."""
        self._transport.close()

    def _disconnect(self, now_ns: int, error: OSError) -> None:
        self._connection.lose(now_ns, error)
        self._transport.close()
