"""The wire's bytes, through C: a decoder that fills the sensor record, and frame encoders.

The hot path (`Decoder.feed`, `Encoder.motion`) allocates nothing that grows.
"""

from __future__ import annotations

import ctypes
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import MemoryMismatch
from firmware_bridge.limits import JointCommand, LimitTable
from firmware_bridge.memory import address
from firmware_bridge.native import library
from firmware_bridge.protocol import HEADER, MAX_BODY, MOTION, RADIAN, Ack, Message
from firmware_bridge.sensors import MAX_JOINTS, SENSORS
from firmware_bridge.telemetry import LinkStatus

MAX_FRAME = MAX_BODY + 4  # of our messages; SMP frames have a port of their own
QUEUE = 32

# firmware/host.h: host_message
MESSAGE = np.dtype(
    [
        ("type", "u1"),
        ("seq", "u1"),
        ("size", "<u2"),
        ("t_us", "<u4"),
        ("rx_ns", "<i8"),
        ("payload", "u1", MAX_BODY),
    ]
)
# firmware/host.h: host_decoder, up to its queue
DECODER = np.dtype(
    [
        ("batches", "<u8"),
        ("last_rx_ns", "<i8"),
        ("down_best_ns", "<i8"),
        ("mcu_us", "<u8"),
        ("bytes", "<u8"),
        ("frames", "<u8"),
        ("bad", "<u8"),
        ("overrun", "<u8"),
        ("lost", "<u8"),
        ("base_us", "<u8"),
        ("base_ns", "<i8"),
        ("skew_ppb", "<i8"),
        ("down_at_ns", "<i8"),
        ("clocked", "<u4"),
        ("joints", "<u4"),
        ("position_scale", "<f4", MAX_JOINTS),
        ("queued", "<u4"),
        ("queue_full", "<u4"),
        ("ttl_left_ms", "<u2"),
        ("age_ms", "<u2"),
        ("refused", "u1"),
        ("last_seq", "u1"),
        ("started", "u1"),
        ("pad", "u1"),
        ("sensors", SENSORS),
        ("queue", MESSAGE, QUEUE),
    ]
)
ROW = struct.Struct("<BBHIq")  # MESSAGE, up to its payload
QUEUED_AT = int(DECODER.fields["queued"][1])  # type: ignore[index]
QUEUE_AT = int(DECODER.fields["queue"][1])  # type: ignore[index]
NEVER_NS = -(1 << 62)
REFUSED_AT = 104 + 8 + 4 * MAX_JOINTS + 12
ACKS = {int(code): code for code in Ack}


class Decoder:
    """Bytes from the MCU in; `record["sensors"]` and a queue of the other messages out."""

    def __init__(self, table: LimitTable) -> None:
        size = library().host_size()
        if DECODER.itemsize > size:
            raise MemoryMismatch(f"decoder: C has {size} bytes, Python {DECODER.itemsize}; rebuild")
        self._memory = np.zeros(size, np.uint8)
        self.record: npt.NDArray[Any] = self._memory[: DECODER.itemsize].view(DECODER)
        self.sensors: npt.NDArray[Any] = self.record["sensors"]  # (1,) SENSORS, filled in place
        self._raw = self._memory.data
        self._words = self._raw[:104].cast("q")  # the 8-byte fields, in order
        self._queued = self._raw[QUEUED_AT : QUEUED_AT + 4].cast("I")
        self._at = ctypes.c_void_p(address(self._memory))
        self._feed = library().host_feed
        self.reset(table)

    def reset(self, table: LimitTable) -> None:
        """Forget everything: a new session begins. The batch count goes on."""
        batches = self._words[0]
        self._memory[:] = 0
        self._words[0] = batches
        self._words[2] = NEVER_NS
        self.record["joints"] = len(table.joints)
        for index, joint in enumerate(table.joints):
            velocity = joint.command is JointCommand.VELOCITY
            self.record["position_scale"][0, index] = RADIAN if velocity else joint.scale

    @property
    def batches(self) -> int:
        """STATE frames decoded so far."""
        return self._words[0]

    @property
    def last_rx_ns(self) -> int:
        """Arrival of the newest good frame, 0: none."""
        return self._words[1]

    @property
    def byte_count(self) -> int:
        """Bytes fed since the last reset."""
        return self._words[4]

    @property
    def frames(self) -> int:
        """Good frames since the last reset."""
        return self._words[5]

    def tell(self, status: LinkStatus) -> None:
        """Bring the counters of a status up to date."""
        words = self._words
        status.last_rx_ns, status.frames = words[1], words[5]
        status.bad, status.lost = words[6] + words[7], words[8]
        status.motion_refused = ACKS[self._memory[REFUSED_AT]]

    def take_down_best(self) -> tuple[int, int]:
        """The quickest frame since the last call: (arrival, MCU time - arrival) [ns]."""
        best = self._words[12], self._words[2]
        self._words[2] = NEVER_NS
        return best

    def set_mcu_us(self, mcu_us: int) -> None:
        """Bring the high half of the MCU clock; bounds gathered without it are dropped."""
        self._words[3] = mcu_us
        self._words[2] = NEVER_NS

    def set_clock(self, base_us: int, base_ns: int, skew_ppb: int) -> None:
        """From now on stamps are MCU sampling times on the host clock."""
        self._words[9] = base_us
        self._words[10] = base_ns
        self._words[11] = skew_ppb
        self.record["clocked"] = 1

    def feed(self, buffer_at: int, size: int, now_ns: int) -> int:
        """Decode bytes at an address; returns how many messages wait in the queue."""
        return int(self._feed(self._at, buffer_at, size, now_ns))

    def widen(self, t_us: int) -> int:
        """64-bit MCU time of a frame's stamp: the nearest to the newest one seen."""
        newest = self._words[3]
        return newest + ((t_us - newest + 0x80000000) & 0xFFFFFFFF) - 0x80000000

    def take(self) -> list[tuple[int, int, int, bytes]]:
        """The queued messages as (type, stamp us, arrival ns, payload); empties the queue."""
        raw, taken = self._raw, []
        for at in range(QUEUE_AT, QUEUE_AT + self._queued[0] * MESSAGE.itemsize, MESSAGE.itemsize):
            kind, _, size, t_us, rx_ns = ROW.unpack_from(raw, at)
            start = at + ROW.size
            taken.append((kind, t_us, rx_ns, bytes(raw[start : start + size])))
        self._queued[0] = 0
        return taken


class Encoder:
    """Frames to the MCU; each call returns a view of one reused buffer."""

    def __init__(self, joints: int) -> None:
        self.joints = joints
        self._seq = 0
        self._body = np.zeros(MAX_BODY, np.uint8)
        self._out = np.zeros(MAX_FRAME + 2, np.uint8)
        self._target = np.zeros(joints, np.int16)
        self._body_at = ctypes.c_void_p(address(self._body))
        self._out_at = ctypes.c_void_p(address(self._out))
        self._target_at = ctypes.c_void_p(address(self._target))
        self._view = self._out.data
        self._motion = library().host_motion
        self._encode = library().frame_encode

    @property
    def seq(self) -> int:
        """Sequence that the next frame carries."""
        return self._seq

    def motion(
        self, t_us: int, session: int, ttl_ms: int, mask: int, target: npt.NDArray[np.int16]
    ) -> memoryview:
        """A MOTION frame; target (n,) int16 counts in the body's order."""
        self._target[:] = target
        size = self._motion(
            self._out_at, self._seq, t_us, session & 0xFFFF, ttl_ms, mask,
            self._target_at, self.joints,
        )  # fmt: skip
        self._seq = self._seq + 1 & 0xFF
        return self._view[:size]

    def message(self, message: Message, t_us: int, *values: int) -> memoryview:
        """Any message of fixed size."""
        assert message is not MOTION and not message.group
        size = message.layout.size
        HEADER.pack_into(self._body, 0, message.type, self._seq, t_us)  # type: ignore[arg-type]
        message.layout.pack_into(self._body, HEADER.size, *values)  # type: ignore[arg-type]
        self._seq = self._seq + 1 & 0xFF
        size = self._encode(self._body_at, HEADER.size + size, self._out_at)
        return self._view[:size]
