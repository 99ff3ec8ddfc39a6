"""Faults on demand, and that each of them stops the wheels in the twin's truth by the MCU alone."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest

pytest.importorskip("mujoco")

from firmware_bridge import protocol
from firmware_bridge.link import Link
from firmware_bridge.lockstep import LockstepFirmware
from firmware_bridge.plant import Plant
from firmware_bridge.protocol import Ack, Fault, LedMode, Mode
from firmware_bridge.transport import LockstepTransport
from runtime.body import load_body
from tools.twin.errors import TwinError
from tools.twin.faults import FAULTS, At
from tools.twin.scenario import EMPTY
from tools.twin.twin import STEP_NS, Twin, new_truth

BODY = load_body("companion")
TABLE = BODY.limit_table()
MS = 1_000_000
REST_RAD_S = 0.15  # 1 cm/s at the rim
WITHIN_MS = 50
FULL = 9000
DRIVES = {
    "forward": (FULL, FULL),
    "slow": (3000, 3000),
    "backward": (-FULL, -FULL),
    "turn": (-4000, 4000),
    "curve": (FULL, 4000),
}


class Rolling:
    """The real core and the twin, with a host that may freeze or go on as if nothing were."""

    def __init__(self, seed: int = 0, **twin) -> None:
        self.firmware = LockstepFirmware(TABLE)
        self.twin = Twin(BODY, seed, self.firmware.plant, EMPTY, **twin)
        self.link = Link(LockstepTransport(self.firmware), TABLE)
        self.now_ns = 0
        self.host = True
        self.command: tuple[int, int] | None = None
        self.truth: list[np.void] = []

    def step(self) -> None:
        self.now_ns += 2 * MS
        self.firmware.run(self.firmware.mcu_us(self.now_ns))
        self.twin.step_to(self.now_ns)
        truth = new_truth()
        self.twin.truth(truth)
        self.truth.append(truth)
        if self.host and self.now_ns % (10 * MS) == 0:
            self.link.step(self.now_ns)
            if self.command is not None:
                target = np.zeros(len(BODY.joint), np.int16)
                target[:2] = self.command
                self.link.send_motion(self.now_ns, target, 0b11, 60)

    def run(self, ms: int) -> Rolling:
        for _ in range(ms // 2):
            self.step()
        return self

    def ready(self, mode: Mode = Mode.ACTIVE) -> Rolling:
        self.run(1000)
        assert self.link.ready
        self.link.arm(self.now_ns, mode)
        self.run(20)
        assert self.link.answer(protocol.ARM) is Ack.OK
        return self

    def rolling(self, command: tuple[int, int]) -> Rolling:
        self.ready().command = command
        self.run(500)
        assert np.abs(self.speeds - np.array(command) / 1000).max() < 0.3
        return self

    def until(self, holds, limit_ms: int = 1000) -> int:
        """Nanoseconds of the moment when it holds."""
        end = self.now_ns + limit_ms * MS
        while not holds():
            assert self.now_ns < end
            self.step()
        return self.now_ns

    @property
    def speeds(self) -> np.ndarray:
        return self.truth[-1]["wheel_rad_s"]

    @property
    def fastest(self) -> float:
        return float(np.abs(self.speeds).max())

    @property
    def latched(self) -> Fault:
        """As the MCU tells a host that is back."""
        self.host, self.command = True, None
        self.run(60)
        return self.link.fault.latched

    @property
    def led(self) -> LedMode:
        return LedMode(self.firmware.plant.read_outputs().led_mode)

    def at_rest_after_ms(self, cause_ns: int) -> float:
        """From the cause to the last moment in motion of the half second behind it."""
        self.run(500)
        times = np.array([t["t_ns"] for t in self.truth])
        wheels = np.array([np.abs(t["wheel_rad_s"]).max() for t in self.truth])
        after = times > cause_ns
        moving = times[after & (wheels > REST_RAD_S)]
        return float(moving[-1] - cause_ns) / MS if len(moving) else 0.0


CAUSES = {  # fault, joint, what may be latched; the cause is the moment it starts unless named
    "cliff": ("cliff", None, Fault.CLIFF),
    "lift": ("lift", None, Fault.LIFT),
    "stop input": ("stop_input_open", None, Fault.STOP_INPUT),
    "unplugged encoder": ("unplugged_encoder", "wheel_left", Fault.STALLED | Fault.CONTACT),
    "swapped polarity": ("swapped_polarity", "wheel_right", Fault.OPPOSING | Fault.CONTACT),
    "jam": ("blocked_wheel", "wheel_left", Fault.STALLED | Fault.CONTACT | Fault.LIFT),
    "obstacle": ("obstacle", "wheel_right", Fault.CONTACT | Fault.STALLED),
}


@pytest.mark.parametrize("host", ["frozen", "malicious"])
@pytest.mark.parametrize("drive", DRIVES)
@pytest.mark.parametrize("cause", CAUSES)
def test_the_wheels_stop_by_the_mcu_alone(cause, drive, host, record_property):
    name, joint, may = CAUSES[cause]
    r = Rolling().rolling(DRIVES[drive])
    r.host = host == "malicious"
    r.twin.faults.start(name, joint)
    took = r.at_rest_after_ms(r.now_ns)
    record_property("stop_ms", took)
    print(f"\n{cause}, {drive}, {host}: at rest after {took:.0f} ms")
    latched = r.latched
    assert latched and not latched & ~may
    assert took <= WITHIN_MS
    assert r.led is (LedMode.STOPPED if latched & Fault.STOP_INPUT else LedMode.FAULT)


@pytest.mark.parametrize("host", ["frozen", "malicious"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_bumper_stops_the_wheels(seed, host, record_property):
    r = Rolling(seed).rolling((FULL, FULL))
    cause_ns = r.until(lambda: r.twin.plant.sensors["bumper"], 10_000)
    r.host = host == "malicious"
    took = r.at_rest_after_ms(cause_ns)
    record_property("stop_ms", took)
    print(f"\nbumper, {host}: at rest after {took:.0f} ms")
    assert took <= WITHIN_MS
    assert r.latched == Fault.BUMPER


@pytest.mark.parametrize("host", ["frozen", "malicious"])
@pytest.mark.parametrize(("speed", "side"), list(itertools.product((FULL, -FULL, 2000), (0, 1))))
def test_a_wheel_wired_backwards_is_stopped_as_it_starts(speed, side, host, record_property):
    """From rest, the other wheel's command being the same: motion opposes from its first moment."""
    r = Rolling(faults=[At("swapped_polarity", BODY.joint_names[side])]).ready()
    r.command = (speed, speed)
    r.step()
    sign = np.sign(speed)
    cause_ns = r.until(lambda: -sign * r.speeds[side] > REST_RAD_S)
    r.host = host == "malicious"
    took = r.at_rest_after_ms(cause_ns)
    record_property("stop_ms", took)
    print(f"\nstart backwards, {speed}, {host}: at rest after {took:.0f} ms")
    assert took <= WITHIN_MS
    assert r.latched == Fault.OPPOSING
    assert r.link.fault.detail == side


def test_hard_driving_raises_no_alarm():
    """Full reversals, turns on the spot and stops, at any moment."""
    rng = np.random.default_rng(11)
    for seed in range(3):
        r = Rolling(seed).ready()
        for _ in range(40):
            one, other = rng.choice([-FULL, FULL, 0, 3000], 2)
            r.command = (int(one), int(other)) if rng.random() < 0.4 else (int(one), int(-one))
            r.run(10 * int(rng.integers(1, 40)))
            bumped = Fault.BUMPER if r.twin.bumped else 0
            assert not r.link.fault.latched & ~bumped
            if bumped:
                break


@pytest.mark.parametrize("mode", [Mode.SAFE, Mode.IDLE, Mode.ACTIVE])
def test_the_ring_tells_the_truth_of_a_robot_whose_host_died(mode):
    """Moving while the wheels are told to move, then armed, then the blinking fault; disarmed stays."""
    r = Rolling().rolling((FULL, FULL)) if mode is Mode.ACTIVE else Rolling().ready(mode)
    r.host = False
    shown, colours, moved_ns = [], set(), r.now_ns
    for _ in range(1000):
        r.step()
        moving = bool(r.firmware.plant.outputs.target[:2].any())
        assert (r.led is LedMode.MOVING) == moving
        moved_ns = r.now_ns if moving else moved_ns
        if r.now_ns - moved_ns > 100 * MS:  # the wheels follow their command a little later
            assert r.fastest < REST_RAD_S
        if r.led is LedMode.FAULT:
            colours.add(bytes(r.firmware.plant.outputs.led_rgb))
        if shown[-1:] != [r.led]:
            shown.append(r.led)
    if mode is Mode.ACTIVE:
        assert shown == [LedMode.MOVING, LedMode.ARMED, LedMode.FAULT]
        assert colours == {bytes(3), bytes((220, 90, 0))}  # it blinks
        assert not r.twin.motors.enabled
    else:
        assert shown == [LedMode.DISARMED]


def test_brown_out_brings_the_robot_to_rest_on_its_ramp():
    r = Rolling().rolling((FULL, FULL))
    r.host = False
    r.twin.faults.start("brown_out")
    started = r.now_ns
    r.until(lambda: r.firmware.plant.read_outputs().target[0] < FULL, 60)
    assert r.at_rest_after_ms(started) < 50 + 20 + 150 + 60
    assert r.latched == Fault.BROWN_OUT


def test_slip_takes_the_grip_and_gives_it_back():
    def way(slip: bool) -> float:
        r = Rolling().ready()
        if slip:
            r.twin.faults.start("slip")
        start = r.twin.pose()[:2]
        r.command = (5000, 5000)
        r.run(600)
        assert not r.link.fault.latched
        gone = float(np.hypot(*np.subtract(r.twin.pose()[:2], start)))
        r.twin.faults.end("slip")
        r.run(400)
        return gone

    assert way(True) < 0.4 * way(False)


def test_on_a_stand_wheels_turn_in_the_air_one_at_a_time():
    r = Rolling(stand=True).run(1000)
    before = r.twin.pose()
    assert r.link.fault.active == Fault.LIFT
    r.link.arm(r.now_ns, Mode.ACTIVE)
    r.run(20)
    assert r.link.answer(protocol.ARM) is Ack.CAUSE_PRESENT
    r.link.arm(r.now_ns, Mode.BENCH)
    r.run(20)
    assert r.link.answer(protocol.ARM) is Ack.OK
    target = np.zeros(len(BODY.joint), np.int16)
    target[0] = 2000
    for _ in range(50):
        r.link.send_motion(r.now_ns, target, 0b1, 60)
        r.run(10)
    assert abs(r.speeds[0] - 2.0) < 0.1
    assert abs(r.speeds[1]) < 0.05
    assert np.abs(np.subtract(r.twin.pose(), before)).max() < 0.005
    assert r.twin.data.qpos[2] > BODY.geometry.wheel_radius_m + 0.03
    assert not r.link.fault.latched


@pytest.mark.parametrize("joint", BODY.joint_names)
def test_polarity_and_encoder_of_every_joint_on_the_stand(joint):
    """What bring-up looks for: motion against the command, and none at all."""
    index = BODY.joint_names.index(joint)

    def jog(*faults: At) -> tuple[int, int]:
        r = Rolling(stand=True, faults=faults).ready(Mode.BENCH)
        begin = int(r.twin.plant.sensors["position"][index])
        held = float(r.twin.data.qpos[r.twin.ids.joint_q[index]])
        target = np.zeros(len(BODY.joint), np.int16)
        target[index] = 1500 if index < 2 else begin + 1500
        for _ in range(20):
            r.link.send_motion(r.now_ns, target, 1 << index, 60)
            r.run(10)
        turned = float(r.twin.data.qpos[r.twin.ids.joint_q[index]]) - held
        return int(r.twin.plant.sensors["position"][index]) - begin, round(turned * 1e4)

    seen, turned = jog()
    assert seen > 200 and abs(seen - turned) < 50
    seen, turned = jog(At("swapped_polarity", joint))
    assert seen < -100 and abs(seen - turned) < 50
    seen, turned = jog(At("unplugged_encoder", joint))
    assert seen == 0 and turned > 200


def test_faults_come_and_go_at_their_times():
    r = Rolling(faults=[At("stop_input_open", None, 100 * MS, 200 * MS)])
    seen = []
    for _ in range(300):
        r.step()
        seen.append(int(r.twin.plant.sensors["stop_input"]))
    assert seen == [1] * 50 + [0] * 50 + [1] * 200
    assert r.twin.faults.active == set()


def test_a_twin_whose_faults_are_over_is_as_good_as_new():
    def bits(*faults: At) -> bytes:
        r = Rolling(3, faults=faults)
        r.run(200)
        m, d = r.twin.model, r.twin.data
        switched = (
            m.dof_damping,
            m.geom_friction,
            m.geom_priority,
            m.actuator_biasprm,
            d.eq_active,
        )
        s = r.twin.plant.sensors
        inputs = bytes((s["stop_input"], s["cliff"], s["bumper"]))
        assert s["battery_mv"] > 15_000
        return b"".join(a.tobytes() for a in switched) + d.mocap_pos[-4:].tobytes() + inputs

    joint = {"any": "wheel_left", "wheel": "wheel_left", "": None}
    harmless = [
        At(n, joint[row.joints], 0, 2 * MS) for n, row in FAULTS.items() if n != "lift"
    ]  # it would fall
    assert bits(*harmless) == bits()


def test_equal_faults_give_equal_bits():
    def bits() -> bytes:
        r = Rolling(4).rolling((5000, 5000))
        r.twin.faults.start("obstacle", "wheel_left")
        r.twin.faults.start("lift")
        return r.run(300).twin.data.qpos.tobytes()

    assert bits() == bits()


@pytest.mark.parametrize(
    ("name", "joint", "words"),
    [("ghost", None, "known are swapped_polarity"), ("lift", "wheel_left", "whole robot"),
     ("obstacle", None, "needs one of the joints wheel_left, wheel_right"),
     ("blocked_wheel", "head_yaw", "wheel_left, wheel_right, not head_yaw"),
     ("swapped_polarity", "tail", "ear_right, not tail")],
)  # fmt: skip
def test_a_fault_that_is_none_is_refused_by_name(name, joint, words):
    twin = Twin(BODY, 0, Plant.create(), EMPTY)
    for refuse in (
        lambda: twin.faults.start(name, joint),
        lambda: Twin(BODY, 0, Plant.create(), EMPTY, faults=[At(name, joint)]),
    ):
        with pytest.raises(TwinError, match=words):
            refuse()


def test_ending_what_does_not_hold_changes_nothing():
    twin = Twin(BODY, 0, Plant.create(), EMPTY)
    twin.faults.end("lift")
    twin.faults.start("cliff")
    twin.faults.start("cliff")
    assert twin.faults.active == {("cliff", None)}
    twin.faults.end("cliff")
    assert twin.faults.active == set()


def test_a_twin_that_catches_up_does_not_call_a_live_firmware_dead():
    """Held up for 30 ms, it makes 15 steps at once: the counter could not move in between."""
    body = load_body("companion")
    plant = Plant(bytearray(4096))
    twin = Twin(body, 0, plant)
    now_ns = 0

    def live(count: int, burst: int) -> None:
        nonlocal now_ns
        for _ in range(count):
            plant.outputs.record["enable"] = 1
            plant.outputs.record["current_limit_ma"] = 4000
            plant.outputs.record["tick_count"] += 1
            plant.write_outputs()
            now_ns += burst * STEP_NS
            twin.step_to(now_ns)

    live(20, 1)
    assert twin.motors.enabled
    for _ in range(5):
        live(1, 15)
        assert twin.motors.enabled
    live(1, 1)
    for step in range(12):  # dead: nothing moves the counter any more
        assert twin.motors.enabled == (step < 10)
        now_ns += STEP_NS
        twin.step_to(now_ns)


def test_a_body_without_brakes_has_none():
    """`brake` is asked for; only what the body file names takes hold of the wheels."""
    for braked in (True, False):
        body = load_body("companion")
        motion = msgspec.structs.replace(body.motion, wheel_brake=braked)
        plant = Plant(bytearray(4096))
        twin = Twin(msgspec.structs.replace(body, motion=motion), 0, plant)
        free = twin.model.dof_damping[twin.ids.joint_v[0]]
        for _ in range(15):
            plant.outputs.record["tick_count"] += 1
            plant.outputs.record["enable"] = plant.outputs.record["brake"] = 1
            plant.write_outputs()
            twin.step_to(twin.now_ns + STEP_NS)
        assert (twin.model.dof_damping[twin.ids.joint_v[0]] > free + 10) == braked


@pytest.mark.parametrize("command", [(0, 0), (3000, 3000)])
def test_a_push_is_felt_and_turns_a_robot_that_drives(command):
    def drive(push: bool) -> tuple[np.ndarray, np.ndarray]:
        r = Rolling(2).rolling(command)
        r.run(100)
        start, sensors = np.array(r.twin.pose()), []
        if push:
            r.twin.faults.start("push")
        for _ in range(150):
            r.step()
            s = r.twin.plant.sensors
            sensors.append(np.concatenate((s["gyro_rad_s"], s["accel_m_s2"])))
        r.twin.faults.end("push")
        assert not r.link.fault.latched
        assert not r.twin.data.xfrc_applied.any()
        end = np.array(r.twin.pose())
        r.command = (0, 0)
        r.run(1000)
        rest = r.twin.pose()
        r.run(100)
        assert np.abs(np.subtract(r.twin.pose(), rest)).max() < 0.005
        return end - start, np.array(sensors)

    (there, plain), (pushed, felt) = drive(False), drive(True)
    print(f"\npush {command}: {np.abs(pushed - there)}, {np.abs(felt - plain).max(0)}")
    assert np.abs(felt - plain)[:, 3:5].max() > 1.0
    if command != (0, 0):
        assert np.abs(pushed - there)[2] > 0.04
        assert np.abs(felt - plain)[:, 2].max() > 0.15  # rad/s of yaw


def test_a_covered_lens_is_nearly_black_and_a_free_one_sees_as_before():
    twin = Twin(BODY, 3, Plant.create(), EMPTY)
    bright = twin.render().mean()
    twin.faults.start("cover")
    dark = [twin.render().astype(int) for _ in range(20)]
    assert 0 < dark[0].mean() < 8 and (dark[0] != dark[1]).any()
    twin.faults.end("cover")
    assert abs(twin.render().mean() - bright) < 5


def test_a_frozen_camera_shows_the_same_bits_while_the_world_goes_on():
    r = Rolling(1).rolling((3000, -3000))
    before = r.twin.render().copy()
    r.twin.faults.start("freeze")
    frames = []
    for _ in range(5):
        r.run(100)
        frames.append(r.twin.render().copy())
    assert all(np.array_equal(f, before) for f in frames)
    r.twin.faults.end("freeze")
    assert not np.array_equal(r.twin.render(), before)


def test_a_gyro_bias_turns_the_yaw_rate_alone_and_leaves_no_trace():
    twin = Twin(BODY, 1, Plant.create(), EMPTY)

    def mean() -> np.ndarray:
        seen = []
        for _ in range(200):
            twin.step_to(twin.now_ns + STEP_NS)
            s = twin.plant.sensors
            seen.append(np.concatenate((s["gyro_rad_s"], s["accel_m_s2"])))
        return np.mean(seen, 0)

    own, before = twin.sensors.bias.copy(), mean()
    twin.faults.start("gyro_bias")
    change = mean() - before
    assert change[2] == pytest.approx(0.5, abs=0.01)
    assert np.abs(np.delete(change, 2)).max() < 0.1
    twin.faults.end("gyro_bias")
    assert np.array_equal(twin.sensors.bias, own)
