"""The one table of channels: name, record, rate, depth, when stale, how often logged, who writes.

A channel is a ring of fixed-size records in shared memory (single writer, many readers). Control
reads the newest without blocking; perception cuts the samples between two frame times; the recorder
drains all since its last sequence and counts what it missed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firmware_bridge.memory import Memory
from firmware_bridge.ring import Ring
from firmware_bridge.sensors import SENSORS
from models.layout import GOAL_SIZE
from runtime.errors import ChannelError
from runtime.surprise import SURPRISE_CHANNELS

Record = npt.NDArray[np.void]

MAX_ACTIONS = 8
MAX_PEOPLE = 8
FRAME_PX = 64
EVENT_TEXT = 160

SENT = np.dtype([  # what the controller really sent, after the gate
    ("t_ns", "<i8"), ("target", "<i4", 16), ("action", "<f4", MAX_ACTIONS),
    ("wanted", "<f4", MAX_ACTIONS), ("belief_seq", "<u4"), ("mode", "u1"), ("skill", "u1"),
    ("limited", "u1"), ("armed", "u1"),
])  # fmt: skip
TICK = np.dtype([  # one control period; fields ending in _wall_us are wall timings, not logged truth
    ("t_ns", "<i8"), ("tick_wall_us", "<f4"), ("sensor_to_command_wall_us", "<f4"),
    ("late_wall_us", "<f4"), ("policy_wall_us", "<f4"), ("number", "<u4"), ("sent", "u1"),
    ("fallback", "u1"), ("pad", "u1", 6),
])  # fmt: skip
STATUS = np.dtype([  # the controller's state, for the page, `why` and the mind
    ("t_ns", "<i8"), ("mode", "u1"), ("skill", "u1"), ("link", "u1"), ("mcu_mode", "u1"),
    ("conditions", "<u4"), ("degraded", "<u4"), ("speed_cap", "<f4"), ("battery_v", "<f4"),
    ("rtt_us", "<f4"), ("rx_bad", "<u4"), ("fault", "<u4"), ("commands", "<u4"),
    ("ticks", "<u4"), ("disarmed", "u1"), ("sync_ok", "u1"), ("pad", "u1", 6),
])  # fmt: skip
FRAME = np.dtype([  # the virtual pinhole view
    ("t_ns", "<i8"), ("number", "<u4"), ("valid", "u1"), ("repeated", "u1"), ("dark", "u1"),
    ("ended", "u1"), ("brightness", "<f4"), ("pad", "<u4"),
    ("pixels", "u1", (FRAME_PX, FRAME_PX, 3)),
])  # fmt: skip
EXPECTED = np.dtype([  # what the model expected of the frame with this number
    ("t_ns", "<i8"), ("number", "<u4"), ("pad", "<u4"),
    ("pixels", "u1", (FRAME_PX, FRAME_PX, 3)),
])  # fmt: skip
SURPRISE = np.dtype([
    ("t_ns", "<i8"), ("number", "<u4"), ("above", "<u4"),
    ("value", "<f4", len(SURPRISE_CHANNELS)), ("observe_wall_us", "<f4"), ("pad", "<f4"),
])  # fmt: skip
PEOPLE = np.dtype([  # what the belief says of the person of every hue (`World.people`)
    ("t_ns", "<i8"), ("number", "<u4"), ("count", "u1"), ("pad", "u1", 3),
    ("person", "<f4", (MAX_PEOPLE, 5)),
])  # fmt: skip
PREDICTION = np.dtype([  # an open-loop rollout of k steps met the frame it predicted
    ("t_ns", "<i8"), ("k", "<u4"), ("pad", "<u4"), ("model", "<f4"), ("persistence", "<f4"),
])  # fmt: skip
INTENT = np.dtype([  # what the mind asks of the controller
    ("t_ns", "<i8"), ("expires_ns", "<i8"), ("skill", "u1"), ("allow", "u1"), ("engage", "u1"),
    ("pad", "u1"), ("speed_cap", "<f4"), ("goal", "<f4", GOAL_SIZE),
])  # fmt: skip
CORRECTION = np.dtype([  # what imagination adds to both wheels (of full speed), for one skill and a while
    ("t_ns", "<i8"), ("expires_ns", "<i8"), ("forward", "<f4"), ("gain", "<f4"),
    ("skill", "u1"), ("pad", "u1", 7),
])  # fmt: skip
HEALTH = np.dtype([  # conditions the mind checks outside the loop
    ("t_ns", "<i8"), ("conditions", "<u4"), ("planner", "u1"), ("plan_steps", "u1"),
    ("plan_step", "u1"), ("pad", "u1"),
])  # fmt: skip
OPERATOR = np.dtype([  # gestures are counters: a reader acts on a change, so none is lost or doubled
    ("t_ns", "<i8"), ("stops", "<u4"), ("rearms", "<u4"), ("engages", "<u4"),
    ("disengages", "<u4"), ("skill_changes", "<u4"), ("skill", "u1"), ("hold", "u1"),
    ("present", "u1"), ("pages", "u1"), ("forward", "<f4"), ("turn", "<f4"), ("drive_seq", "<u4"),
    ("press", "<u4"), ("drive_t_ns", "<i8"),
])  # fmt: skip
EVENT = np.dtype([
    ("t_ns", "<i8"), ("code", "<u4"), ("active", "u1"), ("pad", "u1", 3), ("value", "<f4", 2),
    ("text", f"S{EVENT_TEXT}"),
])  # fmt: skip
ALIVE = np.dtype([("t_ns", "<i8"), ("steps", "<u8"), ("ready", "u1"), ("pad", "u1", 7)])
TRUTH = np.dtype([  # the twin's truth, for the judge and the report alone
    ("t_ns", "<i8"), ("x_m", "<f8"), ("y_m", "<f8"), ("yaw_rad", "<f8"),
    ("wheel_rad_s", "<f4", 2), ("person_xy_m", "<f4", 2), ("person_base_m", "<f4", 2),
    ("person_px", "<i4"), ("distance_m", "<f4"), ("bump", "u1"), ("motor_enable", "u1"),
    ("pad", "u1", 6), ("off_axis_rad", "<f4"), ("speed_m_s", "<f4"), ("yaw_rate_rad_s", "<f4"),
    ("head_yaw_rad", "<f4"), ("gap_m", "<f4"), ("pad2", "<f4"),
])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Channel:
    """One row of the table; `log_every` 0 is never logged."""

    name: str
    dtype: np.dtype[np.void]
    hz: float
    depth: int
    stale_s: float
    log_every: int
    writer: str


PROCESSES = ("supervisor", "firmware", "twin", "controller", "perception", "mind", "console", "recorder")  # fmt: skip
REPORTING = ("supervisor", "controller", "perception", "mind", "console")


def channel_table(belief: int, camera_shape: tuple[int, int, int]) -> dict[str, Channel]:
    """All channels of one run: the belief's length and the device camera's size are the run's."""
    belief_dtype = np.dtype(
        [("t_ns", "<i8"), ("number", "<u4"), ("valid", "u1"), ("pad", "u1", 3),
         ("belief", "<f4", belief)]
    )  # fmt: skip
    camera_dtype = np.dtype(
        [("t_ns", "<i8"), ("number", "<u4"), ("pad", "<u4"), ("pixels", "u1", camera_shape)]
    )
    rows = [
        #        name          record        Hz   depth stale_s log writer
        Channel("camera", camera_dtype, 20, 4, 0.25, 0, "twin"),
        Channel("truth", TRUTH, 100, 256, 0.10, 2, "twin"),
        Channel("sensors", SENSORS, 100, 64, 0.05, 1, "controller"),
        Channel("sent", SENT, 100, 64, 0.05, 1, "controller"),
        Channel("tick", TICK, 100, 256, 0.05, 1, "controller"),
        Channel("status", STATUS, 20, 32, 0.50, 2, "controller"),
        Channel("frame", FRAME, 20, 16, 0.20, 1, "perception"),
        Channel("expected", EXPECTED, 20, 16, 0.20, 1, "perception"),
        Channel("belief", belief_dtype, 20, 16, 0.20, 20, "perception"),
        Channel("people", PEOPLE, 20, 16, 0.20, 1, "perception"),
        Channel("surprise", SURPRISE, 20, 64, 0.20, 1, "perception"),
        Channel("prediction", PREDICTION, 4, 64, 2.0, 1, "perception"),
        Channel("correction", CORRECTION, 20, 16, 0.20, 1, "perception"),
        Channel("intent", INTENT, 10, 16, 0.50, 1, "mind"),
        Channel("health", HEALTH, 10, 16, 1.0, 10, "mind"),
        Channel("operator", OPERATOR, 20, 32, 0.50, 1, "console"),
    ]
    rows += [Channel(f"event.{p}", EVENT, 1, 64, 0, 1, p) for p in REPORTING]
    rows += [Channel(f"alive.{p}", ALIVE, 20, 4, 1.0, 0, p) for p in PROCESSES]
    return {row.name: row for row in rows}


def channel_bytes(row: Channel) -> int:
    """Bytes of shared memory one channel needs."""
    return Ring.size(row.dtype.itemsize, row.depth)


class Writer:
    """The one writing end of a channel: fill `record`, then `publish`."""

    def __init__(self, row: Channel, ring: Ring) -> None:
        self.row = row
        self._ring = ring
        self.record: Record = np.zeros((), row.dtype)

    def publish(self, t_ns: int) -> int:
        """Stamp and publish `record`; the new sequence number."""
        self.record["t_ns"] = t_ns
        return self._ring.write(self.record, t_ns)


class Reader:
    """A reading end: `latest` never blocks; `drain` gives all since the last drain."""

    def __init__(self, row: Channel, ring: Ring) -> None:
        self.row = row
        self._ring = ring
        self.record: Record = np.zeros((), row.dtype)
        self.seq = 0
        self.missed = 0
        self._drained = 0

    def latest(self) -> bool:
        """Copy the newest record to `record` if it is new; False when nothing new is there."""
        seq = self._ring.latest(self.record)
        fresh = seq != self.seq and seq != 0
        self.seq = seq
        return fresh

    def stale(self, now_ns: int) -> bool:
        """True when there is no record, or the newest is older than the row allows."""
        return self.seq == 0 or now_ns - int(self.record["t_ns"]) > self.row.stale_s * 1e9

    def wait(self, timeout_us: int) -> None:
        """Sleep until something newer than the last `latest` is there, or the time is over."""
        self._ring.wait(self.seq, timeout_us)

    def drain(self) -> list[Record]:
        """Copies of all records since the last drain; overwritten ones count as `missed`."""
        head = self._ring.head
        first = max(self._drained + 1, head - self.row.depth + 1)
        self.missed += first - self._drained - 1
        out: list[Record] = []
        for seq in range(first, head + 1):
            record: Record = np.zeros((), self.row.dtype)
            if self._ring.read(seq, record):
                out.append(record)
            else:
                self.missed += 1
        self._drained = head
        return out


class Channels:
    """Opens writers and readers over the memory a run was given (memfds, or plain buffers)."""

    def __init__(self, table: dict[str, Channel], memory: Mapping[str, Memory]) -> None:
        self.table = table
        self._rings = {
            name: Ring(memory[name], row.dtype.itemsize, row.depth) for name, row in table.items()
        }

    def writer(self, name: str, process: str) -> Writer:
        """The writing end; only the table's writer may have it."""
        row = self._row(name)
        if row.writer != process:
            raise ChannelError(f"{process} asked to write {name}, which {row.writer} writes")
        writer = Writer(row, self._rings[name])
        self._rings[name].latest(writer.record)  # a restarted process goes on from its last record
        return writer

    def reader(self, name: str) -> Reader:
        """A reading end."""
        return Reader(self._row(name), self._rings[name])

    def _row(self, name: str) -> Channel:
        if name not in self.table:
            raise ChannelError(f"no channel {name}: known are {', '.join(sorted(self.table))}")
        return self.table[name]
