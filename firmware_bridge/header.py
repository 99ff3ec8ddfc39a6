"""C headers generated from the wire and from a body's limits, and the same limits as bytes."""

from __future__ import annotations

import struct
from enum import IntFlag

from firmware_bridge import protocol
from firmware_bridge.limits import MAX_JOINTS, LimitTable
from firmware_bridge.protocol import Field, Message, Repeat
from firmware_bridge.sensors import IMU_SAMPLES

C_TYPES = {
    "B": "uint8_t", "b": "int8_t", "H": "uint16_t", "h": "int16_t",
    "I": "uint32_t", "i": "int32_t", "Q": "uint64_t",
}  # fmt: skip

# firmware/limits.h: `limit_table` and its `joint_limit`, in the order of their fields
TABLE = struct.Struct("<IIIIIBBBBII")
JOINT = struct.Struct("<IiiiiiiiI")


def protocol_header() -> str:
    """protocol_gen.h: packed structs, types, enums and scales of every message."""
    lines = [
        "/* Generated from firmware_bridge/protocol.py; do not edit. */",
        "#ifndef COMPANION_PROTOCOL_GEN_H",
        "#define COMPANION_PROTOCOL_GEN_H",
        "#include <stdint.h>",
        "#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__",
        '#error "the wire is little-endian and its structs are used in place"',
        "#endif",
        f"#define PROTOCOL_MAJOR {protocol.MAJOR}",
        f"#define PROTOCOL_MINOR {protocol.MINOR}",
        f"#define SCHEMA_CRC 0x{protocol.schema_crc():08X}u",
        f"#define SMP_LIMIT 0x{protocol.SMP_LIMIT:02X}",
        f"#define HEADER_SIZE {protocol.HEADER.size}",
        f"#define MAX_BODY {protocol.MAX_BODY}",
        f"#define MAX_SMP {protocol.MAX_SMP}",
        f"#define REBOOT_MAGIC 0x{protocol.REBOOT_MAGIC:08X}u",
        f"#define MAX_JOINTS {MAX_JOINTS}",
        f"#define IMU_SAMPLES {IMU_SAMPLES}",
    ]
    for enum in protocol.ENUMS:
        suffix = "u" if issubclass(enum, IntFlag) else ""
        stem = "".join("_" + c if c.isupper() else c.upper() for c in enum.__name__).lstrip("_")
        lines += [f"#define {stem}_{c.name} {c.value}{suffix}" for c in enum]
    rows = ", ".join(f"{{{r.low}, {r.high}, {r.start}}}" for r in protocol.PARAMS.values())
    lines += [f"#define PARAMS {len(protocol.PARAMS)}", f"#define PARAM_ROWS {{{rows}}}"]
    for message in protocol.MESSAGES:
        lines += _message(message)
    return "\n".join([*lines, "#endif", ""])


def _message(message: Message) -> list[str]:
    upper, lower = message.name.upper(), message.name
    lines = [f"#define MSG_{upper} 0x{message.type:02X}"]
    lines += [
        f"#define {upper}_{f.name.upper()}_SCALE {f.scale:.9g}f"
        for f in message.fields + message.group
        if f.scale not in (0.0, 1.0)
    ]
    if message.group:
        members = " ".join(_member(f) for f in message.group)
        lines.append(f"typedef struct __attribute__((packed)) {{ {members} }} {lower}_item;")
    members = " ".join(_member(f) for f in message.fields)
    if message.group:
        most = "MAX_JOINTS" if message.repeat is Repeat.JOINTS else "IMU_SAMPLES"
        members += f" {lower}_item item[{most}];"
    return [
        *lines,
        f"typedef struct __attribute__((packed)) {{ {members} }} msg_{lower};",
        f"#define {upper}_FIXED {message.size()}",
    ]


def _member(f: Field) -> str:
    return f"{C_TYPES[f.code]} {f.name}{f'[{f.count}]' if f.count > 1 else ''};"


def _table_values(table: LimitTable) -> list[int]:
    return [
        table.crc(),
        len(table.joints),
        1_000_000 // table.control_hz,
        1_000_000 // table.imu_hz,
        table.motion_ttl_ms,
        table.has_range,
        table.cliffs,
        table.has_bumper,
        table.has_stop,
        table.led_count,
        table.brown_out_mv,
    ]


def _joint_values(table: LimitTable) -> list[list[int]]:
    return [
        [
            j.velocity_joint,
            j.position_min,
            j.position_max,
            j.velocity_max,
            j.acceleration_max,
            j.jerk_max,
            j.stop_deceleration,
            j.current_max_ma,
            j.scale_nano,
        ]
        for j in table.counts()
    ]


def packed_limits(table: LimitTable) -> bytes:
    """`limit_table` of firmware/limits.h as bytes, for the shared library."""
    joints = b"".join(JOINT.pack(*values) for values in _joint_values(table))
    return TABLE.pack(*_table_values(table)) + joints.ljust(JOINT.size * MAX_JOINTS, b"\0")


def limits_header(table: LimitTable) -> str:
    """limits_gen.h: the same integers, compiled into a firmware image."""
    joints = ",\n".join("    {" + ", ".join(map(_c, v)) + "}" for v in _joint_values(table))
    values = ", ".join(map(_c, _table_values(table)))
    return (
        f"/* Generated from the body {table.body}; do not edit. */\n"
        "#ifndef COMPANION_LIMITS_GEN_H\n#define COMPANION_LIMITS_GEN_H\n"
        '#include "limits.h"\n'
        f"static const limit_table LIMITS = {{{values}, {{\n{joints}\n}}}};\n#endif\n"
    )


def _c(value: int) -> str:
    return f"{int(value)}u" if value > 0x7FFFFFFF else str(int(value))
