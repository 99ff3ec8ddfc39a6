"""Logs of every shape become seconds and axes, or a sentence."""

import json
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import DataError
from tools.calibrate.columns import column
from tools.calibrate.logs import read_log

EUROC = (
    "#timestamp [ns],w_RS_S_x [rad s^-1],w_RS_S_y [rad s^-1],w_RS_S_z [rad s^-1],"
    "a_RS_S_x [m s^-2],a_RS_S_y [m s^-2],a_RS_S_z [m s^-2]"
)
EPOCH_NS = 1403636579758555392


def rows(stamps: list[str], delimiter: str = ",", width: int = 6) -> str:
    rng = np.random.default_rng(0)
    lines = []
    for stamp in stamps:
        values = [*rng.normal(0, 1, 3), *(rng.normal(0, 0.1, 3) + [0, 0, 9.8])][:width]
        lines.append(delimiter.join([stamp, *(f"{v:.6f}" for v in values)]))
    return "\n".join(lines) + "\n"


def log(tmp_path: Path, text: str, name: str = "log.csv", **options: float):
    path = tmp_path / name
    path.write_text(text)
    return read_log(path, **options)


def test_euroc_keeps_every_nanosecond_of_an_epoch_clock(tmp_path: Path) -> None:
    stamps = [EPOCH_NS + 5_000_000 * i + i % 2 for i in range(100)]
    found = log(tmp_path, EUROC + "\n" + rows([str(s) for s in stamps]))
    assert found.start_ns == pytest.approx(EPOCH_NS, abs=300)
    assert np.array_equal(np.round(found.t_s * 1e9).astype(int), np.array(stamps) - EPOCH_NS)
    assert found.gyro.unit == "rad/s" and found.accel.unit == "m/s^2"
    assert found.axes("accel").xyz[:, 2].mean() == pytest.approx(9.8, abs=0.1)
    assert "time in ns, says the header: 200 Hz" in found.notes[0]


@pytest.mark.parametrize(
    ("stamp", "unit"),
    [
        (lambda i: f"{i * 0.005:.6f}", "s"),
        (lambda i: f"{i * 5}", "ms"),
        (lambda i: f"{i * 5000}", "us"),
        (lambda i: f"{i * 5_000_000}", "ns"),
        (lambda i: f"{1403636579 + i * 0.005:.9f}", "s"),
        (lambda i: f"{1403636579758 + i * 5}", "ms"),
        (lambda i: f"{i * 0.005:.18e}", "s"),
    ],
)
def test_the_clock_s_unit_is_found_and_said(tmp_path: Path, stamp, unit: str) -> None:
    found = log(tmp_path, rows([stamp(i) for i in range(200)], " ", 3))
    assert found.rate_hz == pytest.approx(200, rel=1e-3)
    assert np.abs(found.t_s - np.arange(200) * 0.005).max() < 1e-6
    assert f"time taken for {unit}, by its rate: 200 Hz" in found.notes[0]


def test_six_columns_without_a_header_are_told_apart_by_gravity(tmp_path: Path) -> None:
    stamps = [f"{i / 100}" for i in range(100)]
    found = log(tmp_path, rows(stamps))
    assert found.accel.xyz[:, 2].mean() > 9 and "gyro first" in found.notes[0]
    with pytest.raises(DataError, match="neither half shows gravity"):
        rng = np.random.default_rng(1)
        noise = "\n".join(",".join(map(str, [i / 100, *rng.normal(size=6)])) for i in range(99))
        log(tmp_path, noise)


@pytest.mark.parametrize(
    ("name", "kind", "axis", "unit"),
    [
        ("w_RS_S_x [rad s^-1]", "gyro", 0, "rad/s"),
        ("a_RS_S_z [m s^-2]", "accel", 2, "m/s^2"),
        ("field.angular_velocity.y", "gyro", 1, ""),
        ("field.linear_acceleration.x", "accel", 0, ""),
        ("gyroX(dps)", "gyro", 0, "deg/s"),
        ("gyro_rad_s_y", "gyro", 1, "rad/s"),
        ("gyroADC[2]", "gyro", 2, "counts"),
        ("ax_g", "accel", 0, "g"),
        ("gx", "gyro", 0, ""),
        ("g_y", "gyro", 1, ""),
        ("Acceleration y (m/s^2)", "accel", 1, "m/s^2"),
        ("gyro_deg_h_z", "gyro", 2, "deg/h"),
        ("timestamp [ns]", "time", 0, "ns"),
        ("Time (s)", "time", 0, "s"),
        ("time_ms", "time", 0, "ms"),
        ("mag_x", "", 0, ""),
        ("gyro_bias_x", "", 0, ""),
    ],
)
def test_names_of_columns(name: str, kind: str, axis: int, unit: str) -> None:
    found = column(0, name)
    assert (found.kind, found.axis, found.unit) == (kind, axis, unit)


GOOD = [f"{i / 100}" for i in range(100)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (rows(GOOD[:50] + GOOD[40:90]), "time goes back by 0.09 s at row 51"),
        (rows([g for g in GOOD for _ in (0, 1)]), "rows repeat the stamp before"),
        (rows(GOOD).replace("9.804133", "nan"), "rows are not finite, the first is row"),
        (rows(GOOD[:20]), "20 rows, at least 50 needed"),
        (rows(GOOD) + "1.0,2.0\n", "found"),
        (rows(GOOD) + "1.0,a,b,c,d,e,f\n", "remove that line"),
        (rows([str(i) for i in range(100)]), "counts rows and is no clock; give --rate HZ"),
        ("timestamp [s]," + EUROC.split(",", 1)[1] + "\n" + rows([str(i * 5000) for i in range(99)]), "correct the header's unit"),
        ("\n".join("1 2" for _ in range(99)), "name the columns in a first line"),
        (rows(["3.5"] * 99), "does not move"),
        (rows(GOOD[::-1]), "runs backwards"),
        ("\n".join(GOOD), "found one number a line"),
        (rows([str(i * 10**12) for i in range(99)]), "are no IMU's clock"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        log(tmp_path, text)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize(("cell", "comma"), [(",", False), (";", False), (";", True), ("\t", True)])
def test_a_spreadsheet_s_text_is_read(
    tmp_path: Path, encoding: str, cell: str, comma: bool
) -> None:
    head = cell.join(
        ["t (s)", *(f"gyro_{a} (°/s)" for a in "xyz"), *(f"accel_{a} (g)" for a in "xyz")]
    )
    body = rows(GOOD, cell)
    path = tmp_path / "a.csv"
    path.write_bytes(f"{head}\r\n{body.replace('.', ',') if comma else body}".encode(encoding))
    found, plain = read_log(path), log(tmp_path, rows(GOOD))
    assert np.array_equal(found.t_s, plain.t_s)
    assert np.array_equal(found.axes("accel").xyz, plain.axes("accel").xyz)
    assert (found.gyro.unit, found.accel.unit) == ("deg/s", "g")


def test_a_sensor_that_does_not_answer_is_named(tmp_path: Path) -> None:
    text = "t,gx,gy,gz,ax,ay,az\n" + "".join(f"{g},0,0.1,0,{g},1,{g}\n" for g in GOOD)
    found = log(tmp_path, text)
    with pytest.raises(
        DataError, match="gyro x, gyro y, gyro z never changes from 0; find out whether"
    ):
        found.axes("gyro")
    with pytest.raises(DataError, match="accel y never changes from 1"):
        found.axes("accel")


@pytest.mark.parametrize(("share", "named"), [(0.002, False), (0.2, True)])
def test_wild_samples_are_named_and_motion_is_not(
    tmp_path: Path, share: float, named: bool
) -> None:
    rng, t = np.random.default_rng(0), np.arange(4000) / 100
    move = np.where(t < 10, 0, np.sin(7 * t) + 0.3 * np.sin(2 * np.pi * 23 * t) * (t > 30))[:, None]
    values = rng.normal(0, 0.002, (4000, 6)) + np.array([1, 2, 3, 9, 5, 3]) * move
    values[rng.random(4000) < share] += 3 * rng.normal(size=6)
    text = "\n".join(f"{a},{','.join(map(str, v))}" for a, v in zip(t, values, strict=True))
    found = log(tmp_path, "t,gx,gy,gz,ax,ay,az\n" + text)
    if named:
        with pytest.raises(DataError, match="of the samples of gyro . jump away"):
            found.axes("gyro")
    else:
        assert len(found.axes("gyro").xyz) == 4000


def test_binary_files_and_missing_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file" + bytes(100))
    with pytest.raises(DataError, match="is a MATLAB binary"):
        read_log(path)
    with pytest.raises(DataError, match="no file"):
        read_log(tmp_path / "none.csv")


def test_gaps_repeats_and_rates(tmp_path: Path) -> None:
    found = log(tmp_path, rows(GOOD[:40] + [str(i / 100) for i in range(60, 200)] + ["2.0"] * 2))
    assert found.gaps == ((pytest.approx(0.39), pytest.approx(0.21)),)
    assert "1 gaps, 0.21 s missing" in " ".join(found.notes)
    counted = log(tmp_path, rows([str(i) for i in range(100)]), rate_hz=250.0)
    assert counted.rate_hz == pytest.approx(250)


def test_an_mcap_of_ros_shape_and_of_a_run(tmp_path: Path) -> None:
    from mcap.writer import Writer

    path = tmp_path / "a.mcap"
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start()
        schema = writer.register_schema("imu", "jsonschema", b"{}")
        ros = writer.register_channel("/imu", "json", schema)
        run = writer.register_channel("/companion/sensors", "json", schema)
        for i in range(60):
            t_ns = EPOCH_NS + i * 10_000_000
            message = {
                "header": {"stamp": {"sec": t_ns // 10**9, "nanosec": t_ns % 10**9}},
                "angular_velocity": {"x": 1.0, "y": 2.0, "z": 3.0},
                "linear_acceleration": {"x": 0.0, "y": 0.0, "z": 9.8},
            }
            writer.add_message(ros, t_ns, json.dumps(message).encode(), t_ns)
            batch = {
                "t_ns": t_ns,
                "imu_t_ns": [t_ns + 2_000_000 * k for k in range(5)],
                "gyro_rad_s": [[0.1, 0.2, 0.3]] * 5,
                "accel_m_s2": [[0.0, 0.0, 9.7]] * 5,
            }
            writer.add_message(run, t_ns, json.dumps(batch).encode(), t_ns)
        writer.finish()
    with pytest.raises(
        DataError, match="IMU samples on imu, sensors found; name one as a.mcap:TOPIC"
    ):
        read_log(path)
    found = read_log(tmp_path / "a.mcap:sensors")
    assert len(found.t_s) == 300 and found.rate_hz == pytest.approx(500)
    assert found.accel.xyz[0].tolist() == [0, 0, 9.7] and found.start_ns == EPOCH_NS
    assert read_log(Path(f"{path}:/imu")).gyro.xyz[0].tolist() == [1, 2, 3]
