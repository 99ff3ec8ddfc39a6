"""A robot without physics: the firmware core in lockstep, an ideal plant, a link that drives."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from firmware_bridge import protocol
from firmware_bridge.limits import LimitTable
from firmware_bridge.link import Link
from firmware_bridge.lockstep import LockstepFirmware
from firmware_bridge.protocol import Ack, Fault, Message, Mode, StateFlag
from firmware_bridge.transport import LockstepTransport
from runtime.body import load_body

ALL = 0xFFFF


def load(name: str) -> ModuleType:
    """A module of this folder, which is no package, by its name."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


for _name in ("oracle", "frames", "mutants"):
    load(_name)
Wire = load("wire").Wire


@pytest.fixture(scope="session")
def table() -> LimitTable:
    return load_body("companion").limit_table()


class Rig:
    """Steps 1 ms at a time; the plant does at once what it is told."""

    def __init__(
        self, table: LimitTable, host_table: LimitTable | None = None, **core: int
    ) -> None:
        self.firmware = LockstepFirmware(table, **core)
        self.plant = self.firmware.plant
        self.link = Link(LockstepTransport(self.firmware), host_table or table)
        self.joints = len(table.joints)
        self.target = np.zeros(self.joints, np.int16)
        self.ms = 0
        self.driving = False
        self.sensing = True
        self.ideal = True
        self.ttl_ms = 60
        self.history: list[tuple[int, list[int], bool]] = []

    @property
    def now_ns(self) -> int:
        return self.ms * 1_000_000

    def run(self, ms: int) -> None:
        for _ in range(ms):
            self.ms += 1
            if self.sensing and self.ms % 2 == 0:
                self.sense()
            self.firmware.run(self.firmware.mcu_us(self.now_ns))
            out = self.plant.read_outputs()
            self.history.append((self.ms, out.target[: self.joints].tolist(), out.enable))
            if self.ms % 10 == 0:
                self.link.step(self.now_ns)
                if self.driving:
                    self.link.send_motion(self.now_ns, self.target, ALL, self.ttl_ms)

    def sense(self) -> None:
        sensors = self.plant.sensors
        sensors["imu_seq"] += 1
        if self.ideal:
            target = self.plant.read_outputs().target
            sensors["velocity_mrad_s"][:2] = target[:2]
        self.plant.write_sensors()

    def ready(self) -> Rig:
        self.run(1000)
        assert self.link.ready, self.link.status
        return self

    def armed(self) -> Rig:
        if not self.link.ready:
            self.ready()
        self.link.arm(self.now_ns, Mode.ACTIVE)
        self.run(20)
        assert self.link.answer(protocol.ARM) is Ack.OK
        assert self.mode is Mode.ACTIVE
        return self

    def rolling(self, speed: int = 5000) -> Rig:
        self.armed()
        self.target[:2] = speed
        self.driving = True
        self.run(600)
        assert self.wheels == [speed, speed]
        return self

    def ask(self, message: Message) -> Ack | None:
        {protocol.ESTOP_CLEAR: self.link.clear}[message](self.now_ns)
        self.run(20)
        return self.link.answer(message)

    @property
    def wheels(self) -> list[int]:
        return self.plant.read_outputs().target[:2].tolist()

    @property
    def enabled(self) -> bool:
        return self.plant.read_outputs().enable

    @property
    def mode(self) -> Mode:
        return Mode(int(self.link.sensors["mcu_mode"][0]))

    @property
    def flags(self) -> StateFlag:
        return StateFlag(int(self.link.sensors["flags"][0]))

    @property
    def latched(self) -> Fault:
        return self.link.fault.latched

    def until_still(self, limit_ms: int = 1000) -> int:
        """Milliseconds from now until the wheels are commanded to zero."""
        start = self.ms
        while self.wheels != [0, 0]:
            assert self.ms - start < limit_ms
            self.run(1)
        return self.ms - start


@pytest.fixture
def rig(table: LimitTable) -> Rig:
    return Rig(table)


@pytest.fixture
def wire(table: LimitTable) -> Wire:
    """The core with a test's hands on every byte (`wire.py`)."""
    return Wire(table)


@pytest.fixture(scope="session")
def make_wire() -> type[Wire]:
    return Wire


@pytest.fixture(scope="session")
def make_rig() -> type[Rig]:
    return Rig
