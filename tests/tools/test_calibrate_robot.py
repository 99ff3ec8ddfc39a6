"""`companion calibrate robot` on the twin: all steps, skipped when still good, resumed after trouble."""

import json
import time

import pytest

pytest.importorskip("mujoco")

from calibration.store import Record, read_record, write_record
from runtime.body import load_body
from tools import companion
from tools.calibrate import robot
from tools.calibrate.table import TOOLS
from tools.in_force import in_force


def run(capsys, tmp_path, *more):
    argv = [
        "calibrate",
        "robot",
        "--work",
        tmp_path / "w",
        "--folder",
        tmp_path / "c",
        "--seed",
        3,
        "--json",
        *more,
    ]
    code = companion.main([str(a) for a in argv])
    return code, json.loads(capsys.readouterr().out)


FAST = ("imu-static", "motor", "wheels")  # all six, and the camera's forty views, take minutes


@pytest.mark.parametrize("order", [FAST, pytest.param(robot.ORDER, marks=pytest.mark.heavy)])
def test_a_twin_is_calibrated_proved_and_then_left_alone(
    capsys, tmp_path, monkeypatch, order: tuple[str, ...]
) -> None:
    monkeypatch.setattr(robot, "ORDER", order)
    code, verdict = run(capsys, tmp_path, "--report", tmp_path / "r.html")
    assert code == 0, verdict["cause"]
    assert verdict["result"] == dict.fromkeys(order, "PASS")
    assert verdict["quality"]["proof_place_error_mm"] < 10
    assert "Proof drive" in (tmp_path / "r.html").read_text()
    assert read_record(tmp_path / "c", "twin-3", "wheels").verdict == "PASS"
    for tool in order:  # what `status` shows of a tool is something that it measures
        quality = read_record(tmp_path / "c", "twin-3", tool).quality
        assert set(TOOLS[tool].headline) <= set(quality), tool
    found = in_force(tmp_path / "c", "twin-3", "twin-3", load_body("companion"), time.time_ns())
    assert found.holds and not found.doubts and set(found.used) == set(order)
    (tmp_path / "c" / "twin-3.motor.json").unlink()  # as if it had been interrupted there
    code, verdict = run(capsys, tmp_path)
    assert verdict["result"] == dict.fromkeys(order, "skipped") | {"motor": "PASS"}


@pytest.mark.parametrize(
    ("axes", "board", "has_multi", "good"),
    [
        ("delivered", "twin-3", False, True),
        ("delivered", "twin-3", True, False),
        ("imu-multi", "twin-3", True, True),
        ("imu-multi", "twin-3", False, False),
        ("delivered", "twin-4", False, False),
    ],
)
def test_cam_imu_is_done_again_for_another_board_or_other_axes(
    tmp_path, axes: str, board: str, has_multi: bool, good: bool
) -> None:
    """Else the loop would refuse it, and nothing would engage although every step was skipped."""
    kinds = {"cam-imu": {"gyro_axes": axes, "imu_serial": board}, "imu-multi": {}}
    for kind in list(kinds)[: 1 + has_multi]:
        write_record(tmp_path, Record(kind=kind, serial="twin-3", date="2099-01-01T00:00:00Z", tool_version="0", verdict="PASS", cause="c", next="n", result=kinds[kind], quality={}))  # fmt: skip
    assert bool(robot._still_good(tmp_path, "twin-3", "twin-3", "cam-imu")) is good


def test_a_step_that_fails_ends_it_and_installs_nothing(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(robot, "ORDER", ("motor", "wheels"))
    from tools.calibrate import motor

    sweep = motor.sweep_one

    def blocked(rig, name):
        rig.twin.model.jnt_limited[rig.twin.model.joint("head_yaw").id] = 1
        rig.twin.model.jnt_range[rig.twin.model.joint("head_yaw").id] = -0.2, 0.2
        return sweep(rig, name)

    monkeypatch.setattr(motor, "sweep_one", blocked)
    code, verdict = run(capsys, tmp_path)
    assert code == 1
    assert "head_yaw is blocked" in verdict["cause"]
    assert verdict["result"] == {"motor": "FAIL"}
    assert not list((tmp_path / "c").glob("*.json"))
