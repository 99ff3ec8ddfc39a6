"""`companion calibrate robot` on the twin: all steps, skipped when still good, resumed after trouble."""

import json
import os
import time
from types import SimpleNamespace

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


def test_an_old_recording_is_never_taken_for_a_new_one(capsys, tmp_path, monkeypatch) -> None:
    """Last month's drive, and a space bar let go in this one: nothing is solved, nothing installed."""
    monkeypatch.setattr(robot, "ORDER", ("wheels",))
    work = tmp_path / "w"
    work.mkdir()
    (work / "wheels.csv").write_text("last month")
    (work / "wheels.json").write_text("{}")
    (work / "mine.json").write_text("not ours")
    words: list[str] = []

    def let_go(_args, *argv: str) -> int:
        words.extend(argv)
        (work / "wheels.csv").write_text("half of it")
        return 1

    monkeypatch.setattr(robot, "_command", let_go)
    code, verdict = run(capsys, tmp_path)
    assert code == 1 and verdict["result"] == {"wheels": "FAIL"} and "solve" not in words
    kept = {p.name.split(".")[0]: p.read_text() for p in work.glob("*.old.*")}
    assert kept == {"wheels": kept["wheels"]} and len(list(work.glob("*.old.*"))) == 2
    assert "last month" in [p.read_text() for p in work.glob("wheels.*.old.csv")]
    assert (work / "mine.json").read_text() == "not ours"


def test_ctrl_c_ends_all_of_it(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(robot, "ORDER", ("motor", "wheels"))
    from tools.calibrate import motor

    def interrupted(_rig, _name):
        raise KeyboardInterrupt

    monkeypatch.setattr(motor, "sweep_one", interrupted)
    code = companion.main([str(a) for a in ("calibrate", "robot", "--work", tmp_path / "w", "--folder", tmp_path / "c", "--seed", 3)])  # fmt: skip
    assert code == 1 and "stopped by Ctrl-C" in capsys.readouterr().err
    assert not list((tmp_path / "w").glob("wheels*")), "the next step moved the robot"
    assert not list((tmp_path / "c").glob("*.json"))


@pytest.mark.parametrize(
    ("more", "board"),
    [([], None), (["--camera", "/dev/video9"], "chessboard:9x6:25mm"), (["--camera", "/dev/video9", "--board", "chessboard:7x5:30mm"], "chessboard:7x5:30mm")],
)  # fmt: skip
def test_one_board_is_seen_by_all_that_look_at_one(
    capsys, tmp_path, monkeypatch, more, board
) -> None:
    told: dict[str, str | None] = {}

    def note(_args, *argv: str) -> int:
        if argv[2] == "record":
            told[argv[1]] = argv[argv.index("--board") + 1] if "--board" in argv else None
        return 1

    monkeypatch.setattr(robot, "_command", note)
    for tool in robot.ORDER:
        monkeypatch.setattr(robot, "ORDER", (tool,))
        run(capsys, tmp_path, *more)
    assert {t for t, b in told.items() if b} == (set(robot.BOARDED) if board else set())
    assert {b for b in told.values() if b} == ({board} if board else set())


@pytest.mark.parametrize(
    ("old_s", "verdict", "goes_on"),
    [(10.0, None, True), (10.0, "MARGINAL", True), (10.0, "PASS", False), (3 * 3600.0, None, False)],
)  # fmt: skip
def test_an_album_is_gone_on_with_only_while_it_is_of_today(
    tmp_path, monkeypatch, old_s: float, verdict, goes_on: bool
) -> None:
    album, out = tmp_path / "camera", tmp_path / "camera.json"
    assert not robot._goes_on(album, out)
    album.mkdir()
    (album / "0001.png").write_bytes(b"")
    os.utime(album / "0001.png", (time.time() - old_s,) * 2)
    if verdict:
        out.write_text("{}")
    monkeypatch.setattr(robot, "read_verdict", lambda _file: SimpleNamespace(verdict=verdict))
    assert robot._goes_on(album, out) is goes_on
