"""`calibrate imu-allan` and `imu-static` from files: units, Kalibr's file, what is no recording."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from tools import companion

HEADER = "#timestamp [ns],w_RS_S_x [rad s^-1],w_RS_S_y [rad s^-1],w_RS_S_z [rad s^-1],a_RS_S_x [m s^-2],a_RS_S_y [m s^-2],a_RS_S_z [m s^-2]"


def say(capsys, *argv: object) -> tuple[int, str, str]:
    code = companion.main(["calibrate", *map(str, argv)])
    out, err = capsys.readouterr()
    return code, out, err


def recording(
    path: Path, seconds: float, rate: float, header: str = HEADER, scale=(1.0, 1.0), moved=0.0
):
    rng, n = np.random.default_rng(0), int(seconds * rate)
    gyro = rng.normal(0, 1e-4 * np.sqrt(rate), (n, 3)) + 0.01
    accel = rng.normal(0, 1e-3 * np.sqrt(rate), (n, 3)) + [0.1, 0.2, 9.8]
    gyro[n // 5 : n // 5 + 20] += moved
    t_ns = 1_400_000_000_000_000_000 + np.round(np.arange(n) * (1e9 / rate)).astype(np.int64)
    rows = [f"{t},{','.join(f'{v:.9f}' for v in (*g, *a))}" for t, g, a in zip(t_ns, gyro * scale[0], accel * scale[1], strict=True)]  # fmt: skip
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_minute_at_rest(capsys, tmp_path: Path) -> None:
    report = tmp_path / "r.html"
    log = recording(tmp_path / "a.csv", 60, 100)
    code, out, _ = say(capsys, "imu-static", "solve", "--imu", log, "--json", "--report", report)
    found = json.loads(out)
    assert (code, found["verdict"]) == (0, "PASS")
    assert found["result"]["gyro"]["bias"] == pytest.approx([0.01] * 3, abs=1e-4)
    assert found["result"]["gyro"]["noise_density"] == pytest.approx([1e-4] * 3, rel=0.1)
    assert report.read_text().count("<svg") == 6
    moved = recording(tmp_path / "b.csv", 60, 100, moved=0.1)
    code, out, _ = say(capsys, "imu-static", "solve", "--imu", moved)
    assert code == 1 and out.startswith("FAIL: the gyro moved at 12 s")
    short = recording(tmp_path / "c.csv", 20, 100)
    code, out, _ = say(capsys, "imu-static", "solve", "--imu", short)
    assert code == 3 and "only 20 s recorded" in out


def test_a_device_that_was_turned_is_named_before_its_units(capsys, tmp_path: Path) -> None:
    rng, log = np.random.default_rng(0), tmp_path / "a.csv"
    angle = np.radians(30) * np.clip(np.arange(6000) / 100 - 20, 0, 4)
    accel = 9.8 * np.stack([np.sin(angle), 0 * angle, np.cos(angle)], 1) + rng.normal(0, 0.01, (6000, 3))  # fmt: skip
    rows = [f"{i / 100},{','.join(map(str, v))}" for i, v in enumerate(accel)]
    log.write_text("t,ax,ay,az\n" + "\n".join(rows))
    code, out, _ = say(capsys, "imu-static", "solve", "--imu", log)
    assert code == 1 and "the device was turned, by" in out.splitlines()[0]
    assert "no known unit" not in out


def test_curves_whose_second_column_is_tau_again(capsys, tmp_path: Path) -> None:
    curves = tmp_path / "a.csv"
    tau = np.geomspace(1, 1000, 30)
    np.savetxt(curves, np.column_stack([tau, 0.05 * tau, 1 / np.sqrt(tau)]))
    code, _, err = say(capsys, "imu-allan", "solve", "--curves", curves)
    assert code == 1 and "column 2 is column 1 times a factor" in err and err.count("\n") == 1


def test_units_are_taken_from_the_header_and_checked(capsys, tmp_path: Path) -> None:
    degrees = HEADER.replace("rad s^-1", "deg s^-1").replace("m s^-2", "g")
    log = recording(tmp_path / "a.csv", 60, 100, degrees, (180 / np.pi, 1 / 9.80665))
    code, out, _ = say(capsys, "imu-static", "solve", "--imu", log, "--json")
    found = json.loads(out)["result"]
    assert code == 0 and found["gyro"]["noise_density"] == pytest.approx([1e-4] * 3, rel=0.1)
    assert found["accel"]["noise_density"] == pytest.approx([1e-3] * 3, rel=0.1)
    trap = recording(tmp_path / "b.csv", 60, 100, HEADER, (180 / np.pi, 1 / 9.80665))
    code, out, _ = say(capsys, "imu-static", "solve", "--imu", trap)
    assert code == 3
    assert "are the data in deg/s?" in out and "at rest it shows gravity in g" in out


def test_allan_writes_what_kalibr_reads_and_compares(capsys, tmp_path: Path) -> None:
    log = recording(tmp_path / "a.csv", 1200, 20)
    kalibr, discrete = tmp_path / "imu.yaml", tmp_path / "theirs.yaml"
    code, out, _ = say(capsys, "imu-allan", "solve", "--imu", log, "--kalibr", kalibr, "--json")
    found = json.loads(out)
    assert code == 3 and found["cause"].startswith("only 20 min: bias instability")
    written = yaml.safe_load(kalibr.read_text())
    assert written["gyroscope_noise_density"] == pytest.approx(1e-4, rel=0.05)
    assert written["accelerometer_noise_density"] == pytest.approx(1e-3, rel=0.05)
    assert written["update_rate"] == pytest.approx(20) and "# rad/s/sqrt(Hz); discrete 4." in kalibr.read_text()  # fmt: skip
    discrete.write_text("%YAML:1.0\ngyr:\n  avg-axis:\n    gyr_n: 4.5e-4\n")
    code, out, _ = say(capsys, "imu-allan", "solve", "--imu", log, "--compare", discrete)
    assert code == 3 and "the file's value is discrete" in out


def test_curves_of_others(capsys, tmp_path: Path) -> None:
    tau = np.geomspace(0.05, 500, 60)
    adev = np.sqrt(1e-8 / tau + (5e-6 * 0.664) ** 2 + 1e-14 * tau / 3)
    path = tmp_path / "curve.csv"
    path.write_text("tau,adev\n" + "\n".join(f"{a},{b}" for a, b in zip(tau, adev, strict=True)))
    code, out, _ = say(capsys, "imu-allan", "solve", "--curves", path, "--json")
    found = json.loads(out)
    assert code == 3 and "not stated" in str(found["findings"])
    assert found["result"]["curve"]["noise_density"] == pytest.approx([1e-4], rel=0.03)
    asked = ("--kind", "gyro", "--gyro-unit", "deg/s", "--json")
    code, out, _ = say(capsys, "imu-allan", "solve", "--curves", path, *asked)
    assert json.loads(out)["result"]["gyro"]["noise_density"] == pytest.approx([1e-4 * np.pi / 180], rel=0.03)  # fmt: skip
    log = recording(tmp_path / "a.csv", 20, 100)
    code, _, err = say(capsys, "imu-allan", "solve", "--curves", log)
    assert code == 1 and "use --imu" in err
    code, _, err = say(capsys, "imu-allan", "solve", "--imu", log, "--compare", path)
    assert code == 2 and "holds no gyroscope_noise_density" in err
