"""The host's end of the wire: session, clock, heartbeat, sensors in, commands out.

`step(now_ns)` never blocks and reads no clock; one per control period is enough. Exceptions stop
construction (`SerialTransport`, `probe()`); afterwards trouble is `status.state` and its counters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge import protocol, telemetry
from firmware_bridge.clock_sync import SETTLED, ClockSync
from firmware_bridge.codec import Decoder
from firmware_bridge.limits import LimitTable
from firmware_bridge.memory import address
from firmware_bridge.outbox import Outbox
from firmware_bridge.protocol import Ack, EstopReason, Message, Mode
from firmware_bridge.sensors import SENSORS
from firmware_bridge.telemetry import (
    NO_FAULT,
    Fault,
    Health,
    Identity,
    LinkState,
    LinkStatus,
    Power,
)
from firmware_bridge.transport import LockstepTransport, Transport

__all__ = ["SENSORS", "Link", "LinkState", "LinkStatus", "LockstepTransport", "Transport"]

MS = 1_000_000
HELLO_RETRY_NS = 200 * MS
HELLO_PAUSE_NS = 1000 * MS  # after three unanswered tries, and between tries on a mismatch
REOPEN_NS = 500 * MS
SYNC_FAST_NS = 50 * MS
SYNC_NS = 983 * MS  # off the beat of everything that runs at 1 Hz
HEARTBEAT_NS = 50 * MS
LOST_NS = 1000 * MS
READ_SIZE = 16384


class Link:
    """One MCU behind one transport."""

    def __init__(self, transport: Transport, table: LimitTable) -> None:
        table.counts()  # a table that does not fit the wire is refused here
        self.table = table
        self.status = LinkStatus()
        self.clock = ClockSync()
        self.identity: Identity | None = None
        self.power: Power | None = None
        self.health: Health | None = None
        self.fault: Fault = NO_FAULT
        self.session = 0
        self.bytes_in = 0
        self.answers: dict[int, Ack] = {}  # newest ACK by message type
        self._transport = transport
        self._decoder = Decoder(table)
        self._outbox = Outbox(transport, len(table.joints))
        self._buffer = np.zeros(READ_SIZE, np.uint8)
        self._buffer_at = address(self._buffer)
        self._view = self._buffer.data
        self._layout = table.crc()
        self._schema = protocol.schema_crc()
        self._nonce = 0
        self._hellos = 0
        self._next_hello_ns = 0
        self._next_sync_ns = 0
        self._next_heartbeat_ns = 0
        self._next_open_ns = 0
        self._since_ns = 0
        self._mode = Mode.SAFE
        self._handlers: dict[int, tuple[int, Callable[[int, int, bytes], None]]] = {
            message.type: (message.size(), handler)
            for message, handler in (
                (protocol.HELLO_ACK, self._on_hello_ack),
                (protocol.SYNC_RSP, self._on_sync),
                (protocol.POWER, self._on_power),
                (protocol.FAULT, self._on_fault),
                (protocol.HEALTH, self._on_health),
                (protocol.ACK, self._on_ack),
            )
        }

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

    def step(self, now_ns: int) -> None:
        """Read, decode, and send what is due."""
        if self.status.state is LinkState.DISCONNECTED:
            self._reopen(now_ns)
            return
        if not self.status.connects:
            self._connect(now_ns, "no answer yet")
        try:
            self._read(now_ns)
            self._house_keep(now_ns)
        except OSError as error:
            self._disconnect(now_ns, error)

    def _read(self, now_ns: int) -> None:
        size = self._transport.read_into(self._view)
        if not size:
            return
        self.bytes_in += size
        if self._decoder.feed(self._buffer_at, size, now_ns):
            for kind, rx_ns, payload in self._decoder.take():
                wanted, handler = self._handlers.get(kind, (-1, self._on_ack))
                if len(payload) == wanted:
                    handler(now_ns, rx_ns, payload)
        self._decoder.tell(self.status)
        self.status.tx_dropped = self._outbox.dropped

    def _house_keep(self, now_ns: int) -> None:
        self._outbox.repeat_estop(now_ns)
        if not self._in_session:
            if now_ns >= self._next_hello_ns:
                self._send_hello(now_ns)
            return
        if now_ns - max(self._decoder.last_rx_ns, self._since_ns) > LOST_NS:
            self._connect(now_ns, "the MCU has been silent for 1 s")
            return
        t_us = self._mcu_low(now_ns)
        if now_ns >= self._next_sync_ns:
            fast = self.clock.count < SETTLED
            self._next_sync_ns = now_ns + (SYNC_FAST_NS if fast else SYNC_NS)
            self._outbox.send(protocol.SYNC_REQ, t_us, now_ns)
        if now_ns >= self._next_heartbeat_ns:
            self._next_heartbeat_ns = now_ns + HEARTBEAT_NS
            self._outbox.send(protocol.HEARTBEAT, t_us, self.session, self._mode, 0)
        self._outbox.repeat(now_ns, t_us)

    @property
    def _in_session(self) -> bool:
        return self.status.state in (LinkState.READY, LinkState.SYNCING)

    def _mcu_low(self, now_ns: int) -> int:
        """MCU clock as frames carry it; 0 means not synchronised, so the true 0 becomes 1."""
        return (self.clock.mcu_us(now_ns) & 0xFFFFFFFF) or 1 if self.clock.count else 0

    def send_motion(
        self, now_ns: int, target: npt.NDArray[np.int16], mask: int, ttl_ms: int
    ) -> bool:
        """MOTION issued at now_ns, target (n,) int16 counts; False: not sent."""
        if self.status.state is not LinkState.READY:
            return False
        t_us = self._mcu_low(now_ns)
        try:
            sent = self._outbox.motion(t_us, self.session, ttl_ms, mask, target)
        except OSError as error:
            self._disconnect(now_ns, error)
            return False
        self.status.motion_sent += sent
        return sent

    def arm(self, now_ns: int, mode: Mode) -> None:
        """Ask for a mode; the verdict comes as `answer(protocol.ARM)`."""
        self._mode = mode
        self._request(protocol.ARM, now_ns, self.session, mode, 0, self._layout)

    def clear(self, now_ns: int) -> None:
        """Ask to clear every latch; the verdict comes as `answer(protocol.ESTOP_CLEAR)`."""
        boot_id = self.identity.boot_id if self.identity else 0
        self._request(protocol.ESTOP_CLEAR, now_ns, self.session, boot_id)

    def _request(self, message: Message, now_ns: int, *values: int) -> None:
        self.answers.pop(message.type, None)
        if not self._in_session:
            self.answers[message.type] = Ack.NO_SESSION
            return
        self._outbox.request(message, *values)
        try:
            self._outbox.repeat(now_ns, self._mcu_low(now_ns))
        except OSError as error:
            self._disconnect(now_ns, error)

    def answer(self, message: Message) -> Ack | None:
        """The MCU's answer to the last such request, None while it is out."""
        return self.answers.get(message.type)

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

    def _connect(self, now_ns: int, reason: str) -> None:
        """Begin a new session."""
        self.status.state = LinkState.HELLO
        self.status.reason = reason
        self.status.connects += 1
        mixed = now_ns // 1000 ^ self.status.connects * 0x9E3779B9
        self._nonce = mixed & 0xFFFFFFFF
        self.session = 0
        self._mode = Mode.SAFE
        self._hellos = 0
        self._next_hello_ns = now_ns
        self._outbox.forget()
        self.clock.reset()
        self._decoder.reset(self.table)

    def _disconnect(self, now_ns: int, error: OSError) -> None:
        self.status.state = LinkState.DISCONNECTED
        self.status.reason = str(error)
        self._next_open_ns = now_ns
        self._transport.close()

    def _send_hello(self, now_ns: int) -> None:
        self._hellos += 1
        quick = self._hellos < 3 and self.status.state is LinkState.HELLO
        self._next_hello_ns = now_ns + (HELLO_RETRY_NS if quick else HELLO_PAUSE_NS)
        values = (protocol.MAJOR, protocol.MINOR, self._nonce, self._schema)
        self._outbox.send(protocol.HELLO, 0, *values)

    def _reopen(self, now_ns: int) -> None:
        if now_ns >= self._next_open_ns:
            self._next_open_ns = now_ns + REOPEN_NS
            if self._transport.reopen():
                self._connect(now_ns, "reopened, no answer yet")

    def _on_hello_ack(self, now_ns: int, rx_ns: int, payload: bytes) -> None:
        found = telemetry.parse_identity(payload)
        if found.nonce != self._nonce or self.session:
            return
        self.identity = found
        status = self.status
        status.reason = found.refusal(self._schema, self._layout, self.table.body)
        if status.reason:
            status.state = LinkState.MISMATCH
            return
        status.state = LinkState.SYNCING
        self.session = found.session
        self._since_ns = now_ns
        self._next_sync_ns = now_ns
        self._next_heartbeat_ns = now_ns

    def _on_sync(self, now_ns: int, rx_ns: int, payload: bytes) -> None:
        t0_ns, mcu_rx_us, mcu_tx_us = protocol.SYNC_RSP.layout.unpack(payload)
        decoder, clock, status = self._decoder, self.clock, self.status
        if not clock.count:
            decoder.set_mcu_us(mcu_rx_us)
        answer_ns = mcu_tx_us * 1000 - rx_ns
        clock.add(t0_ns, mcu_rx_us, max(answer_ns, decoder.take_down_best()))
        status.rtt_us = clock.rtt_ns / 1000
        status.offset_us = clock.offset_ns // 1000
        status.skew_ppm = clock.skew_ppb / 1000
        if clock.valid(now_ns):
            decoder.set_clock(clock.mcu_us(clock.base_ns), clock.base_ns, -clock.skew_ppb)
            if status.state is LinkState.SYNCING:
                status.state = LinkState.READY

    def _on_power(self, now_ns: int, rx_ns: int, payload: bytes) -> None:
        self.power = telemetry.parse_power(payload)
        self._decoder.sensors["battery_v"] = self.power.voltage_v

    def _on_fault(self, now_ns: int, rx_ns: int, payload: bytes) -> None:
        self.fault = telemetry.parse_fault(payload)

    def _on_health(self, now_ns: int, rx_ns: int, payload: bytes) -> None:
        self.health = telemetry.parse_health(payload)

    def _on_ack(self, now_ns: int, rx_ns: int, payload: bytes) -> None:
        kind, verdict = telemetry.parse_ack(payload)
        if self._outbox.answered(kind):
            self.answers[kind] = verdict
