"""A host whose every byte and microsecond a test decides, on the firmware core in lockstep.

The core answers inside `core_receive`, so a request and its verdict take no time at all: a test
drives, breaks something and looks at the very tick in which the core reacts.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
from frames import REBOOT, SMP, Frame, Identity, Port, parse
from oracle import decode, message

from firmware_bridge import protocol
from firmware_bridge.lockstep import LockstepFirmware
from firmware_bridge.native import library
from firmware_bridge.protocol import Ack, Fault, Message, Mode, StateFlag

NONCE = 0x1234_5678
BOOT_ID = 7
BEAT_MS = 50


class Wire:
    """Time in microseconds since the core's start; ticks fall on whole milliseconds."""

    def __init__(self, table, **core) -> None:
        self.table = table
        self.firmware = LockstepFirmware(table, **{"boot_id": BOOT_ID, **core})
        self.core = self.firmware._at
        self.lib = library()
        self.plant = self.firmware.plant
        self.sensors = self.plant.sensors
        self.joints = len(table.joints)
        self.sense_ms = 1000 // table.imu_hz
        self.us = 0
        self.seq = 0
        self.session = 0
        self.bytes_in = bytearray()
        self.ideal = True  # the plant does at once what it is told
        self.sensing = True
        self.beating = True
        self.commands: dict[int, int] | None = None  # what the host commands every 10 ms
        self.before_tick: Callable[[], None] | None = None
        self.rebooted: list[int] = []
        self.smp: list[bytes] = []
        self._fault = {"active": 0, "latched": 0, "first_t_us": 0, "code": 0, "detail": 0}
        self._port: Port | None = None
        self._next_beat_us = 0

    # time

    @property
    def mcu_us(self) -> int:
        return self.firmware.clock_start_us + self.us

    def run(self, ms: int) -> Wire:
        """The next `ms` ticks, with sensors, heartbeat and commands as the host has them."""
        for _ in range(ms):
            self.us += 1000 - self.us % 1000
            if self.sensing and self.us // 1000 % self.sense_ms == 0:
                self.sense()
            if self.before_tick:
                self.before_tick()
            self.firmware.run(self.mcu_us)
            if self.session and self.beating and self.us >= self._next_beat_us:
                self.beat()
            if self.us % 10_000 == 0:
                self.bytes_in += self.firmware.transmit()
                if self.commands is not None:
                    self.move(self.commands)
        return self

    def to(self, us: int) -> Wire:
        """Forward to a moment between ticks, silently: no sensors, no host."""
        self.us = us
        self.firmware.run(self.mcu_us)
        return self

    def until(self, holds: Callable[[], bool], limit_ms: int = 1000) -> int:
        """Milliseconds until it holds, seen after each tick."""
        for ms in range(limit_ms + 1):
            if holds():
                return ms
            self.run(1)
        raise AssertionError(f"not within {limit_ms} ms")

    def sense(self) -> None:
        """One more IMU sample; an ideal plant moves as it is told."""
        s = self.sensors
        s["imu_seq"] += 1
        if self.ideal:
            nano = self._nano
            s["velocity_mrad_s"][: self.joints] = self.targets * nano // 1_000_000
        self.plant.write_sensors()

    @property
    def _nano(self):
        return np.array(
            [c.scale_nano if c.velocity_joint else 0 for c in self.table.counts()], np.int64
        )

    # what the motors get

    @property
    def out(self):
        return self.plant.read_outputs()

    @property
    def targets(self):
        return self.out.target[: self.joints].astype(np.int64)

    @property
    def wheels(self) -> list[int]:
        return self.out.target[:2].tolist()

    @property
    def enabled(self) -> bool:
        return self.out.enable

    @property
    def currents(self) -> list[int]:
        return self.out.current_limit_ma[: self.joints].tolist()

    # the wire

    def give(self, data: bytes) -> None:
        """Raw bytes, arriving now."""
        self.firmware.receive(data)

    def send(self, m: Message, *values, t_us: int | None = None, items=(), seq=None) -> None:
        """One message; a field of several values takes a tuple."""
        if seq is None:
            seq, self.seq = self.seq, self.seq + 1 & 0xFF
        t_us = self.mcu_us & 0xFFFFFFFF if t_us is None else t_us
        fixed = [v if isinstance(v, tuple) else (v,) for v in values]
        self.give(message(m, seq, t_us, fixed, [[(i,)] for i in items]))

    def frames(self, m: Message) -> list[Frame]:
        """All messages of that type since the last `forget`."""
        self.bytes_in += self.firmware.transmit()
        whole = bytes(self.bytes_in).split(b"\0")
        bodies = [decode(part) for part in whole[:-1] if len(part) > 1 and part[1] == m.type]
        assert None not in bodies
        return [parse(m, body) for body in bodies]

    def last(self, m: Message) -> dict[str, int]:
        """Fields of the newest message of that type."""
        return self.frames(m)[-1].fields

    def forget(self) -> Wire:
        """Drop what the core has said so far; only the newest FAULT is remembered."""
        self._fault = next((f.fields for f in self.frames(protocol.FAULT)[-1:]), self._fault)
        self.bytes_in.clear()
        return self

    def _answer(self, m: Message, *values) -> Ack:
        self.forget().send(m, *values)
        answers = self.frames(protocol.ACK)
        assert [a.fields["of_type"] for a in answers] == [m.type]
        assert answers[0].fields["of_seq"] == self.seq - 1 & 0xFF
        return Ack(answers[0].fields["code"])

    def hello(self, nonce: int = NONCE, major=protocol.MAJOR, schema=None) -> dict[str, int]:
        """Open a session; the answer's fields."""
        schema = protocol.schema_crc() if schema is None else schema
        self.forget().send(protocol.HELLO, major, 0, nonce, schema, t_us=0)
        answer = self.last(protocol.HELLO_ACK)
        self.session = answer["session"]
        return answer

    def sync(self) -> None:
        self.send(protocol.SYNC_REQ, 1)

    def beat(self, session: int | None = None) -> None:
        self._next_beat_us = self.us + BEAT_MS * 1000
        session = self.session if session is None else session
        self.send(protocol.HEARTBEAT, session, 0, 0)

    def arm(self, mode: Mode, session: int | None = None, layout: int | None = None) -> Ack:
        layout = self.table.crc() if layout is None else layout
        session = self.session if session is None else session
        return self._answer(protocol.ARM, session, mode, 0, layout)

    def clear(self, session: int | None = None, boot_id: int = BOOT_ID) -> Ack:
        session = self.session if session is None else session
        return self._answer(protocol.ESTOP_CLEAR, session, boot_id)

    def reboot(self, target=0, magic=protocol.REBOOT_MAGIC, session: int | None = None) -> Ack:
        session = self.session if session is None else session
        return self._answer(protocol.REBOOT, session, magic, target, (0, 0, 0))

    def estop(self, reason: int = 3) -> None:
        self.send(protocol.ESTOP, reason, t_us=0)

    def move(self, targets: dict[int, int], ttl_ms: int = 60, **changed) -> None:
        """One MOTION for the joints named; `mask`, `session`, `t_us`, `joints` may lie."""
        mask = changed.get("mask", sum(1 << j for j in targets))
        session = changed.get("session", self.session) & 0xFFFF
        items = [targets.get(j, 0) for j in range(changed.get("joints", self.joints))]
        t_us = changed.get("t_us")
        self.send(protocol.MOTION, session, ttl_ms, mask, t_us=t_us, items=items)

    def param(self, index: int) -> dict[str, int]:
        self.forget().send(protocol.PARAM_GET, index)
        return self.last(protocol.PARAM)

    def set_param(self, index: int, value: int, session: int | None = None) -> Ack:
        session = self.session if session is None else session
        self.forget().send(protocol.PARAM_SET, session, index, 0, value)
        answer = self.last(protocol.PARAM)
        assert answer["id"] == index
        return Ack(answer["code"])

    def plug_port(self) -> Wire:
        """A port that can reboot and take update frames."""

        def smp(_context, body, size):
            self.smp.append(bytes(body[:size]))

        self._port = Port(REBOOT(lambda _c, target: self.rebooted.append(target)), SMP(smp), None)
        self.lib.lockstep_port(self.core, ctypes.byref(self._port))
        return self

    def unplug_port(self) -> Wire:
        """A port that can neither."""
        self._port = Port()
        self.lib.lockstep_port(self.core, ctypes.byref(self._port))
        return self

    def identify(self, **values) -> Wire:
        """What the port knows of board and image."""
        identity = Identity(**{"boot_id": BOOT_ID, **values})
        self.lib.lockstep_identify(self.core, ctypes.byref(identity))
        return self

    # states to begin from

    def opened(self) -> Wire:
        """A session with clock, heartbeat and sensors."""
        self.run(self.sense_ms)
        self.hello()
        self.sync()
        self.beat()
        return self

    def armed(self, mode: Mode = Mode.ACTIVE) -> Wire:
        if not self.session:
            self.opened()
        assert self.arm(mode) is Ack.OK
        return self

    def rolling(self, speed: int = 5000, mode: Mode = Mode.ACTIVE) -> Wire:
        """Both wheels (on the bench: the left one) at a speed."""
        self.armed(mode)
        self.commands = {0: speed, 1: speed} if mode is Mode.ACTIVE else {0: speed}
        self.move(self.commands)
        self.until(lambda: self.wheels[0] == speed)
        self.run(-self.us // 1000 % 10)
        assert self.latched == 0 and self.mode is mode
        return self

    # what the core says of itself; a look takes up to one control period

    def state(self) -> dict[str, int]:
        """STATE of the next control period."""
        self.forget()
        while not self.frames(protocol.STATE):
            self.run(1)
        return self.last(protocol.STATE)

    def state_now(self) -> dict[str, int]:
        """Newest STATE said; does not move time."""
        return self.last(protocol.STATE)

    @property
    def mode(self) -> Mode:
        return Mode(self.state()["mode"])

    @property
    def flags(self) -> StateFlag:
        return StateFlag(self.state()["flags"])

    @property
    def refused(self) -> Ack:
        """The verdict on the last MOTION."""
        return Ack(self.state()["refused"])

    @property
    def fault(self) -> dict[str, int]:
        """The newest FAULT said; takes no time, but a change is told by the tick after it."""
        return self.forget()._fault

    @property
    def latched(self) -> Fault:
        return Fault(self.fault["latched"])

    @property
    def active(self) -> Fault:
        return Fault(self.fault["active"])

    @property
    def healthy(self) -> bool:
        return bool(self.lib.core_healthy(self.core))
