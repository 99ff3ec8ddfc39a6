"""Parameters, reboot, log and update frames: the rest of what a host may ask of the core."""

from __future__ import annotations

import ctypes

import pytest
from oracle import encode

from firmware_bridge import protocol
from firmware_bridge.protocol import PARAMS, Ack, LedMode, LogLevel, Mode, Param, Reboot

BEYOND = len(PARAMS)
EDGES = [
    (param, value, row.low <= value <= row.high)
    for param, row in PARAMS.items()
    for value in (row.low - 1, row.low, row.high, row.high + 1, 0, -1, 1 << 30, -(1 << 31))
]


@pytest.mark.parametrize("param", PARAMS)
def test_every_parameter_starts_at_its_widest(wire, param):
    row = PARAMS[param]
    assert wire.opened().param(param) == {
        "id": param, "code": Ack.OK, "value": row.start, "low": row.low, "high": row.high,
    }  # fmt: skip
    assert row.start == row.high


@pytest.mark.parametrize(("param", "value", "good"), EDGES)
def test_every_edge_of_every_range(wire, param, value, good):
    wire.opened()
    assert wire.set_param(param, value) is (Ack.OK if good else Ack.OUT_OF_RANGE)
    assert wire.param(param)["value"] == (value if good else PARAMS[param].start)
    others = [p for p in PARAMS if p is not param]
    assert all(wire.param(p)["value"] == PARAMS[p].start for p in others)


@pytest.mark.parametrize("index", [BEYOND, 255, 65535])
def test_a_parameter_that_is_none(wire, index):
    nothing = {"id": index, "code": Ack.NO_PARAM, "value": 0, "low": 0, "high": 0}
    assert wire.opened().param(index) == nothing
    assert wire.set_param(index, 100) is Ack.NO_PARAM


@pytest.mark.parametrize("mode", [Mode.ACTIVE, Mode.BENCH])
def test_not_while_a_mode_drives_nor_on_its_stop_ramp(wire, mode):
    wire.rolling(2000, mode).commands = None
    assert wire.set_param(Param.CURRENT_PERMILLE, 50) is Ack.BAD_MODE
    wire.arm(Mode.IDLE)
    assert wire.run(299).set_param(Param.CURRENT_PERMILLE, 50) is Ack.BAD_MODE
    assert wire.param(Param.CURRENT_PERMILLE)["value"] == 1000
    assert wire.run(1).set_param(Param.CURRENT_PERMILLE, 50) is Ack.OK


def test_only_with_the_session(wire):
    wire.opened()
    assert wire.set_param(Param.TTL_MAX_MS, 100, session=wire.session ^ 1) is Ack.NO_SESSION
    assert wire.set_param(BEYOND, 100, session=wire.session ^ 1) is Ack.NO_PARAM
    assert wire.param(Param.TTL_MAX_MS)["value"] == 200


def test_a_new_session_starts_from_the_start(wire):
    wire.opened()
    for param, row in PARAMS.items():
        assert wire.set_param(param, row.low) is Ack.OK
    wire.hello()
    assert [wire.param(p)["value"] for p in PARAMS] == [r.low for r in PARAMS.values()]
    wire.hello(nonce=1)
    assert [wire.param(p)["value"] for p in PARAMS] == [r.start for r in PARAMS.values()]


def test_ttl_max(wire):
    wire.opened()
    assert wire.set_param(Param.TTL_MAX_MS, 100) is Ack.OK
    wire.armed().move({0: 10}, ttl_ms=101)
    assert wire.refused is Ack.BAD_TTL
    wire.move({0: 10}, ttl_ms=100)
    assert wire.refused is Ack.OK


def test_heartbeat_stop(wire):
    wire.opened()
    assert wire.set_param(Param.HEARTBEAT_STOP_MS, 60) is Ack.OK
    wire.rolling()
    wire.beat()
    wire.beating = False
    assert wire.run(60).wheels == [5000, 5000]
    assert wire.run(1).wheels == [5000 - 66] * 2


@pytest.mark.parametrize(("permille", "top"), [(50, 450), (500, 4500), (999, 8991)])
def test_speed(wire, permille, top):
    wire.opened()
    assert wire.set_param(Param.SPEED_PERMILLE, permille) is Ack.OK
    wire.armed().commands = {0: 9000, 1: -9000, 2: 20_000}
    wire.run(1500)
    assert wire.wheels == [top, -top]
    assert wire.targets[2] == 20_000  # of wheels alone
    assert wire.state()["limited"] == 0b11


def test_current(wire):
    wire.opened()
    assert wire.set_param(Param.CURRENT_PERMILLE, 501) is Ack.OK
    assert wire.armed().run(1).currents == [2004, 2004, 1002, 1002, 250, 250]


@pytest.mark.parametrize(
    ("permille", "rgb"), [(50, [0, 2, 8]), (999, [0, 39, 159]), (1000, [0, 40, 160])]
)
def test_led_brightness(wire, permille, rgb):
    wire.opened()
    assert wire.set_param(Param.LED_PERMILLE, permille) is Ack.OK
    wire.armed().run(1)
    assert wire.out.led_mode == LedMode.ARMED
    assert wire.out.led_rgb.tolist() == rgb


@pytest.mark.parametrize("target", Reboot)
def test_reboot(wire, target):
    wire.plug_port().opened()
    assert wire.reboot(target) is Ack.OK
    assert wire.rebooted == [target]


@pytest.mark.parametrize(
    "change", [{"magic": 0}, {"magic": protocol.REBOOT_MAGIC ^ 1}, {"target": 2}]
)
def test_reboot_wants_its_magic(wire, change):
    wire.plug_port().opened()
    assert wire.reboot(**change) is Ack.BAD_MAGIC
    assert wire.rebooted == []


@pytest.mark.parametrize("mode", [Mode.IDLE, Mode.ACTIVE, Mode.BENCH])
def test_reboot_only_in_safe(wire, mode):
    wire.plug_port().armed(mode)
    assert wire.reboot() is Ack.BAD_MODE
    assert wire.rebooted == []
    wire.arm(Mode.SAFE)
    assert wire.reboot(session=wire.session ^ 1) is Ack.NO_SESSION
    assert wire.rebooted == []
    assert wire.reboot() is Ack.OK


def test_a_port_that_cannot_reboot_says_so(wire):
    assert wire.unplug_port().opened().reboot() is Ack.BAD_MODE


def log(wire, level: int, text: bytes) -> list[dict]:
    wire.forget()
    wire.lib.core_log(wire.core, level, text)
    return [f.fields for f in wire.frames(protocol.LOG)]


@pytest.mark.parametrize("size", [0, 1, 62, 63, 64, 200])
def test_log(wire, size):
    text = bytes(range(33, 97))[:size].ljust(size, b"z")
    (said,) = log(wire.opened(), LogLevel.WARNING, text)
    assert said["level"] == LogLevel.WARNING
    assert bytes(said["text"]) == text[:63].ljust(63, b"\0")


def test_log_needs_a_reader(wire):
    assert log(wire, LogLevel.ERROR, b"nobody") == []
    wire.opened()
    filled = 0
    wire.forget()
    while True:  # nobody empties the port: at half of its memory the log falls silent
        wire.lib.core_log(wire.core, LogLevel.INFO, b"again")
        size = pending(wire)
        if size == filled:
            break
        filled = size
    assert 4096 <= filled < 4096 + 76
    wire.send(protocol.SYNC_REQ, 1)
    assert pending(wire) > filled  # answers still go out


def pending(wire) -> int:
    size = ctypes.c_size_t()
    wire.lib.core_pending(wire.core, ctypes.byref(size))
    return size.value


def test_update_frames_go_to_the_port_whole(wire):
    wire.give(encode(b"\x08\x00"))  # no port: nothing happens
    wire.plug_port()
    frames = [b"\x08\x00", b"\x00" * 8, b"\x1f" + bytes(range(256)) * 3, b"\x01" * 1024]
    for body in frames:
        wire.give(encode(body))  # no session is needed
    assert wire.smp == frames
    wire.give(encode(b"\x20" + bytes(3)))
    wire.give(encode(b"\x01" * 1025))
    assert wire.smp == frames


def test_an_answer_to_an_update_frame_goes_out_as_it_is(wire):
    wire.lib.core_send_body(wire.core, b"\x01\x02\x03", 3)
    assert wire.firmware.transmit() == encode(b"\x01\x02\x03")
