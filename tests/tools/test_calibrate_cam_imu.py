"""`companion calibrate cam-imu solve`: two gyros, rendered videos, and a real one-axis clip."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from calibration.rotations import matrices, quaternions
from tools import companion

HERE = Path(__file__)
KARMA = HERE.parents[2].parent / "shared" / "data" / "video_gyro" / "karma.mp4"


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bench = load(HERE.parents[1] / "calibration" / "rates_bench.py")


def solve(capsys, *argv: object) -> tuple[int, str, str]:
    code = companion.main(["calibrate", "cam-imu", "solve", *map(str, argv)])
    out, err = capsys.readouterr()
    return code, out, err


def write(path: Path, t_s: np.ndarray, rate: np.ndarray, start_ns: int = 0) -> Path:
    rows = [f"{start_ns + round(t * 1e9)},{','.join(f'{v:.9f}' for v in r)}" for t, r in zip(t_s, rate, strict=True)]  # fmt: skip
    path.write_text(
        "#timestamp [ns],gyro_x [rad/s],gyro_y [rad/s],gyro_z [rad/s]\n" + "\n".join(rows)
    )
    return path


def test_two_gyros_on_clocks_of_different_epochs(capsys, tmp_path: Path) -> None:
    (t_a, a), (t_b, b), offset_s, rotation = bench.pair(0)
    log_a = write(tmp_path / "a.csv", t_a, a, 1_700_000_000_000_000_000)
    log_b = write(tmp_path / "b.csv", t_b, b, 5_000_000_000)
    report = tmp_path / "r.html"
    code, out, _ = solve(capsys, "--gyro", log_a, "--gyro", log_b, "--json", "--report", report)
    found = json.loads(out)
    assert (code, found["verdict"]) == (0, "PASS")
    whole = 5.0 - 1_700_000_000
    assert found["result"]["time_offset_s"] - whole == pytest.approx(offset_s, abs=1e-6 + 2e-5)
    x, y, z, w = found["result"]["rotation_quat_xyzw"]
    assert matrices(np.array([x, y, z, w])) == pytest.approx(rotation, abs=1e-3)
    assert found["result"]["std"]["time_offset_s"] < 1e-4
    assert report.read_text().count("<svg") == 3
    code, _, err = solve(capsys, "--gyro", log_a)
    assert code == 2 and "give --video V --gyro F, or --gyro A --gyro B" in err
    code, _, err = solve(capsys, "--gyro", log_a, "--video", tmp_path / "none.mp4")
    assert code == 1 and "no video" in err


def film(path: Path, moves, seconds: float, texture: bool = True, focal: float = 400.0) -> Path:
    """A camera of 320x240 that turns before a far wall; frames at 30 Hz."""
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    wall = cv2.resize(rng.integers(0, 256, (150, 200), dtype=np.uint8), (1600, 1200), interpolation=cv2.INTER_CUBIC)  # fmt: skip
    if not texture:
        wall[:] = 128
    camera = np.array([[focal, 0, 159.5], [0, focal, 119.5], [0, 0, 1]])
    wall_camera = np.array([[focal, 0, 800.0], [0, focal, 600], [0, 0, 1]])
    times = np.arange(0, seconds, 1 / 30)
    fine = np.arange(0, seconds, 1 / 600)
    now, turned = np.eye(3), []
    for i, t in enumerate(fine):
        if i % 20 == 0:
            turned.append(now)
        now = now @ matrices(quaternions(moves(t + 1 / 1200) / 600))
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 30, (320, 240))
    for wall_from_camera in turned[: len(times)]:
        see = (
            wall_camera @ wall_from_camera @ np.linalg.inv(camera)
        )  # pixel of the camera -> of the wall
        image = cv2.warpPerspective(wall, see, (320, 240), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT)  # fmt: skip
        video.write(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
    video.release()
    return path


@pytest.fixture(scope="module")
def swing():
    rates = bench.motion(np.random.default_rng(3), 14, rms=0.5)
    return lambda t: np.asarray(rates(t))


def test_a_rendered_video_gives_offset_and_rotation(capsys, tmp_path: Path, swing) -> None:
    video = film(tmp_path / "a.avi", swing, 12)
    rotation = matrices(quaternions(np.array([0.3, -1.2, 0.5])))  # camera from imu
    t = np.arange(0.2, 11.5, 0.005)
    noise = np.random.default_rng(0).normal(0, 0.003, (len(t), 3))
    gyro = write(tmp_path / "g.csv", t + 0.035, swing(t) @ rotation + noise)
    lens = tmp_path / "camera.json"
    matrix = [[400, 0, 159.5], [0, 400, 119.5], [0, 0, 1]]
    lens.write_text(json.dumps({"result": {"camera_matrix": matrix, "distortion": [0] * 5, "image_size": [320, 240]}}))  # fmt: skip
    code, out, _ = solve(capsys, "--video", video, "--gyro", gyro, "--calibration", lens, "--json")
    found = json.loads(out)
    assert (code, found["verdict"]) == (0, "PASS"), found["findings"]
    # the log begins at 0.235 s of its clock; frames begin at 0 of theirs
    assert found["result"]["time_offset_s"] == pytest.approx(0.035, abs=1e-3)
    turned = matrices(np.array(found["result"]["rotation_quat_xyzw"]))
    assert np.rad2deg(np.abs(turned - rotation).max()) < 0.3
    code, out, _ = solve(capsys, "--video", video, "--gyro", gyro, "--json")
    found = json.loads(out)
    assert code == 3 and "the lens is not known" in found["cause"]
    assert found["result"]["rate_scale"] == pytest.approx(1, abs=0.05)
    assert found["result"]["time_offset_s"] == pytest.approx(0.035, abs=2e-3)


def test_a_bare_wall_and_a_stabilised_picture(capsys, tmp_path: Path, swing) -> None:
    t = np.arange(0, 12, 0.005)
    gyro = write(tmp_path / "g.csv", t, swing(t))
    code, out, err = solve(capsys, "--video", film(tmp_path / "bare.avi", swing, 6, texture=False), "--gyro", gyro)  # fmt: skip
    assert code == 1 and out == "" and "corners that can be followed" in err
    calm = film(tmp_path / "calm.avi", lambda t: 0.4 * swing(t), 10)
    code, out, _ = solve(capsys, "--video", calm, "--gyro", gyro)
    assert code == 1 and "picture stabilised" in out


@pytest.mark.skipif(not KARMA.is_file(), reason=f"no video at {KARMA}")
def test_karma_moves_about_one_axis_alone(capsys, tmp_path: Path) -> None:
    t_s, stored = load(HERE.with_name("gpmf.py")).gyro(KARMA)
    assert len(t_s) / np.ptp(t_s) == pytest.approx(399, abs=3)
    gyro = write(tmp_path / "karma.csv", t_s, stored[:, [1, 2, 0]])  # stored z, x, y
    code, out, _ = solve(capsys, "--video", KARMA, "--gyro", gyro, "--json")
    found = json.loads(out)
    assert (code, found["verdict"]) == (1, "FAIL")
    assert "only one axis excited" in found["cause"]
    assert found["result"]["rotation_quat_xyzw"] is None
    assert found["result"]["time_offset_s"] is None or found["result"]["std"]["time_offset_s"] > 0
