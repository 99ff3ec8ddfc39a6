"""The host's end of the wire: session, clock, heartbeat, sensors in, commands out.

`step(now_ns)` never blocks and reads no clock; one per control period is enough. Exceptions stop
construction (`SerialTransport`, `probe`); afterwards trouble is `status.state` and its counters.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge import protocol
from firmware_bridge.clock_sync import ClockSync
from firmware_bridge.codec import Decoder, Encoder
from firmware_bridge.errors import LinkError
from firmware_bridge.limits import LimitTable
from firmware_bridge.memory import address
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
    parse_ack,
    parse_fault,
    parse_health,
    parse_identity,
    parse_power,
)
from firmware_bridge.transport import LockstepTransport, SerialTransport, Transport

__all__ = [
    "SENSORS", "Fault", "Identity", "Link", "LinkState", "LinkStatus", "LockstepTransport",
    "Power", "SerialTransport", "Transport", "probe",
]  # fmt: skip

MS = 1_000_000
HELLO_RETRY_NS = 200 * MS
HELLO_PAUSE_NS = 1000 * MS  # after three unanswered tries, and between tries on a mismatch
REOPEN_NS = 500 * MS
SYNC_FAST_NS = 50 * MS
SYNC_NS = 983 * MS  # off the beat of everything that runs at 1 Hz
HEARTBEAT_NS = 50 * MS
REQUEST_RETRY_NS = 100 * MS
REQUEST_TRIES = 3
ESTOP_REPEAT_NS = 10 * MS
LOST_NS = 1000 * MS
READ_SIZE = 16384


@dataclass(slots=True)
class _Request:
    """A message that is repeated until its ACK comes."""

    message: Message
    values: tuple[int, ...]
    tries: int = 0
    next_ns: int = 0


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
        self.bytes_out = 0
        self.answers: dict[int, Ack] = {}  # newest ACK by message type
        self._transport = transport
        self._decoder = Decoder(table)
        self._encoder = Encoder(len(table.joints))
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
        self._estops = 0
        self._estop_reason = EstopReason.OPERATOR
        self._next_estop_ns = 0
        self._requests: dict[int, _Request] = {}
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

    # --- what was measured ---------------------------------------------------------------

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

    # --- one step ------------------------------------------------------------------------

    def step(self, now_ns: int) -> None:
        """Read, decode, and send what is due."""
        if self.status.state is LinkState.DISCONNECTED:
            self._reopen(now_ns)
            return
        if not self.status.connects:
            self._connect(now_ns, "no answer yet")
        try:
            size = self._transport.read_into(self._view)
        except OSError as error:
            self._disconnect(now_ns, str(error))
            return
        if size:
            self.bytes_in += size
            if self._decoder.feed(self._buffer_at, size, now_ns):
                self._handle(now_ns)
            self._decoder.tell(self.status)
        self._house_keep(now_ns)

    def _handle(self, now_ns: int) -> None:
        for kind, rx_ns, payload in self._decoder.take():
            size, handler = self._handlers.get(kind, (-1, self._on_ack))
            if len(payload) == size:
                handler(now_ns, rx_ns, payload)

    def _house_keep(self, now_ns: int) -> None:
        if self._estops and now_ns >= self._next_estop_ns:
            self._send_estop(now_ns)
        state = self.status.state
        if state is LinkState.READY or state is LinkState.SYNCING:
            if now_ns - max(self._decoder.last_rx_ns, self._since_ns) > LOST_NS:
                self._connect(now_ns, "the MCU has been silent for 1 s")
                return
            if now_ns >= self._next_sync_ns:
                fast = self.clock.count < 8
                self._next_sync_ns = now_ns + (SYNC_FAST_NS if fast else SYNC_NS)
                self._send(protocol.SYNC_REQ, now_ns, now_ns)
            if now_ns >= self._next_heartbeat_ns:
                self._next_heartbeat_ns = now_ns + HEARTBEAT_NS
                self._send(protocol.HEARTBEAT, now_ns, self.session, self._mode, 0)
            if self._requests:
                self._repeat(now_ns)
        elif now_ns >= self._next_hello_ns:
            self._send_hello(now_ns)

    def _repeat(self, now_ns: int) -> None:
        for kind, request in list(self._requests.items()):
            if now_ns < request.next_ns:
                continue
            if request.tries >= REQUEST_TRIES:
                del self._requests[kind]
                continue
            request.tries += 1
            request.next_ns = now_ns + REQUEST_RETRY_NS
            self._send(request.message, now_ns, *request.values)

    # --- commands ------------------------------------------------------------------------

    def send_motion(
        self, now_ns: int, target: npt.NDArray[np.int16], mask: int, ttl_ms: int
    ) -> bool:
        """MOTION issued at now_ns, target (n,) int16 counts; False: not sent."""
        if self.status.state is not LinkState.READY:
            return False
        t_us = (self.clock.mcu_us(now_ns) & 0xFFFFFFFF) or 1
        frame = self._encoder.motion(t_us, self.session, ttl_ms, mask, target)
        if not self._write(frame, now_ns):
            return False
        self.status.motion_sent += 1
        return True

    def arm(self, now_ns: int, mode: Mode) -> None:
        """Ask for a mode; the verdict comes as `answer(protocol.ARM)`."""
        self._mode = mode
        self._request(protocol.ARM, now_ns, self.session, mode, 0, self._layout)

    def clear(self, now_ns: int) -> None:
        """Ask to clear every latch; the verdict comes as `answer(protocol.ESTOP_CLEAR)`."""
        boot_id = self.identity.boot_id if self.identity else 0
        self._request(protocol.ESTOP_CLEAR, now_ns, self.session, boot_id)

    def estop(self, reason: EstopReason) -> None:
        """Latch a stop: at once, and twice more; needs no session."""
        self._estop_reason = reason
        self._estops = 3
        self._send_estop(None)

    def answer(self, message: Message) -> Ack | None:
        """The MCU's answer to the last such request, None while it is out."""
        return self.answers.get(message.type)

    def close(self) -> None:
        """Give the transport back."""
        self._transport.close()

    # --- sending -------------------------------------------------------------------------

    def _request(self, message: Message, now_ns: int, *values: int) -> None:
        self.answers.pop(message.type, None)
        self._requests[message.type] = _Request(message, values)
        if self.status.state in (LinkState.READY, LinkState.SYNCING):
            self._repeat(now_ns)

    def _send_estop(self, now_ns: int | None) -> None:
        self._estops -= 1
        self._next_estop_ns = 0 if now_ns is None else now_ns + ESTOP_REPEAT_NS
        self._send(protocol.ESTOP, now_ns, self._estop_reason)

    def _send_hello(self, now_ns: int) -> None:
        self._hellos += 1
        quick = self._hellos < 3 and self.status.state is LinkState.HELLO
        self._next_hello_ns = now_ns + (HELLO_RETRY_NS if quick else HELLO_PAUSE_NS)
        values = (protocol.MAJOR, protocol.MINOR, self._nonce, self._schema)
        self._send(protocol.HELLO, now_ns, *values)

    def _send(self, message: Message, now_ns: int | None, *values: int) -> None:
        synced = now_ns is not None and self.clock.count
        t_us = self.clock.mcu_us(now_ns) & 0xFFFFFFFF if synced and now_ns is not None else 0
        self._write(self._encoder.message(message, t_us, *values), now_ns)

    def _write(self, frame: memoryview, now_ns: int | None) -> bool:
        try:
            taken = self._transport.write(frame)
        except OSError as error:
            self._disconnect(now_ns or 0, str(error))
            return False
        self.bytes_out += taken
        if taken < len(frame):
            self.status.tx_dropped += 1
            return False
        return True

    # --- connection ----------------------------------------------------------------------

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
        self._requests.clear()
        self.clock.reset()
        self._decoder.reset(self.table)

    def _disconnect(self, now_ns: int, reason: str) -> None:
        self.status.state = LinkState.DISCONNECTED
        self.status.reason = reason
        self._next_open_ns = now_ns
        self._transport.close()

    def _reopen(self, now_ns: int) -> None:
        if now_ns >= self._next_open_ns:
            self._next_open_ns = now_ns + REOPEN_NS
            if self._transport.reopen():
                self._connect(now_ns, "reopened, no answer yet")

    # --- messages ------------------------------------------------------------------------

    def _on_hello_ack(self, now_ns: int, rx_ns: int, payload: bytes) -> None:
        found = parse_identity(payload)
        if found.nonce != self._nonce or self.session:
            return
        self.identity = found
        status = self.status
        status.reason = self._mismatch(found)
        if status.reason:
            status.state = LinkState.MISMATCH
            return
        status.state = LinkState.SYNCING
        self.session = found.session
        self._since_ns = now_ns
        self._next_sync_ns = now_ns
        self._next_heartbeat_ns = now_ns

    def _mismatch(self, found: Identity) -> str:
        """Why that MCU is refused; empty: it is not."""
        if (found.major, found.schema) != (protocol.MAJOR, self._schema):
            return (
                f"firmware speaks schema {found.major}.{found.schema:08x}, "
                f"this host {protocol.MAJOR}.{self._schema:08x}; run `companion flash`"
            )
        if found.layout != self._layout:
            return (
                f"firmware is built for another body (layout {found.layout:08x}), this host for "
                f"{self.table.body} ({self._layout:08x}); run `companion flash` or name that body"
            )
        return "" if found.session else "firmware refused the session; power-cycle it"

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
        self.power = parse_power(payload)
        self._decoder.sensors["battery_v"] = self.power.voltage_v

    def _on_fault(self, now_ns: int, rx_ns: int, payload: bytes) -> None:
        self.fault = parse_fault(payload)

    def _on_health(self, now_ns: int, rx_ns: int, payload: bytes) -> None:
        self.health = parse_health(payload)

    def _on_ack(self, now_ns: int, rx_ns: int, payload: bytes) -> None:
        kind, verdict = parse_ack(payload)
        if self._requests.pop(kind, None):
            self.answers[kind] = verdict


def probe(link: Link, timeout_s: float, now: Callable[[], int]) -> Identity:
    """Step the link until its MCU has answered; LinkError where none of ours does."""
    start_ns = now()
    while now() - start_ns < timeout_s * 1e9:
        link.step(now())
        if link.status.state is LinkState.MISMATCH:
            raise LinkError(f"link: {link.status.reason}")
        if link.session and link.identity is not None:
            return link.identity
        fd = link.fileno()
        if fd is not None:
            select.select([fd], [], [], 0.01)
    raise LinkError(
        f"link: HELLO unanswered for {timeout_s:g} s ({link.bytes_in} bytes came); "
        "that port is no MCU of ours, or it is without power: check the port and the cable"
    )
