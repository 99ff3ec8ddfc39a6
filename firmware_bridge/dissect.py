"""Frames as people read them: every field by name in SI units, and what is wrong with a broken one.

For tools and logs; the loop has the C decoder of `codec.py`.
"""

from __future__ import annotations

import binascii
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag

from firmware_bridge import protocol
from firmware_bridge.limits import JointCommand, LimitTable
from firmware_bridge.protocol import HEADER, MAX_SMP, MESSAGES, Field, Message, Repeat

Value = float | int | str
BY_TYPE = {m.type: m for m in MESSAGES}
LONGEST = MAX_SMP + 2 + (MAX_SMP + 2) // 254 + 2  # an SMP frame and its framing
TEXT = {("log", "text"), ("hello_ack", "uid")}
HEX = {("hello_ack", "image"), ("hello", "nonce"), ("hello_ack", "nonce"), ("hello", "schema"),
       ("hello_ack", "schema"), ("hello_ack", "layout"), ("hello_ack", "boot_id"), ("estop_clear", "boot_id"), ("arm", "layout"),
       ("reboot", "magic")} | {(m.name, "session") for m in MESSAGES}  # fmt: skip
ABSENT = {("state", "range_mm"): "nothing", ("state", "age_ms"): "never"}  # at 0xFFFF
SECONDS = {"us": 1e-6, "ns": 1e-9}
NAMES: dict[tuple[str, str], type[IntEnum] | type[IntFlag]] = {
    ("heartbeat", "mode"): protocol.Mode,
    ("arm", "mode"): protocol.Mode,
    ("state", "mode"): protocol.Mode,
    ("state", "flags"): protocol.StateFlag,
    ("state", "refused"): protocol.Ack,
    ("estop", "reason"): protocol.EstopReason,
    ("fault", "active"): protocol.Fault,
    ("fault", "latched"): protocol.Fault,
    ("hello_ack", "reset_cause"): protocol.ResetCause,
    ("reboot", "target"): protocol.Reboot,
    ("log", "level"): protocol.LogLevel,
    ("ack", "code"): protocol.Ack,
    ("param", "code"): protocol.Ack,
    ("param", "id"): protocol.Param,
    ("param_get", "id"): protocol.Param,
    ("param_set", "id"): protocol.Param,
}


class Broken(Enum):
    """Why a frame cannot be read."""

    SHORT = "too short"
    LONG = "longer than any frame"
    COBS = "a COBS code runs past its end"
    CRC = "wrong CRC"
    TYPE = "unknown type"
    SIZE = "wrong size for its type"


@dataclass(frozen=True, slots=True)
class Reading:
    """One field of one frame in SI units; `of` names the joint or sample it belongs to."""

    name: str
    values: tuple[Value, ...]
    unit: str
    of: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, whole or broken; `name` is upper case as in the docs, `SMP`, or `?`."""

    name: str
    raw: bytes  # as on the wire, without its delimiter
    seq: int = 0
    t_us: int = 0
    readings: tuple[Reading, ...] = ()
    broken: Broken | None = None
    to_host: bool = True  # by its type
    payload: bytes = b""


class Splitter:
    """Cuts the bytes of one direction into dissected frames."""

    def __init__(self, table: LimitTable) -> None:
        self._table = table
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that these bytes complete."""
        *whole, rest = (bytes(self._rest) + data).split(b"\0")
        self._rest = bytearray(rest[: 2 * LONGEST])  # noise without an end does not grow
        for raw in whole:
            if raw:
                yield dissect(raw, self._table)


def dissect(raw: bytes, table: LimitTable) -> Frame:
    """One frame without its delimiter."""
    if len(raw) > LONGEST:
        return Frame("?", raw, broken=Broken.LONG)
    plain = _uncobs(raw)
    if plain is None:
        return Frame("?", raw, broken=Broken.COBS)
    if len(plain) < 3:
        return Frame("?", raw, broken=Broken.SHORT)
    body = plain[:-2]
    if binascii.crc_hqx(body, 0) != int.from_bytes(plain[-2:], "big"):
        return Frame("?", raw, broken=Broken.CRC)
    if body[0] < protocol.SMP_LIMIT:
        return Frame("SMP", raw, payload=body)
    if len(body) < HEADER.size:
        return Frame("?", raw, broken=Broken.SHORT)
    kind, seq, t_us = HEADER.unpack_from(body)
    payload = body[HEADER.size :]
    message = BY_TYPE.get(kind)
    if message is None:
        return Frame(f"? {kind:02X}", raw, seq, t_us, (), Broken.TYPE, kind >= 0x80, payload)
    readings = _read(message, payload, table)
    broken = Broken.SIZE if readings is None else None
    name = message.name.upper()
    return Frame(name, raw, seq, t_us, readings or (), broken, message.to_host, payload)


def _uncobs(raw: bytes) -> bytes | None:
    """Consistent Overhead Byte Stuffing (Cheshire and Baker, 1999), undone."""
    out = bytearray()
    at = 0
    while at < len(raw):
        code = raw[at]
        if at + code > len(raw):
            return None
        out += raw[at + 1 : at + code]
        at += code
        if code < 255 and at < len(raw):
            out.append(0)
    return bytes(out)


def _read(message: Message, payload: bytes, table: LimitTable) -> tuple[Reading, ...] | None:
    """All fields; None when the payload has not the size of its message."""
    repeats = 0
    if message.repeat is Repeat.JOINTS:
        repeats = len(table.joints)
    elif message.repeat is Repeat.SAMPLES and payload:
        repeats = payload[0]
    if len(payload) != message.size(repeats):
        return None
    out: list[Reading] = []
    at = 0
    for f in message.fields:
        at = _field(message, f, payload, at, out)
    for index in range(repeats):
        for f in message.group:
            at = _field(message, f, payload, at, out, index, table)
    return tuple(out)


def _field(
    message: Message,
    f: Field,
    payload: bytes,
    at: int,
    out: list[Reading],
    index: int = 0,
    table: LimitTable | None = None,
) -> int:
    """Append one field; returns where the next one stands."""
    layout = struct.Struct(f"<{f.count}{f.code}")
    counts = layout.unpack_from(payload, at)
    if f.name != "pad":
        out.append(_reading(message, f, counts, index, table))
    return at + layout.size


def _reading(
    message: Message, f: Field, counts: tuple[int, ...], index: int, table: LimitTable | None
) -> Reading:
    key = message.name, f.name
    if key in NAMES:
        return Reading(f.name, (_name(NAMES[key], counts[0]),), "")
    if key in TEXT:
        return Reading(f.name, (_text(bytes(counts)),), "")
    if key in HEX:
        hexed = bytes(counts).hex() if f.count > 1 else f"{counts[0]:08x}"
        return Reading(f.name, (hexed,), "")
    scale, unit, of = f.scale, f.unit, ""
    if table is not None and message.repeat is Repeat.JOINTS:
        joint = table.joints[index]
        of, velocity = joint.name, joint.command is JointCommand.VELOCITY
        if f.name == "target":
            scale, unit = joint.scale, "rad/s" if velocity else "rad"
        elif f.name == "position":
            scale, unit = protocol.RADIAN if velocity else joint.scale, "rad"
    elif table is not None:
        of = str(index + 1)
    name = re.sub("_(mm|ms|us|ns)$", "", f.name)
    if key in ABSENT and counts[0] == 0xFFFF:
        return Reading(name, (ABSENT[key],), "")
    if unit in SECONDS:
        scale, unit = SECONDS[unit], "s"
    values: tuple[Value, ...] = counts if scale == 1.0 else tuple(c * scale for c in counts)
    return Reading(name, values, unit, of)


def _name(kind: type[IntEnum] | type[IntFlag], value: int) -> str:
    if issubclass(kind, IntFlag):
        names = [bit.name or "" for bit in kind if value & bit]
        rest = value & ~sum(kind)
        return "|".join(names + ([hex(rest)] if rest else [])) or "-"
    return next((c.name for c in kind if c.value == value), str(value))


def _text(data: bytes) -> str:
    plain = data.rstrip(b"\0")
    text = plain.decode("utf-8", "replace")
    return text if text.isprintable() else plain.hex()
