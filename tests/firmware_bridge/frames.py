"""Messages by their declaration, and the structs of firmware/core.h that a port fills."""

from __future__ import annotations

import ctypes
import struct
from typing import NamedTuple

from firmware_bridge.protocol import HEADER, Message

REBOOT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint8)
SMP = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint8), ctypes.c_size_t)


class Port(ctypes.Structure):
    """firmware/core.h: core_port"""

    _fields_ = [("reboot", REBOOT), ("smp", SMP), ("context", ctypes.c_void_p)]


class Identity(ctypes.Structure):
    """firmware/core.h: core_identity"""

    _fields_ = [
        ("boot_id", ctypes.c_uint32), ("uid", ctypes.c_uint8 * 12), ("image", ctypes.c_uint8 * 8),
        ("version_major", ctypes.c_uint8), ("version_minor", ctypes.c_uint8),
        ("version_patch", ctypes.c_uint16), ("reset_cause", ctypes.c_uint8),
        ("slot", ctypes.c_uint8), ("trial", ctypes.c_uint8),
    ]  # fmt: skip


class Frame(NamedTuple):
    """One message from the core."""

    seq: int
    t_us: int
    fields: dict[str, int]
    items: list[dict[str, object]]


def _fields(fields, data: bytes, at: int) -> tuple[dict[str, object], int]:
    out = {}
    for f in fields:
        layout = struct.Struct("<" + (f.code if f.count == 1 else f"{f.count}{f.code}"))
        values = layout.unpack_from(data, at)
        out[f.name] = values[0] if f.count == 1 else values
        at += layout.size
    return out, at


def parse(m: Message, body: bytes) -> Frame:
    """A body by its declaration."""
    _, seq, t_us = HEADER.unpack_from(body)
    fixed, at = _fields(m.fields, body, HEADER.size)
    items = []
    while m.group and at < len(body):
        item, at = _fields(m.group, body, at)
        items.append(item)
    return Frame(seq, t_us, fixed, items)
