"""The codec in plain Python, written from protocol.py's text: what C is compared with."""

from __future__ import annotations

import binascii
import struct

from firmware_bridge.protocol import HEADER, MAX_SMP, Message


def crc(data: bytes) -> int:
    return binascii.crc_hqx(data, 0)


def cobs(data: bytes) -> bytes:
    out = bytearray()
    blocks = data.split(b"\0")
    for index, block in enumerate(blocks):
        while len(block) >= 254:
            out += b"\xff" + block[:254]
            block = block[254:]
            if not block and index == len(blocks) - 1:
                return bytes(out)  # a full block at the end needs no empty one behind it
        out.append(len(block) + 1)
        out += block
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
