"""The codec in plain Python, written from protocol.py's text: what C is compared with."""

from __future__ import annotations

import binascii
import struct

from firmware_bridge.protocol import HEADER, MAX_SMP, Message


def crc(data: bytes) -> int:
    return binascii.crc_hqx(data, 0)


def cobs(data: bytes) -> bytes:
    """Cheshire and Baker, "Consistent Overhead Byte Stuffing" (1999), block by block.

    A block of 254 bytes without a zero stands alone (code FF): no zero follows it, and none is
    added when the data end with it.
    """
    out = bytearray()
    pieces = data.split(b"\0")
    for index, piece in enumerate(pieces):
        while len(piece) > 254:
            out += b"\xff" + piece[:254]
            piece = piece[254:]
        if len(piece) == 254:
            out += b"\xff" + piece
            if index < len(pieces) - 1:
                out += b"\x01"  # the zero that a full block cannot carry
        else:
            out += bytes([len(piece) + 1]) + piece
    return bytes(out)


def uncobs(data: bytes) -> bytes | None:
    out = bytearray()
    at = 0
    while at < len(data):
        code = data[at]
        if code == 0 or at + code > len(data):
            return None
        out += data[at + 1 : at + code]
        at += code
        if code != 255 and at < len(data):
            out.append(0)
    return bytes(out)


def encode(body: bytes) -> bytes:
    return cobs(body + struct.pack(">H", crc(body))) + b"\0"


def decode(frame: bytes) -> bytes | None:
    plain = uncobs(frame)
    if plain is None or len(plain) < 3 or len(plain) > MAX_SMP + 2:
        return None
    body = plain[:-2]
    return body if struct.unpack(">H", plain[-2:])[0] == crc(body) else None


def _pack(fields, values) -> bytes:
    return b"".join(
        struct.pack("<" + (f.code if f.count == 1 else f"{f.count}{f.code}"), *v)
        for f, v in zip(fields, values, strict=True)
    )


def message(m: Message, seq: int, t_us: int, fixed, items=()) -> bytes:
    """A whole frame; values as one list per field."""
    body = HEADER.pack(m.type, seq, t_us) + _pack(m.fields, fixed)
    for item in items:
        body += _pack(m.group, item)
    return encode(body)
