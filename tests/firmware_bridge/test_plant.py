"""The plant memory: one struct in C and numpy, atomic halves, dead writers."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import numpy as np
import pytest

from firmware_bridge.errors import MemoryMismatch
from firmware_bridge.native import library
from firmware_bridge.plant import PLANT_OUTPUTS, PLANT_SENSORS, Plant

HEAD = 24
WRITER = """
import sys
from firmware_bridge.plant import Plant
plant = Plant.attach(int(sys.argv[1]))
print("up", flush=True)
value = 0
while True:
    value += 1
    plant.sensors["position"][:] = value
    plant.sensors["velocity_mrad_s"][:] = value
    plant.write_sensors()
"""


def test_layouts_agree():
    assert library().plant_size() == HEAD + PLANT_SENSORS.itemsize + PLANT_OUTPUTS.itemsize


def test_both_halves_travel_through_a_memfd():
    twin = Plant.create()
    firmware = Plant.attach(twin.fd)
    assert not firmware.read_sensors()
    twin.sensors["position"][:3] = (1, -2, 3)
    twin.sensors["gyro_rad_s"] = (0.5, 0, -0.5)
    twin.write_sensors()
    assert firmware.read_sensors()
    assert firmware.sensors["position"][:3].tolist() == [1, -2, 3]
    assert firmware.sensors["gyro_rad_s"].tolist() == [0.5, 0, -0.5]
    assert firmware.sensors["stop_input"] == 1
    firmware.outputs.record["target"][0, 1] = -77
    firmware.outputs.record["enable"] = 1
    firmware.outputs.record["tick_count"] = 2**32 - 1
    firmware.outputs.record["led_mode"] = 3
    firmware.write_outputs()
    out = twin.read_outputs()
    assert out is twin.read_outputs()
    assert out.target[1] == -77
    assert (out.enable, out.tick_count, out.led_mode) == (True, 2**32 - 1, 3)
    twin.close()


def test_own_memory_and_bad_memory():
    Plant(bytearray(library().plant_size())).write_sensors()
    with pytest.raises(MemoryMismatch, match="Plant.create"):
        Plant(bytearray(16))
    foreign = bytearray(library().plant_size())
    foreign[:4] = b"ABCD"
    with pytest.raises(MemoryMismatch, match="another version"):
        Plant(foreign)


def test_a_writer_that_died_half_way_is_healed():
    memory = bytearray(library().plant_size())
    plant = Plant(memory)
    plant.sensors["position"][0] = 5
    plant.write_sensors()
    lock = ctypes.c_uint32.from_buffer(memory, 12)
    lock.value += 1  # what a kill -9 in the middle of a write leaves
    plant.sensors["position"][0] = 6
    reader = Plant(memory)
    assert not reader.read_sensors()  # bounded: a reader never hangs
    plant.write_sensors()
    assert lock.value % 2 == 0
    assert reader.read_sensors()
    assert reader.sensors["position"][0] == 6


def test_readers_never_see_half_a_write():
    plant = Plant.create()
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(plant.fd)], pass_fds=[plant.fd], stdout=subprocess.PIPE
    )
    assert writer.stdout.readline() == b"up\n"
    writer.stdout.close()
    try:
        seen = set()
        # on a busy machine the writer may be scheduled seldom: go on until enough writes were met
        for tries in range(400_000):
            if tries >= 20_000 and len(seen) > 10:
                break
            if plant.read_sensors():
                values = np.concatenate(
                    [plant.sensors["position"], plant.sensors["velocity_mrad_s"]]
                )
                assert (values == values[0]).all()
                seen.add(int(values[0]))
        assert len(seen) > 10
    finally:
        writer.kill()
        writer.wait()
        plant.close()
