"""The watch on the twin: healthy specimens raise nothing, each fault raises its own flag and no other."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace

import msgspec
import numpy as np
import pytest

pytest.importorskip("mujoco")

import mujoco

from calibration.camera import Remap, remap_table
from calibration.drift import Drift, Standing, read_drift, standing, write_drift
from calibration.store import write_record
from calibration.watch import DEG
from calibration.watch_monitor import Monitor
from models.bundle import find_bundle, load_bundle
from runtime.body import load_body
from runtime.controller import SLOW_FACTOR
from runtime.events import Event
from runtime.lockstep import START_NS
from runtime.log import Arrays
from runtime.odometry import WheelGeometry
from tools import companion
from tools.calibrate.install import installed
from tools.calibrate.rig import TwinRig
from tools.compose import DEFAULT_BUNDLE, RunSettings, open_world, prepare
from tools.lockstep_run import LockstepRun, Overrides
from tools.twin.specimen import factory_calibration
from tools.watched import watched

BODY = load_body("companion")
CAMERA = load_bundle(find_bundle(DEFAULT_BUNDLE), BODY.layout()).manifest.camera
WATCHED = watched(BODY, WheelGeometry.drawn(BODY.geometry), CAMERA)
Fault = Callable[[TwinRig], None]


class Driver:
    """Drives to and fro near the middle of the room, turns, looks about and rests, at random."""

    def __init__(self, seed: int) -> None:
        self.rig = TwinRig(BODY, seed)
        self.rig.connect()
        self.monitor = Monitor(WATCHED)
        camera = self.rig.twin.camera
        self._remap = Remap(remap_table(camera.lens, WATCHED.pinhole), camera.width, camera.height)
        self._rng = np.random.default_rng(seed + 100)
        self._phase = 0

    def drive(self, seconds: float, sees: bool = True) -> float:
        """Until a flag is raised, or the time is over; seconds driven."""
        start_ns = self.rig.now_ns
        with self.rig.armed():
            while (self.rig.now_ns - start_ns) / 1e9 < seconds and not self.monitor.flags:
                self._leg(sees)
        return (self.rig.now_ns - start_ns) / 1e9

    def _leg(self, sees: bool) -> None:
        rig, rng = self.rig, self._rng
        self._phase = (self._phase + 1) % 4
        speed, periods = rng.uniform(2, 5), 260
        if self._phase == 1:  # 0.7 m, towards the middle
            x, y, yaw = rig.twin.pose()
            way = 1 if x * np.cos(yaw) + y * np.sin(yaw) <= 0 else -1
            rig.drive(way * speed, way * speed)
            periods = int(900 / speed)
        elif self._phase == 3:
            turn = rng.uniform(1.5, 4) * rng.choice([-1, 1])
            rig.drive(-turn, turn)
            rig.aim("head_yaw", rng.uniform(-0.6, 0.6))
            rig.aim("head_pitch", rng.uniform(-0.4, 0.1))
            periods = int(rng.uniform(150, 400))
        else:
            rig.drive(0.0, 0.0)
        for _ in range(periods):
            rig.advance()
            s = rig.link.sensors[0]
            self.monitor.sense(int(s["t_ns"]), s["position_rad"], s["gyro_rad_s"].astype(float), s["accel_m_s2"].astype(float))  # fmt: skip
            if sees and rig.now_ns % 50_000_000 == 0:
                self.monitor.see(rig.now_ns, self._remap(rig.twin.render()))


def worn(rig: TwinRig) -> None:
    """One wheel smaller, the other larger: together 1 %, and it stands on the same casters."""
    for geom, share in zip(rig.twin.ids.wheel_geom, (0.995, 1.005), strict=True):
        rig.twin.model.geom_size[geom, 0] *= share


def turned(site: int, model: mujoco.MjModel, axis: tuple[float, float, float], deg: float) -> None:
    more, now = np.zeros(4), np.zeros(4)
    mujoco.mju_axisAngle2Quat(more, np.array(axis), deg * DEG)
    mujoco.mju_mulQuat(now, model.site_quat[site], more)
    model.site_quat[site] = now
    model.site_sameframe[site] = 0


def camera_rolled(rig: TwinRig) -> None:
    turned(rig.twin.ids.camera_site, rig.twin.model, (1.0, 0.0, 0.0), 1.5)


def camera_nodded(rig: TwinRig) -> None:
    turned(rig.twin.ids.camera_site, rig.twin.model, (0.0, 1.0, 0.0), 1.5)


def camera_aside(rig: TwinRig) -> None:
    turned(rig.twin.ids.camera_site, rig.twin.model, (0.0, 0.0, 1.0), 4.0)


def remounted(rig: TwinRig) -> None:
    turned(rig.twin.model.site("imu").id, rig.twin.model, (1.0, 0.0, 0.0), 5.0)


def biased(rig: TwinRig) -> None:
    rig.twin.sensors.bias_gyro(0.03)


# Fault, flag, amount in SI units, learning before [s], within how long it must be told [s].
FAULTS = {
    "wheels": (worn, "wheel_ratio", 0.01, 130.0, 180.0),
    "gyro": (biased, "gyro_bias_z", 0.03, 60.0, 30.0),
    "IMU": (remounted, "imu_roll", 5 * DEG, 60.0, 60.0),
    "camera rolled": (camera_rolled, "camera_roll", 1.5 * DEG, 330.0, 330.0),
    "camera nodded": (camera_nodded, "camera_pitch", -1.5 * DEG, 330.0, 330.0),
    "camera aside": (camera_aside, "camera_course", -4 * DEG, 700.0, 1000.0),
}
EACH = [
    pytest.param(n, s, marks=[pytest.mark.heavy] if n.startswith("camera") else [])
    for n in FAULTS
    for s in ((0,) if n.startswith("camera") else (0, 1, 2))
]


@pytest.mark.parametrize(("name", "seed"), EACH)
def test_a_fault_raises_its_flag_and_no_other(name: str, seed: int) -> None:
    fault, flag, amount, learn_s, within_s = FAULTS[name]
    driver = Driver(seed)
    sees = name.startswith("camera")
    driver.drive(learn_s, sees)
    assert not driver.monitor.flags
    fault(driver.rig)
    at_ns = driver.rig.now_ns
    took_s = driver.drive(within_s, sees)
    (found,) = driver.monitor.flags
    assert found.name == flag and took_s < within_s
    assert abs(found.since_ns - at_ns) < within_s * 1e9 / 2
    gauge = driver.monitor.gauges[flag]
    assert gauge.amount == pytest.approx(
        amount, rel=0.5
    )  # the newest blocks may still hold the old


@pytest.mark.heavy
@pytest.mark.parametrize("seed", [0, 1])
def test_a_healthy_specimen_raises_nothing_in_ten_minutes(seed: int) -> None:
    driver = Driver(seed)
    driver.drive(600.0)
    assert not driver.monitor.flags
    blocks = {name: g.blocks for name, g in driver.monitor.gauges.items()}
    assert blocks["wheel_ratio"] > 15 and blocks["gyro_bias_z"] > 100 and blocks["gravity"] > 50
    assert blocks["camera_roll"] >= 8


class Stands:
    """A policy that stands still: rest tells the gyro's bias within seconds."""

    def act(self, belief, age_s, proprio, imu, skill, goal):
        return np.zeros(4, np.float32)


def stood(bias_from_s: float | None) -> tuple[Arrays, str, LockstepRun]:
    """20 s of the whole chain in lockstep; the gyro's bias jumps after so many."""
    setup = prepare(RunSettings(seed=4, lockstep=True))
    world, _ = open_world(setup)
    run = LockstepRun(setup, world, None, Overrides(policy=Stands()))
    inner = run.mind.step

    def step(now_ns: int) -> None:
        if bias_from_s is not None and now_ns > START_NS + bias_from_s * 1e9:
            run.twin.sensors.bias_gyro(0.02)
        inner(now_ns)

    run.mind.step = step  # type: ignore[method-assign]
    result = run.run(20.0)
    return result.records, result.tick_log_sha256, run


def test_in_lockstep_a_flag_is_an_event_that_slows_the_same_each_time() -> None:
    records, sha, run = stood(10.0)
    told = [e for e in records["event.mind"] if e["code"] == Event.CALIBRATION_DRIFT]
    (event,) = told
    assert event["active"] and 10 < (event["t_ns"] - START_NS) / 1e9 < 20
    said = event["text"].decode()
    assert said.startswith("gyro bias about z moved +1.") and "s into the run: run `companion calibrate imu-static record`" in said  # fmt: skip
    caps = records["status"]["speed_cap"]
    assert caps[-1] == pytest.approx(SLOW_FACTOR * caps[caps > 0].max())
    assert stood(10.0)[1] == sha
    assert run.mind._watch is not None and run.mind._watch._config.folder is None


def test_in_lockstep_a_healthy_robot_is_not_slowed() -> None:
    records, _, run = stood(None)
    assert not ("event.mind" in records and (records["event.mind"]["code"] == Event.CALIBRATION_DRIFT).any())  # fmt: skip
    assert run.mind._watch is not None
    assert run.mind._watch.monitor.gauges["gyro_bias_z"].blocks >= 8


@pytest.mark.parametrize("gross", [False, True])
def test_the_next_start_knows_a_flag_until_it_is_calibrated(tmp_path, monkeypatch, capsys, gross) -> None:  # fmt: skip
    """Status, doctor and the gate of a robot; the flag is one that a watch wrote."""
    folder = tmp_path / "companion" / "calibration"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    amount = 0.02 if gross else 0.008
    flag = Standing(name="wheel_ratio", amount=amount, since="2026-11-12T10:00:00Z", serial="b1", said="wheel ratio moved +0.8 % since 12 Nov: run `companion calibrate wheels record`")  # fmt: skip
    write_drift(folder, "b1", Drift(flags=(flag,)))
    (row,) = installed(folder)
    assert row["state"] == "drifted" and "since 12 Nov" in row["said"]
    assert companion.main(["calibrate", "status", "--folder", str(folder)]) == 3
    assert "drifted  wheels" in capsys.readouterr().out
    companion.main(["doctor", "--json"])
    found = {f["name"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    assert "wheels of b1 is drifted" in found["calibration"]["found"]
    setup = replace(prepare(RunSettings(seed=0)), folder=tmp_path, mcu="b1")
    setup = replace(setup, settings=replace(setup.settings, target="robot", camera="/dev/video7"))
    record = factory_calibration(BODY, 0, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "1")
    write_record(folder, msgspec.structs.replace(record, serial="video7"))
    assert setup.is_calibrated() is not gross
    ratios = {"right_over_left": 1.0, "base_over_diameter": 1.7}
    wheels = msgspec.structs.replace(record, serial="b1", kind="wheels", result=ratios)
    write_record(folder, wheels)
    assert setup.is_calibrated() and standing(folder) == []
    assert read_drift(folder, "b1") == Drift()
