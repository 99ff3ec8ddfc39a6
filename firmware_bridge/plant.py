"""The memory where firmware and body meet (`firmware/plant.h`), seen from Python.

The twin fills `plant.sensors` in place and publishes it with `write_sensors()`;
`read_outputs()` refreshes and returns one reused `PlantOutputs`.
"""

from __future__ import annotations

import ctypes
import mmap
import os

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import MemoryMismatch
from firmware_bridge.limits import MAX_JOINTS
from firmware_bridge.memory import Memory, address, anonymous, view
from firmware_bridge.native import library

# Units of `position`: a position joint's MOTION scale; 1e-4 rad for velocity joints, unwrapped.
PLANT_SENSORS = np.dtype(
    [
        ("imu_seq", "<u4"),
        ("accel_m_s2", "<f4", 3),
        ("gyro_rad_s", "<f4", 3),
        ("position", "<i4", MAX_JOINTS),
        ("velocity_mrad_s", "<i4", MAX_JOINTS),
        ("current_ma", "<i2", MAX_JOINTS),
        ("battery_mv", "<u2"),
        ("battery_ma", "<i2"),  # positive: discharging
        ("range_mm", "<u2"),  # 0xFFFF: nothing in range
        ("soc", "u1"),
        ("temperature_c", "i1"),
        ("cliff", "u1"),
        ("bumper", "u1"),
        ("stop_input", "u1"),  # 1: closed, all is well
        ("pad", "u1"),
    ]
)
PLANT_OUTPUTS = np.dtype(
    [
        ("tick_count", "<u4"),
        ("target", "<i4", MAX_JOINTS),  # counts of the joint's MOTION scale
        ("current_limit_ma", "<i2", MAX_JOINTS),
        ("enable", "u1"),
        ("led_mode", "u1"),
        ("led_rgb", "u1", 3),
        ("brake", "u1"),
        ("pad", "u1", 2),
    ]
)


class PlantOutputs:
    """What the firmware drives; views into one record, refreshed by `Plant.read_outputs`."""

    def __init__(self) -> None:
        self.record = np.zeros(1, PLANT_OUTPUTS)
        self.target: npt.NDArray[np.int32] = self.record["target"][0]
        self.current_limit_ma: npt.NDArray[np.int16] = self.record["current_limit_ma"][0]
        self.led_rgb: npt.NDArray[np.uint8] = self.record["led_rgb"][0]
        self._raw = self.record.view(np.uint8).data
        self._enable = int(PLANT_OUTPUTS.fields["enable"][1])  # type: ignore[index]
        self._tick = self.record.view(np.uint8).data[:4].cast("I")

    @property
    def enable(self) -> bool:
        """The motor enable line."""
        return bool(self._raw[self._enable])

    @property
    def brake(self) -> bool:
        """The wheels' brakes, beside what the motors do."""
        return bool(self._raw[self._enable + 5])

    @property
    def led_mode(self) -> int:
        """What the LED ring shows (`protocol.LedMode`)."""
        return self._raw[self._enable + 1]

    @property
    def tick_count(self) -> int:
        """The firmware's watchdog counter; motors lose power when it stands still for 20 ms."""
        return self._tick[0]


class Plant:
    """One plant in a memfd or in the caller's own memory."""

    def __init__(self, memory: Memory, fd: int | None = None) -> None:
        self._lib = library()
        self.fd = fd
        self._view = view(memory)
        self.address = address(self._view)
        if self._view.size < self._lib.plant_size():
            raise MemoryMismatch(
                f"plant memory: needed {self._lib.plant_size()} bytes, found {self._view.size}; "
                "make it with Plant.create()"
            )
        self._lib.plant_init(self.address)
        if not self._lib.plant_valid(self.address):
            raise MemoryMismatch(
                "plant memory: made by another version of this program; stop it and start anew"
            )
        self._staging = np.zeros(1, PLANT_SENSORS)
        self.sensors = self._staging[0]
        self.sensors["stop_input"] = 1
        self.sensors["range_mm"] = 0xFFFF
        self.outputs = PlantOutputs()
        self._sensors_at = ctypes.c_void_p(address(self._staging))
        self._outputs_at = ctypes.c_void_p(address(self.outputs.record))
        self._at = ctypes.c_void_p(self.address)

    @classmethod
    def create(cls) -> Plant:
        """A fresh plant in anonymous shared memory; `.fd` may be inherited by children."""
        return cls.attach(anonymous("companion-plant", library().plant_size()))

    @classmethod
    def attach(cls, fd: int, offset: int = 0) -> Plant:
        """The plant behind an inherited file descriptor; `offset` [bytes] in an emulator's memory."""
        size = os.fstat(fd).st_size - offset
        return cls(mmap.mmap(fd, size, offset=offset) if size > 0 else bytearray(), fd)

    def write_sensors(self) -> None:
        """Publish `self.sensors`, all fields at once."""
        self._lib.plant_write_sensors(self._at, self._sensors_at)

    def read_outputs(self) -> PlantOutputs:
        """The newest outputs: one object, reused; unchanged while none were written."""
        self._lib.plant_read_outputs(self._at, self._outputs_at)
        return self.outputs

    def write_outputs(self) -> None:
        """Publish `self.outputs.record`; only a plant without firmware writes these (tests)."""
        self._lib.plant_write_outputs(self._at, self._outputs_at)

    def read_sensors(self) -> bool:
        """Refresh `self.sensors` from the memory; False while nothing was written."""
        return bool(self._lib.plant_read_sensors(self._at, self._sensors_at))

    def close(self) -> None:
        """Close the file descriptor; the mapping goes with its last view."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None
