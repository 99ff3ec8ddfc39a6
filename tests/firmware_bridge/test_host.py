"""The firmware process on its pty, in real time: ports, deaths, stalls. Functions, not timing."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
import time
import tty
from pathlib import Path

import numpy as np
import pytest

from firmware_bridge import protocol
from firmware_bridge.codec import Encoder
from firmware_bridge.errors import LinkError
from firmware_bridge.host import HostFirmware, host_program
from firmware_bridge.link import READ_SIZE, Link, LinkState
from firmware_bridge.plant import Plant
from firmware_bridge.probe import probe
from firmware_bridge.protocol import Ack, Fault, Mode
from firmware_bridge.serial_port import SerialTransport

_spec = importlib.util.spec_from_file_location("oracle", Path(__file__).parent / "oracle.py")
oracle = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(oracle)

now = time.monotonic_ns


class Robot:
    """A firmware process, an ideal plant and a link, pumped from the test."""

    def __init__(self, table, baud: int = 921_600) -> None:
        self.table = table
        self.plant = Plant.create()
        self.plant.write_sensors()
        self.firmware = HostFirmware(table, self.plant, uid="twin-7", baud=baud)
        self.link = Link(SerialTransport(self.firmware.port, baud), table)
        self.target = np.zeros(len(table.joints), np.int16)
        self.driving = False

    def pump(self, seconds: float, until=lambda: False) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.sense()
            fd = self.link.fileno()
            if fd is None:
                time.sleep(0.002)
            else:
                select.select([fd], [], [], 0.002)
            seen = self.link.sensors_seq
            self.link.step(now())
            if self.driving and self.link.sensors_seq != seen:
                self.link.send_motion(now(), self.target, 0xFFFF, 200)
            if until():
                return True
        return False

    def sense(self) -> None:
        self.plant.sensors["imu_seq"] += 1
        target = self.plant.read_outputs().target
        self.plant.sensors["velocity_mrad_s"][:2] = target[:2]
        self.plant.write_sensors()

    def armed(self) -> Robot:
        assert self.pump(5, lambda: self.link.ready), self.link.status
        self.link.arm(now(), Mode.ACTIVE)
        assert self.pump(2, lambda: self.link.answer(protocol.ARM) is Ack.OK)
        return self

    def rolling(self) -> Robot:
        self.armed()
        self.target[:2] = 4000
        self.driving = True
        assert self.pump(3, lambda: self.wheels == [4000, 4000])
        return self

    @property
    def wheels(self) -> list[int]:
        return self.plant.read_outputs().target[:2].tolist()

    def end(self) -> None:
        self.link.close()
        if self.firmware.alive:
            self.firmware.kill()
        self.plant.close()


@pytest.fixture
def robot(table):
    robot = Robot(table)
    yield robot
    robot.end()


def test_drives_and_parks_on_sigterm(robot):
    robot.rolling()
    assert robot.link.identity.uid == "twin-7"
    assert robot.link.status.rtt_us < 50_000
    age_ns = now() - int(robot.link.sensors["t_ns"][0])
    assert -1e6 < age_ns < 200e6
    assert robot.firmware.stop() == 0
    assert robot.wheels == [0, 0]
    assert not robot.plant.outputs.enable


def test_kill_is_seen_by_both_sides(robot):
    """The watchdog counter stands still for the twin; the link says that the port ended."""
    robot.rolling()
    robot.firmware.kill()
    count = robot.plant.read_outputs().tick_count
    robot.pump(0.3)
    assert robot.plant.read_outputs().tick_count == count
    assert robot.link.status.state is LinkState.DISCONNECTED
    assert not robot.link.send_motion(now(), robot.target, 0xFFFF, 60)


def test_killed_host_stops_the_wheels_and_the_next_one_takes_over(robot):
    robot.rolling()
    robot.link.close()
    end = time.monotonic() + 2
    while robot.wheels != [0, 0]:
        robot.sense()
        time.sleep(0.002)
        assert time.monotonic() < end
    robot.link = Link(SerialTransport(robot.firmware.port), robot.table)
    robot.driving = False
    assert robot.pump(5, lambda: robot.link.ready)
    assert robot.pump(2, lambda: robot.link.sensors["mcu_mode"][0] == Mode.SAFE)
    robot.rolling()


def test_a_stalled_process_catches_up(robot):
    """Time comes from a free-running counter: after a stall no tick is missing."""
    robot.armed()
    start_count, start = robot.plant.read_outputs().tick_count, now()
    robot.firmware.process.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    robot.firmware.process.send_signal(signal.SIGCONT)
    robot.pump(0.3)
    elapsed_ms = (now() - start) / 1e6
    ticks = robot.plant.read_outputs().tick_count - start_count
    assert abs(ticks - elapsed_ms) < 60
    assert ticks > 500
    assert robot.pump(5, lambda: robot.link.ready)


def test_ends_with_its_parent(table):
    plant = Plant.create()
    program = str(host_program(table))
    script = (
        "import subprocess, sys, time\n"
        f"p = subprocess.Popen([{program!r}, '--plant-fd', {str(plant.fd)!r}],"
        f" pass_fds=[{plant.fd}], stdout=subprocess.PIPE)\n"
        "p.stdout.readline(); print(p.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], pass_fds=[plant.fd], stdout=subprocess.PIPE
    )
    pid = int(parent.stdout.readline())
    parent.stdout.close()
    os.kill(pid, 0)
    parent.kill()
    parent.wait()
    end = time.monotonic() + 3
    while time.monotonic() < end:
        count = plant.read_outputs().tick_count
        time.sleep(0.05)
        if plant.read_outputs().tick_count == count:
            break
    assert plant.read_outputs().tick_count == count
    plant.close()


def test_busy_port(robot):
    with pytest.raises(LinkError, match="busy"):
        SerialTransport(robot.firmware.port)


def test_no_such_port():
    with pytest.raises(LinkError, match="no such port"):
        SerialTransport("/dev/companion-none")


def test_not_a_port(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(LinkError, match="cannot be opened as a serial port"):
        SerialTransport(str(tmp_path / "file"))


def test_a_port_that_is_no_mcu(table):
    master, slave = pty.openpty()
    link = Link(SerialTransport(os.ttyname(slave)), table)
    try:
        os.write(master, b"login: \r\n\0\0garbage\0")
        with pytest.raises(LinkError, match="no MCU of ours"):
            probe(link, 0.4, now)
        assert link.bytes_in > 0
    finally:
        link.close()
        os.close(master)
        os.close(slave)


def test_probe_names_the_other_body(robot, table):
    robot.link.close()
    other = dataclasses.replace(table, body="other")
    robot.link = Link(SerialTransport(robot.firmware.port), other)
    with pytest.raises(LinkError, match="another body"):
        probe(robot.link, 2, now)


def test_replugged_port_is_opened_again(robot):
    robot.armed()
    robot.link._disconnect(now(), OSError("unplugged"))
    assert robot.link.status.reason == "unplugged"
    assert robot.pump(5, lambda: robot.link.ready)
    robot.armed()


def test_stop_input_cuts_without_the_host(robot):
    robot.rolling()
    robot.plant.sensors["stop_input"] = 0
    robot.plant.write_sensors()
    end = time.monotonic() + 1
    while robot.plant.read_outputs().enable:
        assert time.monotonic() < end
    assert robot.wheels == [0, 0]
    assert robot.pump(1, lambda: robot.link.fault.latched == Fault.STOP_INPUT)


def test_bad_command_lines(table):
    program = host_program(table)
    bad = {
        "--plant-fd 99": b"plant memory",
        "--plant-fd 0 --baud 12345": b"12345",
        "": b"--plant-fd",
        "--x 1": b"--x",
    }
    for arguments, words in bad.items():
        result = subprocess.run([program, *arguments.split()], capture_output=True)
        assert result.returncode in (1, 2)
        assert words in result.stderr


# ── the wire: as slow as its rate, and rubbish at another ────────────────────────────────


def test_bytes_take_their_time_to_the_host(table):
    """At 57600 the telemetry does not fit: what comes is what the rate lets through."""
    robot = Robot(table, baud=57_600)
    try:
        assert robot.pump(10, lambda: robot.link.ready), robot.link.status
        before, start = robot.link.bytes_in, time.monotonic()
        robot.pump(1.5)
        rate = (robot.link.bytes_in - before) / (time.monotonic() - start)
        assert rate < 5760 * 1.1 + 200
        assert rate > 1000
    finally:
        robot.end()


def test_bytes_take_their_time_to_the_mcu(table):
    """Two hundred requests written at once arrive one after the other, by the MCU's own clock."""
    robot = Robot(table, baud=57_600)
    try:
        assert robot.pump(10, lambda: robot.link.ready), robot.link.status
        robot.link.close()
        port = SerialTransport(robot.firmware.port, 57_600)
        encoder = Encoder(1)
        for count in range(200):
            frame = encoder.message(protocol.SYNC_REQ, 0, count)
            while not port.write(frame):
                time.sleep(0.01)
        buffer, came, end = memoryview(bytearray(4096)), bytearray(), time.monotonic() + 10
        stamps: dict[int, int] = {}
        while len(stamps) < 100 and time.monotonic() < end:
            robot.sense()
            came += buffer[: port.read_into(buffer)]
            *frames, came = came.split(b"\0")
            for body in (oracle.decode(bytes(f)) for f in frames if f):
                if body and body[0] == protocol.SYNC_RSP.type:
                    sent, received, _ = protocol.SYNC_RSP.layout.unpack(body[6:])
                    if sent < 200:  # not an answer to the link that was here before
                        stamps[sent] = received
            time.sleep(0.005)
        port.close()
        first, last = min(stamps), max(stamps)
        wire_us = (last - first) * 18 * 10 / 57_600 * 1e6
        assert last - first > 50
        assert stamps[last] - stamps[first] > 0.9 * wire_us
    finally:
        robot.end()


def test_another_rate_is_named_and_the_right_one_connects(robot):
    robot.rolling()
    robot.driving = False
    robot.link.close()
    robot.link = Link(SerialTransport(robot.firmware.port, 115_200), robot.table)
    assert not robot.pump(1.5, lambda: robot.link.ready)
    assert robot.link.status.state is LinkState.HELLO
    assert robot.link.bytes_in > 1000
    assert robot.link.status.frames == 0
    assert "is the rate right" in robot.link.status.reason
    assert robot.wheels == [0, 0]
    with pytest.raises(LinkError, match="rate"):
        probe(robot.link, 0.3, now)
    settings = termios.tcgetattr(robot.link.fileno())
    settings[4] = settings[5] = termios.B921600
    termios.tcsetattr(robot.link.fileno(), termios.TCSANOW, settings)
    start = time.monotonic()
    assert robot.pump(5, lambda: robot.link.ready)
    assert time.monotonic() - start < 2  # 1 s, and a noisy machine
    robot.rolling()


def test_a_flooding_port_does_not_hold_the_step(table):
    """Somebody writes without end; each step takes one buffer and returns."""
    master, slave = pty.openpty()
    tty.setraw(slave, termios.TCSANOW)
    ended = threading.Event()
    os.set_blocking(master, False)

    def flood() -> None:
        while not ended.is_set():
            with contextlib.suppress(BlockingIOError):
                os.write(master, b"\x55\x00" * 2048)

    thread = threading.Thread(target=flood)
    thread.start()
    link = Link(SerialTransport(os.ttyname(slave)), table)
    try:
        for _ in range(2000):
            before = link.bytes_in
            link.step(now())
            assert link.bytes_in - before <= READ_SIZE
            if link.bytes_in > 20 * READ_SIZE:
                break
            time.sleep(0.001)
        assert link.bytes_in > 0
        assert not link.ready
    finally:
        ended.set()
        thread.join()
        link.close()
        os.close(master)
        os.close(slave)


def test_ctrl_c_at_a_terminal_is_its_owners_to_act_on(table):
    """The terminal signals a whole group: a firmware that went first would be called silent."""
    firmware = HostFirmware(table, Plant.create())
    try:
        assert os.getpgid(firmware.pid) != os.getpgid(0)
    finally:
        firmware.stop()
