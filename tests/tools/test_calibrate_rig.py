"""Calibration that moves: the twin behind the real firmware core, guarded, its truth known."""

import json
import os
import time
import tty

import numpy as np
import pytest

pytest.importorskip("mujoco")

from calibration.motor import judge_motor
from calibration.store import Record, write_record
from calibration.wheels import solve_wheels
from firmware_bridge.protocol import Mode
from runtime.body import load_body
from runtime.errors import RuntimeFault
from tools import companion
from tools.calibrate.motor import sweep_all, sweep_one
from tools.calibrate.rig import Aborted, TwinRig
from tools.calibrate.rigs import HoldKey, use_imu
from tools.calibrate.wheel_log import read_wheels
from tools.calibrate.wheels_record import squares, write_log
from tools.twin import imu_truth
from tools.twin.mismade import rolling_radius_m

BODY = load_body("companion")


def rig_of(seed: int) -> TwinRig:
    rig = TwinRig(BODY, seed)
    assert rig.connect() == f"twin-{seed}"
    return rig


@pytest.mark.parametrize("seed", [0, 3])
def test_squares_on_the_twin_give_its_true_ratios(tmp_path, seed: int) -> None:
    rig = rig_of(seed)
    write_log(tmp_path / "w.csv", squares(rig, 2))
    fit = solve_wheels(read_wheels(tmp_path / "w.csv").stretches)
    left, right = rolling_radius_m(rig.twin)
    assert fit.base_over_diameter == pytest.approx(rig.made.track_m / (left + right), rel=1e-3)
    assert fit.right_over_left == pytest.approx(right / left, rel=1e-3)
    assert rig.twin.pose()[0] ** 2 + rig.twin.pose()[1] ** 2 < 1.0  # it came back


def test_a_gyro_of_a_wrong_scale_is_put_right_before_wheels_are_solved_with_it(tmp_path) -> None:
    """Its scale goes straight into base over diameter, unless `imu-multi` is installed."""
    seed, off = 3, []
    for installed in (False, True):
        rig = TwinRig(BODY, seed, raw_imu=True)
        rig.connect()
        multi = {}
        for kind, (matrix, bias) in imu_truth.triads(rig.twin).items():
            scale = 1 / np.diag(matrix)
            multi[kind] = {"inverse_scale": scale.tolist(), "bias": bias.tolist(), "misalignment": (matrix * scale).tolist()}  # fmt: skip
        if installed:
            write_record(tmp_path, Record(kind="imu-multi", serial=f"twin-{seed}", date="2099-01-01T00:00:00Z", tool_version="0", verdict="PASS", cause="c", next="n", result=multi, quality={}))  # fmt: skip
        assert use_imu(rig, tmp_path) is installed
        write_log(tmp_path / "w.csv", squares(rig, 2))
        fit = solve_wheels(read_wheels(tmp_path / "w.csv").stretches)
        true = rig.made.track_m / sum(rolling_radius_m(rig.twin))
        off.append(abs(fit.base_over_diameter / true - 1))
        assert abs(rig.made.imu_scale[0, 2] - 1) > 2e-3
    assert off[1] < 1e-3 < off[0]


@pytest.mark.parametrize("damaged", [False, True])
def test_an_imu_record_that_does_not_hold_stops_the_recording(tmp_path, capsys, damaged) -> None:
    file = write_record(tmp_path, Record(kind="imu-multi", serial="twin-0", date="2099-01-01T00:00:00Z", tool_version="0", verdict="PASS", cause="c", next="n", result={}, quality={}))  # fmt: skip
    if damaged:
        file.write_text('{"kind": "imu-mu')
    out = tmp_path / "w.csv"
    code = companion.main(["calibrate", "wheels", "record", "--out", str(out), "--folder", str(tmp_path)])  # fmt: skip
    assert code == 1 and "IMU's calibration cannot be used" in capsys.readouterr().err
    assert not out.exists()


def test_a_released_key_stops_it_and_nothing_is_written(tmp_path, monkeypatch) -> None:
    made = []

    class Released(TwinRig):
        def __init__(self, *args) -> None:
            super().__init__(*args)
            self.released_at_ns = self.now_ns + 6_000_000_000
            made.append(self)

    monkeypatch.setattr("tools.calibrate.rigs.TwinRig", Released)
    out = tmp_path / "w.csv"
    assert (
        companion.main(["calibrate", "wheels", "record", "--out", str(out), "--squares", "1"]) == 1
    )
    assert not out.exists()
    assert not made[0].twin.motors.enabled


def test_what_stands_in_the_way_is_named_and_it_parks() -> None:
    rig = rig_of(1)
    wall = 10.0  # rad/s towards the wall, until the bumper meets it
    with pytest.raises(Aborted, match="stopped by the board"), rig.armed(Mode.ACTIVE):
        rig.drive(wall, wall)
        rig.wait(20.0)
    assert not rig.twin.motors.enabled


def obstruct(rig: TwinRig, joint: str) -> None:
    """Something solid in a joint's way, a little beyond where it stands."""
    model = rig.twin.model
    index = model.joint(joint).id
    if joint.startswith("wheel"):
        rig.twin.motors.jam(BODY.joint_names.index(joint), True)
        return
    here = float(rig.twin.data.qpos[model.jnt_qposadr[index]])
    model.jnt_limited[index] = 1
    model.jnt_range[index] = here - 0.25, here + 0.25


@pytest.mark.parametrize("joint", BODY.joint_names)
def test_an_obstacle_in_a_joints_way_is_named_and_current_stays_low(joint: str) -> None:
    rig = TwinRig(BODY, 4, stand=True)
    rig.connect()
    obstruct(rig, joint)
    sweep = sweep_one(rig, joint)
    assert sweep.blocked
    limit = sweep.limit_a
    assert abs(sweep.current_a).max() <= limit + 0.06  # a sensor's noise
    (finding,) = judge_motor(sweep, None)
    assert finding.level == "FAIL" and joint in finding.cause and "blocked" in finding.cause


def test_a_jammed_wheel_is_named_and_no_other_joint_moves_after_it() -> None:
    """The board has latched: the next joint would be refused, and nothing written of what was found."""
    rig = TwinRig(BODY, 4, stand=True)
    rig.connect()
    obstruct(rig, "wheel_left")
    (sweep,) = sweep_all(rig, list(BODY.joint_names))
    (finding,) = judge_motor(sweep, None)
    assert "wheel_left is blocked" in finding.cause
    with pytest.raises(RuntimeFault, match="the board stands stopped: stalled; remove the cause"):
        sweep_all(rig, ["head_yaw"])


def test_a_released_key_ends_the_sweep_of_all_joints() -> None:
    rig = TwinRig(BODY, 4, stand=True)
    rig.connect()
    rig.released_at_ns = rig.now_ns + 1_000_000_000
    (sweep,) = sweep_all(rig, list(BODY.joint_names))
    assert sweep.name == "wheel_left" and "released" in sweep.blocked


def test_the_motor_tool_from_sweep_to_report(tmp_path, capsys) -> None:
    log, out, page = tmp_path / "m.csv", tmp_path / "m.json", tmp_path / "m.html"
    assert companion.main(["calibrate", "motor", "record", "--out", str(log), "--seed", "2"]) == 0
    code = companion.main(
        ["calibrate", "motor", "solve", "--log", str(log), "--out", str(out), "--report", str(page)]
    )
    assert code == 0, capsys.readouterr().out
    assert page.read_text().count("<svg") == 6
    assert (
        companion.main(
            [
                "calibrate",
                "motor",
                "install",
                str(out),
                "--serial",
                "twin-2",
                "--folder",
                str(tmp_path / "c"),
            ]
        )
        == 0
    )


@pytest.mark.parametrize("seed", [0, 5])
def test_the_head_tool_finds_where_the_twins_camera_sits(tmp_path, capsys, seed: int) -> None:
    folder, out = tmp_path / "h", tmp_path / "h.json"
    assert (
        companion.main(["calibrate", "head", "record", "--out", str(folder), "--seed", str(seed)])
        == 0
    )
    code = companion.main(
        ["calibrate", "head", "solve", "--record", str(folder), "--out", str(out)]
    )
    assert code == 0, capsys.readouterr().out
    result = json.loads(out.read_text())["result"]
    made = TwinRig(BODY, seed).made
    about = json.loads((folder / "record.json").read_text())
    assert about["reading_step_rad"] == pytest.approx([2 * np.pi / 4096] * 2, abs=1e-4)
    assert result["camera_shift_m"] == pytest.approx(made.camera_shift_m, abs=3e-3)
    assert result["camera_turn_rad"] == pytest.approx(made.camera_turn_rad, abs=0.3 / 57.3)
    assert companion.main(["calibrate", "head", "record", "--out", str(folder)]) == 2  # not over it
    (folder / "poses.csv").write_text("file,head_yaw\n00.png,0\n")
    assert companion.main(["calibrate", "head", "solve", "--record", str(folder)]) == 1


def test_a_joint_that_is_held_ends_the_heads_recording(tmp_path, monkeypatch) -> None:
    class Held(TwinRig):
        def __init__(self, *args) -> None:
            super().__init__(*args)
            obstruct(self, "head_yaw")

    monkeypatch.setattr("tools.calibrate.rigs.TwinRig", Held)
    folder = tmp_path / "h"
    assert companion.main(["calibrate", "head", "record", "--out", str(folder)]) == 1
    assert not (folder / "poses.csv").exists()


def test_the_key_counts_only_while_it_is_held(monkeypatch) -> None:
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    with os.fdopen(theirs) as stdin, os.fdopen(ours, "wb", buffering=0) as hand:
        monkeypatch.setattr("sys.stdin", stdin)
        monkeypatch.setattr("tools.calibrate.rigs.HOLD_S", 0.2)
        key = HoldKey()
        assert not key()
        hand.write(b" " * 50)
        assert key()
        time.sleep(0.3)
        assert not key(), "released"
        hand.write(b"x")  # another key does not bring back spaces typed before
        assert not key()
