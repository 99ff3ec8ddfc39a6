"""The session with one MCU: HELLO, clock, heartbeat, silence; the states of `reconnect.py`."""

from __future__ import annotations

from firmware_bridge import protocol, telemetry
from firmware_bridge.clock_sync import ClockSync
from firmware_bridge.codec import Decoder
from firmware_bridge.limits import LimitTable
from firmware_bridge.outbox import Outbox
from firmware_bridge.protocol import Mode
from firmware_bridge.reconnect import (
    HEARTBEAT_NS,
    HELLO_NS,
    LOST_NS,
    NEXT,
    QUIET_NS,
    REOPEN_NS,
    SYNC_FAST_FOR_NS,
    SYNC_FAST_NS,
    SYNC_NS,
    Event,
)
from firmware_bridge.telemetry import Identity, LinkState, LinkStatus

DEAF_BYTES = 64  # so many bytes without one good frame: another rate, or another protocol
DEAF = "bytes come and no frame decodes: is the rate right, at both ends? (or it is no MCU of ours)"
ECHO = "our own bytes come back: TX and RX are joined, by a jumper or by an adapter that echoes"


class Connection:
    """Keeps one session; what it decides stands in `status`."""

    def __init__(
        self, table: LimitTable, decoder: Decoder, outbox: Outbox, status: LinkStatus
    ) -> None:
        self.clock = ClockSync()
        self.identity: Identity | None = None
        self.session = 0
        self.mode = Mode.SAFE  # the newest that was asked for
        self.status = status
        self.next_sync_ns = 0
        self.next_heartbeat_ns = 0
        self.layout = table.crc()
        self.schema = protocol.schema_crc()
        self._table, self._decoder, self._outbox = table, decoder, outbox
        self._nonce = 0
        self._next_hello_ns = 0
        self._next_open_ns = 0
        self._since_ns = 0  # when this state's silence began to count

    @property
    def open(self) -> bool:
        """Whether a session stands."""
        return self.status.state in (LinkState.READY, LinkState.SYNCING)

    def mcu_low(self, now_ns: int) -> int:
        """MCU clock as frames carry it; 0 means not synchronised, so the true 0 becomes 1."""
        return (self.clock.mcu_us(now_ns) & 0xFFFFFFFF) or 1 if self.clock.count else 0

    def connect(self, now_ns: int, reason: str, event: Event = Event.SILENT) -> None:
        """Ask for a new session, at the start or after an event."""
        if self.status.state is not LinkState.HELLO:
            self._go(event, reason)
        self.status.reason = reason
        mixed = now_ns // 1000 ^ (self.status.connects + 1) * 0x9E3779B9
        self._nonce = mixed & 0xFFFFFFFF
        self._next_hello_ns = now_ns
        self._begin(now_ns, 0)

    def lose(self, now_ns: int, error: OSError) -> None:
        """The port is gone."""
        if self.status.state is not LinkState.DISCONNECTED:
            self._go(Event.PORT_LOST, str(error))
        self._next_open_ns = now_ns

    def reopen_due(self, now_ns: int) -> bool:
        """Whether to try the port again now."""
        if now_ns < self._next_open_ns:
            return False
        self._next_open_ns = now_ns + REOPEN_NS
        return True

    def step(self, now_ns: int) -> None:
        """Send what is due; notice silence."""
        quiet_ns = now_ns - max(self._decoder.last_rx_ns, self._since_ns)
        state = self.status.state
        if state is LinkState.HELLO:
            if self._decoder.byte_count >= DEAF_BYTES and not self._decoder.frames:
                self.status.reason = DEAF
        elif quiet_ns > LOST_NS:
            self.connect(now_ns, "the MCU has been silent for 1 s")
        unsure = not self.open or quiet_ns > QUIET_NS
        if unsure and now_ns >= self._next_hello_ns:
            self._next_hello_ns = now_ns + HELLO_NS
            values = (protocol.MAJOR, protocol.MINOR, self._nonce, self.schema)
            self._outbox.send(protocol.HELLO, 0, *values)
        if self.open:
            self._keep(now_ns)

    def _keep(self, now_ns: int) -> None:
        """Clock and heartbeat of an open session."""
        t_us = self.mcu_low(now_ns)
        if now_ns >= self.next_sync_ns:
            fast = now_ns - self._since_ns < SYNC_FAST_FOR_NS or not self.clock.valid(now_ns)
            self.next_sync_ns = now_ns + (SYNC_FAST_NS if fast else SYNC_NS)
            self._outbox.send(protocol.SYNC_REQ, t_us, now_ns)
        if now_ns >= self.next_heartbeat_ns:
            self.next_heartbeat_ns = now_ns + HEARTBEAT_NS
            self._outbox.send(protocol.HEARTBEAT, t_us, self.session, self.mode, 0)

    def on_hello_ack(self, now_ns: int, payload: bytes) -> bool:
        """An MCU answers; True: a session begins."""
        found = telemetry.parse_identity(payload)
        ours = self.session and found.session == self.session
        if found.nonce != self._nonce or ours:
            return False
        refusal = found.refusal(self.schema, self.layout, self._table.body)
        restarted = self.open
        self.identity = found
        if refusal:
            self.session = 0
            self._go(Event.REFUSED, refusal)
            return False
        reason = f"the MCU restarted ({found.reset_cause.name.lower()})" if restarted else ""
        self._go(Event.RESTARTED if restarted else Event.ANSWERED, reason)
        self._begin(now_ns, found.session)
        return True

    def on_sync(self, now_ns: int, rx_ns: int, payload: bytes) -> None:
        """One exchange of the clock."""
        t0_ns, mcu_rx_us, mcu_tx_us = protocol.SYNC_RSP.layout.unpack(payload)
        if not self.open or not self._since_ns <= t0_ns <= rx_ns:
            return  # of another session
        decoder, clock, status = self._decoder, self.clock, self.status
        if not clock.count:
            decoder.set_mcu_us(mcu_rx_us)
        down_at_ns, down_ns = decoder.take_down_best()
        answer_ns = mcu_tx_us * 1000 - rx_ns
        if answer_ns > down_ns:
            down_at_ns, down_ns = rx_ns, answer_ns
        clock.add(t0_ns, mcu_rx_us, down_at_ns, down_ns)
        status.rtt_us = clock.rtt_ns / 1000
        status.offset_us = clock.offset_ns // 1000
        status.skew_ppm = clock.skew_ppb / 1000
        status.clock_note = clock.note
        if clock.valid(now_ns) and not clock.refusal:
            decoder.set_clock(clock.mcu_us(clock.base_ns), clock.base_ns, -clock.skew_ppb)
            if status.state is LinkState.SYNCING:
                self._go(Event.SETTLED, "")
        elif status.state is LinkState.READY or (clock.valid(now_ns) and clock.refusal):
            self._go(Event.UNTIMED, clock.refusal or "the MCU's clock jumped")

    def _begin(self, now_ns: int, session: int) -> None:
        """Forget what belonged to the session before."""
        self.session = session
        self.status.connects += session == 0
        self.mode = Mode.SAFE
        self._since_ns = now_ns
        self.next_sync_ns = self.next_heartbeat_ns = now_ns
        self.clock.reset()
        self._outbox.forget()
        self._decoder.reset(self._table)

    def _go(self, event: Event, reason: str) -> None:
        self.status.state = NEXT[self.status.state, event]
        self.status.reason = reason
