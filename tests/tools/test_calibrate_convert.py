"""Formats: directions and time by hand, round trips, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from calibration.errors import DataError
from calibration.formats import (
    Camera,
    from_euroc,
    from_kalibr,
    from_ros,
    inverse,
    rigid,
    to_euroc,
    to_kalibr,
    to_ros,
)
from calibration.motor_zero import from_lerobot
from tools import companion
from tools.calibrate.convert import FORMATS, read_any, write_camera

CHESSBOARD = (
    Path(__file__).parents[2].parent / "shared" / "data" / "chessboard" / "left_intrinsics.yml"
)
# The camera looks along the IMU's x: its z is IMU x, its x is IMU -y, its y is IMU -z.
TURN = [[0, -1, 0], [0, 0, -1], [1, 0, 0]]
# It stands 10 cm before the IMU: a point there, IMU (0.1, 0, 0), is the camera's origin.
CAMERA_FROM_IMU = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, -0.1], [0, 0, 0, 1.0]])
MATRIX = np.array([[458.654, 0, 367.215], [0, 457.296, 248.375], [0, 0, 1]])
EUROC = """
# General sensor definitions.
sensor_type: camera
comment: VI-Sensor cam0 (MT9M034)
T_BS:
  cols: 4
  rows: 4
  data: [0.0, 0.0, 1.0, 0.1,
         -1.0, 0.0, 0.0, 0.0,
         0.0, -1.0, 0.0, 0.0,
         0.0, 0.0, 0.0, 1.0]
rate_hz: 20
resolution: [752, 480]
camera_model: pinhole
intrinsics: [458.654, 457.296, 367.215, 248.375] #fu, fv, cu, cv
distortion_model: radial-tangential
distortion_coefficients: [-0.28340811, 0.07395907, 0.00019359, 1.76187114e-05]
"""
KALIBR = """
cam0:
  T_cam_imu:
  - [0.0, -1.0, 0.0, 0.0]
  - [0.0, 0.0, -1.0, 0.0]
  - [1.0, 0.0, 0.0, -0.1]
  - [0.0, 0.0, 0.0, 1.0]
  cam_overlaps: []
  camera_model: pinhole
  distortion_coeffs: [-0.28340811, 0.07395907, 0.00019359, 1.76187114e-05]
  distortion_model: radtan
  intrinsics: [458.654, 457.296, 367.215, 248.375]
  resolution: [752, 480]
  rostopic: /cam0/image_raw
  timeshift_cam_imu: 0.0071
"""


def camera(**changed) -> Camera:
    given = {
        "model": "pinhole", "image_size": (752, 480), "matrix": MATRIX,
        "distortion": np.array([-0.28, 0.07, 2e-4, 1.8e-5]), "camera_from_imu": CAMERA_FROM_IMU,
        "time_shift_s": 0.0071, "name": "front",
    }  # fmt: skip
    return Camera(**(given | changed))


def same(one: Camera, other: Camera) -> None:
    assert one.model == other.model and one.image_size == other.image_size
    assert other.matrix == pytest.approx(one.matrix)
    assert other.distortion[: one.distortion.size] == pytest.approx(one.distortion)
    assert not other.distortion[one.distortion.size :].any()


def test_euroc_holds_the_other_direction_than_kalibr() -> None:
    """By hand: the IMU sees the camera 10 cm along its x."""
    euroc, kalibr = from_euroc(yaml.safe_load(EUROC)), from_kalibr(yaml.safe_load(KALIBR))
    for found in (euroc, kalibr):
        assert found.camera_from_imu == pytest.approx(CAMERA_FROM_IMU)
        # a metre before the IMU is 0.9 m before the camera
        assert found.camera_from_imu @ [1, 0, 0, 1] == pytest.approx([0, 0, 0.9, 1])
        assert found.matrix == pytest.approx(MATRIX)
    assert kalibr.time_shift_s == 0.0071
    body = np.array(to_euroc(camera(time_shift_s=None))["T_BS"]["data"]).reshape(4, 4)
    assert body[:3, 3] == pytest.approx([0.1, 0, 0])
    assert np.array(to_kalibr(camera())["cam0"]["T_cam_imu"]) == pytest.approx(CAMERA_FROM_IMU)
    assert inverse(CAMERA_FROM_IMU) @ CAMERA_FROM_IMU == pytest.approx(np.eye(4))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("model", ["pinhole", "fisheye"])
def test_what_is_written_is_read_again(tmp_path: Path, form: str, model: str) -> None:
    given = camera(model=model, time_shift_s=None if form == "euroc" else 0.0071)
    path = tmp_path / ("c.json" if form == "json" else "c.yaml")
    write_camera(path, given, form)
    found = read_any(path)
    assert isinstance(found, Camera)
    same(given, found)
    if form != "ros":  # a CameraInfo knows no IMU
        assert found.camera_from_imu == pytest.approx(CAMERA_FROM_IMU)
    if form in ("json", "kalibr", "opencv"):
        assert found.time_shift_s == pytest.approx(0.0071)


def test_opencv_reads_what_we_write(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "c.yml"
    write_camera(path, camera(distortion=np.array([-0.3, 0.1, 0, 0, 0.2])), "opencv")
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
    assert storage.getNode("camera_matrix").mat() == pytest.approx(MATRIX)
    assert storage.getNode("distortion_coefficients").mat().ravel() == pytest.approx([-0.3, 0.1, 0, 0, 0.2])  # fmt: skip
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(not CHESSBOARD.is_file(), reason=f"no file {CHESSBOARD}")
def test_opencv_s_own_sample_is_read() -> None:
    found = read_any(CHESSBOARD)
    assert found.image_size == (640, 480) and found.matrix[0, 0] == pytest.approx(
        535.9157, abs=1e-3
    )
    assert found.distortion == pytest.approx([-0.26637, -0.03859, 0.00178, -0.00028, 0.23839], abs=1e-5)  # fmt: skip


def test_ros_s_own_layout() -> None:
    tree = to_ros(camera(distortion=np.array([-0.3, 0.1, 0, 0, 0.2])))
    assert tree["distortion_model"] == "plumb_bob"
    assert tree["projection_matrix"]["data"][:4] == pytest.approx([458.654, 0, 367.215, 0])
    assert from_ros(tree).distortion == pytest.approx([-0.3, 0.1, 0, 0, 0.2])
    eight = np.arange(8) / 100
    assert to_ros(camera(distortion=eight))["distortion_model"] == "rational_polynomial"


def test_nothing_is_lost_in_silence() -> None:
    with pytest.raises(DataError, match="knows 4 distortion coefficients"):
        to_kalibr(camera(distortion=np.array([-0.3, 0.1, 0, 0, 0.2])))
    with pytest.raises(DataError, match="holds no time shift"):
        to_euroc(camera())
    with pytest.raises(DataError, match="is it transposed"):
        rigid(CAMERA_FROM_IMU.T)
    with pytest.raises(DataError, match="scaled, or mirrored"):
        rigid(np.diag([1.0, 1, -1, 1]))
    with pytest.raises(DataError, match="coefficients of a fisheye"):
        camera(model="fisheye", distortion=np.zeros(5))
    with pytest.raises(DataError, match="omni"):
        from_kalibr({"cam0": {"camera_model": "omni"}})


def test_lerobot_s_motors_and_their_traps(capsys, tmp_path: Path) -> None:
    good = {"id": 1, "drive_mode": 0, "homing_offset": -513, "range_min": 900, "range_max": 3100}
    motors = from_lerobot(
        {"pan": good, "lift": good | {"id": 2, "range_min": 0, "range_max": 4095}}
    )
    assert motors[0].doubts == () and "over the encoder's zero" in motors[1].doubts[0]
    assert "cannot hold" in from_lerobot({"a": good | {"homing_offset": 2500}})[0].doubts[0]
    with pytest.raises(DataError, match="motor pan: no drive_mode"):
        from_lerobot({"pan": {k: v for k, v in good.items() if k != "drive_mode"}})
    path = tmp_path / "arm.json"
    path.write_text(json.dumps({"pan": good}))
    asked = ["calibrate", "convert", "--from", str(path), "--to", str(tmp_path / "o.json")]
    assert companion.main([*asked, "--format", "json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["motors"][0]["range_max"] == 3100
    assert companion.main([*asked, "--format", "kalibr"]) == 2
    assert "holds motors" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [1", "is no YAML"),
        ("just words", "holds no calibration"),
        ("a: 1", "no cam0, camera_matrix or intrinsics"),
        (KALIBR.replace("458.654", "-1"), "positive focal lengths"),
        (EUROC.replace("resolution", "size"), "KeyError"),
        (KALIBR.replace("[1.0, 0.0, 0.0, -0.1]", "[2.0, 0.0, 0.0, -0.1]"), "is no rotation"),
    ],
)
def test_what_is_no_calibration_is_a_sentence(capsys, tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    code = companion.main(["calibrate", "convert", "--from", str(path), "--to", str(tmp_path / "o.json"), "--format", "json"])  # fmt: skip
    out, err = capsys.readouterr()
    assert code == 1 and out == "" and says in err and err.count("\n") == 1


def test_an_imu_s_noise_goes_from_euroc_to_kalibr_and_back(capsys, tmp_path: Path) -> None:
    euroc = tmp_path / "sensor.yaml"
    euroc.write_text(
        "sensor_type: imu\nrate_hz: 200\ngyroscope_noise_density: 1.6968e-04\n"
        "gyroscope_random_walk: 1.9393e-05\naccelerometer_noise_density: 2.0e-3\naccelerometer_random_walk: 3.0e-3\n"
    )
    kalibr, again = tmp_path / "imu.yaml", tmp_path / "imu.json"
    verb = ["calibrate", "convert", "--from"]
    assert companion.main([*verb, str(euroc), "--to", str(kalibr), "--format", "kalibr"]) == 0
    tree = yaml.safe_load(kalibr.read_text())
    assert tree["update_rate"] == 200 and tree["gyroscope_noise_density"] == 1.6968e-4
    assert "discrete 2.399638e-03" in kalibr.read_text()  # 1.6968e-4 * sqrt(200)
    assert companion.main([*verb, str(kalibr), "--to", str(again), "--format", "json"]) == 0
    assert json.loads(again.read_text())["accelerometer_random_walk"] == 3e-3
    assert companion.main([*verb, str(again), "--to", str(kalibr), "--format", "ros"]) == 2
    assert "has no place in ros" in capsys.readouterr().err


CALISCOPE = """
[cameras.0]
cam_id = 0
size = [1280, 720]
rotation_count = 0
error = 0.5
matrix = [[900.5, 0.0, 618.3], [0.0, 907.25, 394.2], [0.0, 0.0, 1.0]]
distortions = [-0.332, 0.046, -0.0043, 0.0041, 0.066]
translation = [0.1, -0.2, 0.6]
rotation = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]

[cameras.10]
size = [640, 480]
"""
ANIPOSE = """
[cam_0]
name = "A"
size = [ 1280, 720,]
matrix = [ [ 822.5, 0.0, 639.5,], [ 0.0, 822.5, 359.5,], [ 0.0, 0.0, 1.0,],]
distortions = [ -0.06, 0.0, 0.0, 0.0,]
fisheye = true

[metadata]
error = 0.26
"""


def test_caliscope_s_toml_is_read(tmp_path: Path) -> None:
    (tmp_path / "camera_array.toml").write_text(CALISCOPE)
    camera = read_any(tmp_path / "camera_array.toml")
    assert isinstance(camera, Camera) and camera.model == "pinhole" and camera.name == "0"
    assert camera.image_size == (1280, 720) and camera.matrix[1].tolist() == [0, 907.25, 394.2]
    assert camera.distortion.tolist() == [-0.332, 0.046, -0.0043, 0.0041, 0.066]
    (tmp_path / "calibration.toml").write_text(ANIPOSE)
    camera = read_any(tmp_path / "calibration.toml")
    assert isinstance(camera, Camera) and camera.model == "fisheye" and camera.name == "A"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[charuco]\ncolumns = 4\n", "no [cameras.0] or [cam_0]"),
        ("[cameras.0]\nsize = [640, 480]\n", "was not calibrated"),
        ("[cameras.0\n", "is it whole?"),
        (CALISCOPE.replace("900.5", "-900.5"), "positive focal lengths"),
    ],
)
def test_a_toml_that_holds_no_camera_is_a_sentence(capsys, tmp_path: Path, text, says) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    assert companion.main(["calibrate", "convert", "--from", str(path), "--to", str(tmp_path / "o.json"), "--format", "json"]) == 1  # fmt: skip
    assert says in capsys.readouterr().err and not (tmp_path / "o.json").exists()
