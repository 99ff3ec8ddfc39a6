"""What is known beside the sensors: the link's state, and the MCU's slow messages in SI units."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from firmware_bridge import protocol
from firmware_bridge.protocol import Ack


class LinkState(Enum):
    """How far the link has come; commands are sent in READY only."""

    DISCONNECTED = "disconnected"
    HELLO = "hello"
    SYNCING = "syncing"
    READY = "ready"
    MISMATCH = "mismatch"


@dataclass(slots=True)
class LinkStatus:
    """Where the link stands; one object, kept up to date."""

    state: LinkState = LinkState.HELLO
    reason: str = "no answer yet"
    connects: int = 0
    rtt_us: float = 0.0
    offset_us: int = 0
    skew_ppm: float = 0.0
    clock_note: str = ""  # what is odd about the MCU's clock
    last_rx_ns: int = 0
    frames: int = 0
    bad: int = 0
    lost: int = 0
    tx_dropped: int = 0
    motion_sent: int = 0
    motion_refused: Ack = Ack.OK  # the MCU's verdict on the last MOTION frame


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answered HELLO."""

    uid: str
    version: str
    major: int
    schema: int
    layout: int
    boot_id: int
    session: int
    nonce: int
    reset_cause: protocol.ResetCause

    def refusal(self, schema: int, layout: int, body: str) -> str:
        """Why a host of that schema and layout refuses this MCU; empty: it does not."""
        if (self.major, self.schema) != (protocol.MAJOR, schema):
            return (
                f"firmware speaks schema {self.major}.{self.schema:08x}, "
                f"this host {protocol.MAJOR}.{schema:08x}; run `companion flash`"
            )
        if self.layout != layout:
            return (
                f"firmware is built for another body (layout {self.layout:08x}), this host for "
                f"{body} ({layout:08x}); run `companion flash` or name that body"
            )
        return "" if self.session else "firmware refused the session; power-cycle it"


@dataclass(frozen=True, slots=True)
class Power:
    """Battery, as the MCU's gauge reads it."""

    voltage_v: float
    current_a: float
    charge: float  # 0..1
    used_wh: float
    temperature_c: float


@dataclass(frozen=True, slots=True)
class Fault:
    """What stops the motors now, and what stopped them and waits for a clear."""

    active: protocol.Fault
    latched: protocol.Fault
    first: protocol.Fault  # 0: none
    detail: int


@dataclass(frozen=True, slots=True)
class Health:
    """The MCU's counters since its boot."""

    rx_ok: int
    rx_bad: int
    rx_overrun: int
    rx_lost: int
    tx_dropped: int
    motion_ok: int
    motion_stale: int
    motion_refused: int
    catch_up: int
    late_max_us: int


@dataclass(frozen=True, slots=True)
class ParamValue:
    """A parameter as the MCU holds it; `code` is its verdict on the request."""

    param: protocol.Param
    code: Ack
    value: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class LogLine:
    """What the MCU says to people; `mcu_us` is its clock."""

    mcu_us: int
    level: protocol.LogLevel
    text: str


NO_FAULT = Fault(protocol.Fault(0), protocol.Fault(0), protocol.Fault(0), 0)


def parse_identity(payload: bytes) -> Identity:
    """HELLO_ACK."""
    values = protocol.HELLO_ACK.layout.unpack(payload)
    major, _, cause, _, nonce, session, boot_id, v_major, v_minor, v_patch = values[:10]
    uid = bytes(values[18:30])
    schema, layout, _ = values[30:]
    plain = uid.rstrip(b"\0")
    text = plain.decode("ascii", "replace")
    return Identity(
        uid=text if plain and plain.isascii() and text.isprintable() else uid.hex(),
        version=f"{v_major}.{v_minor}.{v_patch}",
        major=major,
        schema=schema,
        layout=layout,
        boot_id=boot_id,
        session=session,
        nonce=nonce,
        reset_cause=protocol.ResetCause(min(cause, max(protocol.ResetCause))),
    )


def parse_power(payload: bytes) -> Power:
    """POWER."""
    voltage, current, soc, _, used, temperature, *_ = protocol.POWER.layout.unpack(payload)
    return Power(voltage * 1e-3, current * 1e-3, soc * 1e-2, used * 1e-3, float(temperature))


def parse_fault(payload: bytes) -> Fault:
    """FAULT; without latched bits `first` is none."""
    active, latched, _, code, detail = protocol.FAULT.layout.unpack(payload)
    first = protocol.Fault(1 << code if latched else 0)
    return Fault(protocol.Fault(active), protocol.Fault(latched), first, detail if latched else 0)


def parse_health(payload: bytes) -> Health:
    """HEALTH."""
    return Health(*protocol.HEALTH.layout.unpack(payload))


def parse_ack(payload: bytes) -> tuple[int, Ack]:
    """ACK: the type it answers, and the verdict."""
    kind, _, code, _ = protocol.ACK.layout.unpack(payload)
    return kind, _ack(code)


def parse_param(payload: bytes) -> ParamValue | None:
    """PARAM; None for a parameter that this host does not know."""
    number, code, value, low, high = protocol.PARAM.layout.unpack(payload)
    if number >= len(protocol.Param):
        return None
    return ParamValue(protocol.Param(number), _ack(code), value, low, high)


def parse_log(mcu_us: int, payload: bytes) -> LogLine:
    """LOG."""
    level, *text = protocol.LOG.layout.unpack(payload)
    words = bytes(text).rstrip(b"\0").decode("utf-8", "replace")
    return LogLine(mcu_us, protocol.LogLevel(min(level, max(protocol.LogLevel))), words)


def _ack(code: int) -> Ack:
    """A verdict; one from a newer firmware reads as a refusal all the same."""
    return Ack(code) if code <= max(Ack) else Ack.NO_PARAM
