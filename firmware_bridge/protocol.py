"""The wire, declared once; everything that speaks it derives from this file.

The C header, the schema hash, the host codec and the docs table (`python -m
firmware_bridge.protocol`) come from here.

frame = COBS( type u8 | seq u8 | t_us u32 | payload | CRC-16/XMODEM big-endian ) 00, little-endian
payload. `t_us` is the low half of the MCU clock: at sampling (MCU to host) or at issue as the host
estimates it (host to MCU, 0: not synchronised). `seq` counts per direction. Types below 0x20 are
SMP (mcumgr) frames on the same port and carry neither seq nor t_us.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag
from typing import Final

MAJOR: Final = 1
MINOR: Final = 0
SMP_LIMIT: Final = 0x20
HEADER: Final = struct.Struct("<BBI")  # type, seq, t_us
MAX_BODY: Final = 252  # header and payload of our messages; with the CRC still one COBS block
MAX_SMP: Final = 1024  # an SMP frame: the mcumgr buffer both ends know
REBOOT_MAGIC: Final = 0x544F4F42  # "BOOT"


class Mode(IntEnum):
    """MCU modes; only ACTIVE and BENCH drive motors.

    BENCH is for a robot on a stand: one joint at a time, a tenth of the current, a quarter of the
    wheel speed; cliff and lift are not watched, for its wheels are off the ground.
    """

    SAFE = 0
    IDLE = 1
    ACTIVE = 2
    BENCH = 3


class StateFlag(IntFlag):
    """Bits of STATE.flags."""

    SESSION = 1
    SYNCED = 2
    ENABLED = 4
    MOVING = 8
    STOPPING = 16
    TTL_EXPIRED = 32
    HEARTBEAT_LATE = 64
    SENSORS_STALE = 128
    LATCHED = 256
    TRIAL = 512  # this image is on trial: it goes back to the other slot unless it is confirmed


class Fault(IntFlag):
    """Bits of FAULT.active and FAULT.latched; a latched one keeps motors off until ESTOP_CLEAR."""

    ESTOP = 1
    STOP_INPUT = 2
    BUMPER = 4
    CLIFF = 8
    OPPOSING = 16  # measured motion against the command: swapped polarity, pushed
    STALLED = 32  # commanded and not moving: unplugged encoder, jammed wheel
    OVERCURRENT = 64
    CONTACT = 128  # near the current limit without accelerating
    HEARTBEAT = 256  # the host was silent for 1 s while active
    SENSORS = 512  # no sensor data
    IMU_GAP = 1024  # IMU samples repeat; stops nothing by itself
    LIFT = 2048  # no floor under any cliff sensor
    BROWN_OUT = 4096  # battery below the body's brown-out voltage while driving


class Ack(IntEnum):
    """ACK.code, and STATE.refused for MOTION."""

    OK = 0
    NO_SESSION = 1
    WRONG_LAYOUT = 2
    LATCHED = 3
    NOT_SYNCED = 4
    STALE = 5
    BAD_TTL = 6
    NOT_ACTIVE = 7
    CAUSE_PRESENT = 8
    BAD_SIZE = 9
    FROM_FUTURE = 10
    REORDERED = 11
    BAD_MODE = 12
    NO_SENSORS = 13
    NO_HEARTBEAT = 14
    WRONG_BOOT = 15
    ONE_JOINT = 16  # BENCH moves one joint at a time
    NO_PARAM = 17
    OUT_OF_RANGE = 18
    BAD_MAGIC = 19
    ON_TRIAL = 20


class LedMode(IntEnum):
    """What the LED ring shows; the MCU decides."""

    DISARMED = 0
    ARMED = 1
    MOVING = 2
    STOPPED = 3
    FAULT = 4


class ResetCause(IntEnum):
    """HELLO_ACK.reset_cause."""

    POWER = 0
    SOFTWARE = 1
    WATCHDOG = 2
    BROWN_OUT = 3


class EstopReason(IntEnum):
    """ESTOP.reason."""

    OPERATOR = 0
    SUPERVISOR = 1
    CONTROLLER = 2
    TEST = 3


class Reboot(IntEnum):
    """REBOOT.target."""

    APPLICATION = 0
    LOADER = 1


class LogLevel(IntEnum):
    """LOG.level."""

    INFO = 0
    WARNING = 1
    ERROR = 2


class Param(IntEnum):
    """What a host may set while nothing is driven; gone with the next boot."""

    TTL_MAX_MS = 0
    HEARTBEAT_STOP_MS = 1
    CURRENT_PERMILLE = 2
    SPEED_PERMILLE = 3
    CONTACT_PERMILLE = 4
    LED_PERMILLE = 5


ENUMS: Final = (
    Mode,
    StateFlag,
    Fault,
    Ack,
    LedMode,
    ResetCause,
    EstopReason,
    Reboot,
    LogLevel,
    Param,
)


@dataclass(frozen=True, slots=True)
class ParamRow:
    """Range and start value of a parameter; the widest allowed value is where it starts."""

    low: int
    high: int
    start: int
    note: str


PARAMS: Final = {
    Param.TTL_MAX_MS: ParamRow(20, 200, 200, "longest time-to-live of a MOTION"),
    Param.HEARTBEAT_STOP_MS: ParamRow(
        60, 250, 250, "heartbeat silence after which motors ramp down"
    ),
    Param.CURRENT_PERMILLE: ParamRow(50, 1000, 1000, "of each joint's current limit"),
    Param.SPEED_PERMILLE: ParamRow(50, 1000, 1000, "of each wheel's top speed"),
    Param.CONTACT_PERMILLE: ParamRow(300, 800, 800, "of the current limit that counts as pushing"),
    Param.LED_PERMILLE: ParamRow(50, 1000, 1000, "brightness of the LED ring"),
}


class Repeat(Enum):
    """How often a message's repeated group stands on the wire."""

    NONE = "-"
    JOINTS = "joint of the body"
    SAMPLES = "IMU sample of a control period"


@dataclass(frozen=True, slots=True)
class Field:
    """One field: struct code, unit, SI units per count (0: body-declared), array length."""

    name: str
    code: str
    unit: str = ""
    scale: float = 1.0
    count: int = 1


@dataclass(frozen=True, slots=True)
class Message:
    """One message: fixed fields, then one group of fields repeated."""

    type: int
    name: str
    rate: str
    note: str
    fields: tuple[Field, ...]
    repeat: Repeat = Repeat.NONE
    group: tuple[Field, ...] = ()

    @property
    def to_host(self) -> bool:
        """MCU to host; the other half of the types is host to MCU."""
        return self.type >= 0x80

    @property
    def layout(self) -> struct.Struct:
        """Fixed part on the wire."""
        return struct.Struct("<" + "".join(_code(f) for f in self.fields))

    def size(self, repeats: int = 0) -> int:
        """Payload bytes with the group repeated so often."""
        one = struct.calcsize("<" + "".join(_code(f) for f in self.group))
        return self.layout.size + one * repeats


def _code(f: Field) -> str:
    return f.code if f.count == 1 else f"{f.count}{f.code}"


# fmt: off
SESSION = Field("session", "I")
RADIAN = 1e-4  # scale of STATE.position of velocity joints
MILLI = 1e-3

HELLO = Message(0x20, "hello", "on connect", "every 100 ms until answered; a new nonce opens a new session "
    "and disarms; other major or schema: only SMP and ESTOP are heard",
    (Field("major", "B"), Field("minor", "B"), Field("nonce", "I"), Field("schema", "I")))
SYNC_REQ = Message(0x21, "sync_req", "100 Hz for 4 s, then 50 Hz", "sync is invalid after 10 s without",
    (Field("host_t0_ns", "Q", "ns"),))
HEARTBEAT = Message(0x22, "heartbeat", "20 Hz", "250 ms without: controlled stop; 1 s: disarm "
    "(latched when a mode drives)", (SESSION, Field("mode", "B"), Field("flags", "B")))
ARM = Message(0x23, "arm", "event, ACKed", "refused on latched faults, wrong layout, no sync, "
    "no sensors; starts from the measured pose",
    (SESSION, Field("mode", "B"), Field("pad", "B"), Field("layout", "I")))
ESTOP = Message(0x24, "estop", "event, 3 x 10 ms", "needs no session; latches within one tick",
    (Field("reason", "B"),))
ESTOP_CLEAR = Message(0x25, "estop_clear", "event, ACKed", "clears every latch; only in SAFE and "
    "with the cause gone; goes to IDLE, never ACTIVE", (SESSION, Field("boot_id", "I")))
MOTION = Message(0x28, "motion", "100 Hz", "refused when older than its ttl, issued without sync, "
    "or in a mode that drives nothing; stop ramp at t_us + ttl",
    (Field("session_lo", "H"), Field("ttl_ms", "H", "s", MILLI), Field("mask", "H")),
    Repeat.JOINTS, (Field("target", "h", "body", 0.0),))
PARAM_GET = Message(0x30, "param_get", "event", "answered by PARAM", (Field("id", "H"),))
PARAM_SET = Message(0x31, "param_set", "event", "answered by PARAM; refused while a mode drives, and "
    "outside the parameter's range: a host tightens, it never widens",
    (SESSION, Field("id", "H"), Field("pad", "H"), Field("value", "i")))
REBOOT = Message(0x38, "reboot", "event, ACKed", "only in SAFE; to the loader or the application",
    (SESSION, Field("magic", "I"), Field("target", "B"), Field("pad", "B", count=3)))
HELLO_ACK = Message(0xA0, "hello_ack", "reply", "session 0: refused; a new boot_id makes the host "
    "drop its state", (
        Field("major", "B"), Field("minor", "B"), Field("reset_cause", "B"), Field("slot", "B"),
        Field("nonce", "I"), SESSION, Field("boot_id", "I"),
        Field("version_major", "B"), Field("version_minor", "B"), Field("version_patch", "H"),
        Field("image", "B", count=8), Field("uid", "B", count=12),
        Field("schema", "I"), Field("layout", "I"), Field("caps", "I"),
    ))
SYNC_RSP = Message(0xA1, "sync_rsp", "reply", "full 64-bit clock",
    (Field("host_t0_ns", "Q", "ns"), Field("rx_us", "Q", "us"), Field("tx_us", "Q", "us")))
IMU = Message(0xA2, "imu", "100 Hz", "t_us: first sample; flags bit 0: a sample repeats",
    (Field("n", "B"), Field("flags", "B"), Field("temperature", "h", "degC", 0.01)),
    Repeat.SAMPLES, (Field("dt_us", "H", "us"), Field("accel", "h", "m/s2", 0.005, 3),
                     Field("gyro", "h", "rad/s", MILLI, 3)))
STATE = Message(0xA3, "state", "100 Hz", "right behind IMU; 50 ms without: degraded, 200 ms: lost",
    (
        Field("mode", "B"), Field("motion_seq", "B"), Field("flags", "H"),
        Field("limited", "H"), Field("range_mm", "H", "m", MILLI),
        Field("cliff", "B"), Field("bumper", "B"), Field("stop_ok", "B"), Field("refused", "B"),
        Field("ttl_left_ms", "H", "s", MILLI), Field("age_ms", "H", "s", MILLI),
    ),
    Repeat.JOINTS, (Field("position", "i", "rad (velocity joints: 1e-4)", 0.0),
                    Field("velocity", "h", "rad/s", MILLI), Field("current", "h", "A", MILLI)))
POWER = Message(0xA4, "power", "5 Hz", "2 s without: unknown",
    (
        Field("voltage", "H", "V", MILLI), Field("current", "h", "A", MILLI),
        Field("soc", "B", "%"), Field("flags", "B"), Field("used", "I", "Wh", MILLI),
        Field("temperature", "b", "degC"), Field("pad", "B", count=3),
    ))
FAULT = Message(0xA5, "fault", "on change, 1 Hz", "code: bit number of the first latched fault; "
    "detail: its joint or input bits", (Field("active", "I"), Field("latched", "I"),
    Field("first_t_us", "I", "us"), Field("code", "H"), Field("detail", "H")))
HEALTH = Message(0xA6, "health", "1 Hz", "counters since boot", (
    Field("rx_ok", "I"), Field("rx_bad", "I"), Field("rx_overrun", "I"), Field("rx_lost", "I"),
    Field("tx_dropped", "I"),
    Field("motion_ok", "I"), Field("motion_stale", "I"), Field("motion_refused", "I"),
    Field("catch_up", "I"), Field("late_max_us", "I", "us"),
    ))
ACK = Message(0xA7, "ack", "reply", "of ARM, ESTOP_CLEAR and REBOOT; value: mode after it",
    (Field("of_type", "B"), Field("of_seq", "B"), Field("code", "H"), Field("value", "I")))
LOG = Message(0xA8, "log", "event", "text for people, zero-padded; dropped first when the port is full",
    (Field("level", "B"), Field("text", "B", count=63)))
PARAM = Message(0xA9, "param", "reply", "code: an ACK code; value is the one that holds",
    (Field("id", "H"), Field("code", "H"), Field("value", "i"), Field("low", "i"),
     Field("high", "i")))

MESSAGES: Final = (
    HELLO, SYNC_REQ, HEARTBEAT, ARM, ESTOP, ESTOP_CLEAR, MOTION, PARAM_GET, PARAM_SET, REBOOT,
    HELLO_ACK, SYNC_RSP, IMU, STATE, POWER, FAULT, HEALTH, ACK, LOG, PARAM,
)

# fmt: on


def schema_crc() -> int:
    """CRC-32 of everything both ends must agree on: layouts, scales, enums; not the prose."""
    shape = [
        (m.type, m.name, m.repeat.name, [repr(f) for f in m.fields + m.group]) for m in MESSAGES
    ]
    choices = [(e.__name__, [(c.name, c.value) for c in e]) for e in ENUMS]
    ranges = [(p.name, row.low, row.high, row.start) for p, row in PARAMS.items()]
    return zlib.crc32(repr((MAJOR, shape, choices, ranges)).encode())


def markdown() -> str:
    """The message table for the docs."""
    rows = [
        "| type | name | direction | rate | payload | behaviour |",
        "|---|---|---|---|---|---|",
    ]
    for m in MESSAGES:
        way = "MCU > host" if m.to_host else "host > MCU"
        payload = ", ".join(_describe(f) for f in m.fields)
        if m.group:
            payload += f"; per {m.repeat.value}: " + ", ".join(_describe(f) for f in m.group)
        rows.append(
            f"| {m.type:02X} | {m.name.upper()} | {way} | {m.rate} | {payload} | {m.note} |"
        )
    return "\n".join(rows)


def _describe(f: Field) -> str:
    kind = ("u" if f.code.isupper() else "i") + str(8 * struct.calcsize("<" + f.code))
    length = f"[{f.count}]" if f.count > 1 else ""
    scale = "" if f.scale in (0.0, 1.0) else f"{f.scale:g} "
    unit = f" ({scale}{f.unit})" if f.unit else ""
    return f"{f.name} {kind}{length}{unit}"


if __name__ == "__main__":
    print(markdown())  # noqa: T201
