"""The twin calibrates camera and IMU by its own motion, before a board; its truth is known."""

import json
import shutil
import time

import numpy as np
import pytest

pytest.importorskip("mujoco")

from calibration.rotations import matrices, turn
from runtime.body import load_body
from tools import companion
from tools.calibrate.cam_imu_record import irregular
from tools.calibrate.rig import TwinRig
from tools.in_force import in_force

SEED = 4


def calibrate(capsys, *argv) -> tuple[int, str, str]:
    code = companion.main(["calibrate", "cam-imu", *map(str, argv)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    folder = tmp_path_factory.mktemp("film") / "film"
    assert companion.main(["calibrate", "cam-imu", "record", "--out", str(folder), "--seed", str(SEED)]) == 0  # fmt: skip
    return folder


def check(verdict, truth) -> None:
    """Within 0.3 deg and 1 ms, and the truth within what the intervals say (3 std: one seed)."""
    result, quality = verdict["result"], verdict["quality"]
    assert verdict["verdict"] == "PASS", verdict["cause"]
    assert quality["truth_rotation_deg"] < 0.3
    assert abs(quality["truth_time_offset_ms"]) < 1
    off = turn(matrices(np.array(result["rotation_quat_xyzw"])) @ np.array(truth).T)
    assert np.rad2deg(np.linalg.norm(off)) == pytest.approx(quality["truth_rotation_deg"], abs=1e-3)
    assert (np.abs(off) < 3 * np.array(result["std"]["rotation_rad"])).all()
    assert abs(quality["truth_time_offset_ms"]) < 3e3 * result["std"]["time_offset_s"]


def test_the_twin_finds_its_own_mount_and_delay(capsys, tmp_path, film) -> None:
    about = json.loads((film / "record.json").read_text())
    report, out = tmp_path / "r.html", tmp_path / "r.json"
    code, said, _ = calibrate(capsys, "solve", "--record", film, "--json", "--report", report, "--out", out)  # fmt: skip
    verdict = json.loads(said)
    assert code == 0 and verdict["device"] == f"twin-{SEED}"
    check(verdict, about["truth"]["camera_from_imu"]["delivered"])
    assert verdict["result"]["stamps"] == "robot" and verdict["result"]["gyro_axes"] == "delivered"
    assert report.read_text().count("<svg") == 3
    code = companion.main(["calibrate", "cam-imu", "install", str(out), "--folder", str(tmp_path / "c")])  # fmt: skip
    assert code == 0
    body, serial = load_body("companion"), f"twin-{SEED}"
    found = in_force(tmp_path / "c", serial, serial, body, time.time_ns())
    assert found.holds and found.imu is not None and not found.doubts
    assert found.camera_offset_ns == round(1e9 * verdict["result"]["time_offset_s"])


@pytest.mark.heavy
@pytest.mark.parametrize("seed", [41])
def test_raw_axes_are_corrected_by_imu_multi(capsys, tmp_path, seed: int) -> None:
    """`--imu`: both recordings of the same IMU, as the chip's factory left it."""
    film, poses, imu = tmp_path / "film", tmp_path / "poses", tmp_path / "imu.json"
    for argv in (
        ["cam-imu", "record", "--out", film, "--seed", seed, "--raw-imu"],
        ["imu-multi", "record", "--out", poses, "--seed", seed],
        ["imu-multi", "solve", "--record", poses, "--out", imu],
    ):
        assert companion.main(["calibrate", *map(str, argv)]) == 0
    capsys.readouterr()
    _, said, _ = calibrate(capsys, "solve", "--record", film, "--imu", imu, "--json")
    verdict = json.loads(said)
    assert verdict["result"]["gyro_axes"] == "imu-multi"
    about = json.loads((film / "record.json").read_text())
    check(verdict, about["truth"]["camera_from_imu"]["imu-multi"])


def test_calibrated_axes_are_not_corrected_twice(capsys, tmp_path, film) -> None:
    code, _, err = calibrate(capsys, "solve", "--record", film, "--imu", tmp_path / "any.json")
    assert code == 2 and "may not be corrected twice" in err and "--raw-imu" in err
    code, _, err = calibrate(capsys, "record", "--out", tmp_path / "f", "--raw-imu", "--port", "x", "--camera", "y")  # fmt: skip
    assert code == 2 and "--raw-imu is for the twin" in err


def test_what_was_not_recorded_so_is_refused_by_name(capsys, tmp_path, film) -> None:
    code, _, err = calibrate(capsys, "solve", "--record", tmp_path)
    assert code == 1 and "is no recording of camera and IMU" in err
    cut = tmp_path / "cut"
    shutil.copytree(film, cut)
    whole = (cut / "motion.npz").read_bytes()
    (cut / "motion.npz").write_bytes(whole[: len(whole) // 2])
    code, _, err = calibrate(capsys, "solve", "--record", cut)
    assert code == 1 and "is no recording" in err and "Traceback" not in err
    (cut / "motion.npz").write_bytes(whole)
    (cut / "00003.png").unlink()
    code, _, err = calibrate(capsys, "solve", "--record", cut)
    assert code == 1 and "frames" in err
    code, _, err = calibrate(capsys, "solve", "--record", film, "--gyro", "x.csv")
    assert code == 2 and "without --video and --gyro" in err
    code, _, err = calibrate(capsys, "solve", "--gyro", "a", "--gyro", "b", "--imu", "x.json")
    assert code == 2 and "give it with --record" in err
    code, _, err = calibrate(capsys, "record", "--out", film)
    assert code == 2 and "is not empty" in err
    code, _, err = calibrate(capsys, "record", "--out", tmp_path / "n", "--port", "/dev/nothing")
    assert code == 2 and "--camera is missing" in err


@pytest.mark.parametrize("swap", [[0, 2, 1], [2, 1, 0]])
def test_swapped_axes_of_one_sensor_are_refused(capsys, tmp_path, film, swap) -> None:
    other = tmp_path / "swapped"
    shutil.copytree(film, other)
    with np.load(film / "motion.npz") as stored:
        arrays = {k: stored[k] for k in stored.files}
    arrays["gyro_rad_s"] = arrays["gyro_rad_s"][:, swap]
    np.savez(other / "motion.npz", **arrays)
    code, _, err = calibrate(capsys, "solve", "--record", other)
    assert code == 1 and "deg apart: axes" in err


def test_a_released_key_leaves_nothing(capsys, tmp_path, monkeypatch) -> None:
    made = []

    class Released(TwinRig):
        def __init__(self, *args) -> None:
            super().__init__(*args)
            self.released_at_ns = self.now_ns + 4_000_000_000
            made.append(self)

    monkeypatch.setattr("tools.calibrate.rigs.TwinRig", Released)
    code, _, err = calibrate(capsys, "record", "--out", tmp_path / "film")
    assert code == 1 and "the hold key was released" in err
    assert not (tmp_path / "film").exists() and not made[0].twin.motors.enabled


def test_the_swing_does_not_repeat_itself() -> None:
    swing = np.array([irregular(k / 100, 1.0, 10.0) for k in range(1001)])
    later = [np.corrcoef(swing[:-d], swing[d:])[0, 1] for d in range(100, 700)]
    assert max(later) < 0.95 and swing[0] == swing[-1] == 0


@pytest.mark.heavy
@pytest.mark.parametrize("seed", [0])
def test_other_twins_find_theirs(capsys, tmp_path, seed: int) -> None:
    assert calibrate(capsys, "record", "--out", tmp_path / "f", "--seed", seed)[0] == 0
    about = json.loads((tmp_path / "f" / "record.json").read_text())
    _, said, _ = calibrate(capsys, "solve", "--record", tmp_path / "f", "--json")
    check(json.loads(said), about["truth"]["camera_from_imu"]["delivered"])
