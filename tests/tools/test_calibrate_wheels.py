"""`companion calibrate wheels solve` on logs of several forms."""

import json

import numpy as np
import pytest

from tools import companion

RL, RR, BASE = 0.0748, 0.0751, 0.262


def solve(capsys, *argv):
    code = companion.main(["calibrate", "wheels", "solve", *map(str, argv), "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else {}, err


def samples(seconds=120, rate=100, delay=0.05, seed=0):
    """Time, wheel angles, gyro (late by `delay`) and pose of a drive: squares both ways."""
    rng = np.random.default_rng(seed)
    t = np.arange(0, seconds, 1 / rate)
    phase = (t // 2).astype(int)
    way = np.where((phase // 8) % 2, -1.0, 1.0)
    turning = phase % 2
    wl = np.where(turning, -1.5 * way, 4.0)
    wr = np.where(turning, 1.5 * way, 4.0)
    kernel = np.ones(30) / 30
    wl, wr = (np.convolve(w, kernel, "same") for w in (wl, wr))
    left, right = (np.cumsum(w) / rate for w in (wl, wr))
    rate_z = (RR * wr - RL * wl) / BASE
    gyro = np.interp(t - delay, t, rate_z) + 0.003 + rng.normal(0, 0.004, len(t))
    yaw = np.cumsum(rate_z) / rate
    v = (RR * wr + RL * wl) / 2
    x, y = np.cumsum(v * np.cos(yaw)) / rate, np.cumsum(v * np.sin(yaw)) / rate
    return t, left, right, gyro, x, y, yaw


def write(path, head, columns, fmt="%.9f", delimiter=","):
    np.savetxt(path, np.stack(columns, 1), fmt=fmt, delimiter=delimiter, header=head, comments="")
    return path


def test_a_csv_with_a_gyro(capsys, tmp_path):
    t, left, right, gyro, *_ = samples()
    file = write(tmp_path / "a.csv", "t_s,left,right,gyro_z", (t, left, right, gyro))
    code, verdict, _ = solve(capsys, "--log", file, "--report", tmp_path / "r.html")
    assert code == 0, verdict["cause"]
    result = verdict["result"]
    assert result["base_over_diameter"] == pytest.approx(BASE / (RL + RR), rel=1e-3)
    assert result["right_over_left"] == pytest.approx(RR / RL, rel=1e-3)
    assert "wheel_diameters_m" not in result  # a gyro knows no metre
    assert (tmp_path / "r.html").read_text().count("<svg") == 3


def test_nanoseconds_ticks_and_plain_columns(capsys, tmp_path):
    t, left, right, gyro, *_ = samples()
    stamps = 1_700_000_000_000_000_000 + np.round(t * 1e9).astype(np.int64)
    ticks = [np.round(w * 4096 / (2 * np.pi)) for w in (left, right)]
    file = tmp_path / "a.txt"
    with file.open("w") as stream:
        for row in zip(stamps, *ticks, gyro, strict=True):
            stream.write("{} {:.0f} {:.0f} {:.6f}\n".format(*row))
    code, _, err = solve(capsys, "--log", file)
    assert code == 1 and "--columns" in err
    code, verdict, _ = solve(capsys, "--log", file, "--columns", "t,left,right,gyro_z")
    assert code == 1 and "ticks" in verdict["cause"]
    code, verdict, _ = solve(
        capsys, "--log", file, "--columns", "t,left,right,gyro_z", "--ticks-per-turn", 4096
    )
    assert code == 0, verdict["cause"]
    assert verdict["result"]["base_over_diameter"] == pytest.approx(BASE / (RL + RR), rel=1e-3)


def test_a_pose_gives_metres(capsys, tmp_path):
    t, left, right, _, x, y, yaw = samples()
    file = write(
        tmp_path / "a.csv",
        "time,left,right,x,y,yaw",
        (t, left, right, x, y, np.angle(np.exp(1j * yaw))),
    )
    code, verdict, _ = solve(capsys, "--log", file)
    assert code == 0, verdict["cause"]
    assert verdict["result"]["base_m"] == pytest.approx(BASE, rel=3e-3)
    assert verdict["result"]["wheel_diameters_m"] == pytest.approx([2 * RL, 2 * RR], rel=3e-3)


def test_tuples_of_scan_matching(capsys, tmp_path):
    t, left, right, _, x, y, yaw = samples(400)
    rng = np.random.default_rng(1)
    at = np.arange(0, len(t), 80)
    lines = []
    for a, b in zip(at[:-1], at[1:], strict=True):
        c, s = np.cos(yaw[a]), np.sin(yaw[a])
        dx, dy = x[b] - x[a], y[b] - y[a]
        sm = np.array([c * dx + s * dy, -s * dx + c * dy, yaw[b] - yaw[a]]) + rng.normal(0, 5e-4, 3)
        if rng.random() < 0.05:
            sm = sm + rng.uniform(-0.2, 0.2, 3)
        span = float(t[b] - t[a])
        lines.append(
            json.dumps(
                {
                    "T": span,
                    "phi_l": (left[b] - left[a]) / span,
                    "phi_r": (right[b] - right[a]) / span,
                    "sm": list(sm),
                }
            )
        )
    file = tmp_path / "a.tuple"
    file.write_text("\n".join(lines))
    code, verdict, _ = solve(capsys, "--log", file)
    assert code in (0, 3), verdict["cause"]
    assert verdict["result"]["base_over_diameter"] == pytest.approx(BASE / (RL + RR), rel=3e-3)
    assert verdict["result"]["base_m"] == pytest.approx(BASE, rel=0.01)


@pytest.mark.parametrize(
    ("text", "code", "word"),
    [
        ("", 1, "the file is empty"),
        ("t,left,right\n0,1,2\n1,2,3\n", 1, "needed are"),
        ("{}\n", 1, "line 1"),
        ('{"T": 1, "phi_l": 1, "phi_r": 1, "sm": [0, 0, 0]}\n', 1, "1 stretches"),
        (
            "t,left,right,gyro_z\n" + "".join(f"{5 - i / 100},{i},{i},0\n" for i in range(300)),
            1,
            "time",
        ),
    ],
)
def test_bad_logs_are_one_sentence(capsys, tmp_path, text, code, word):
    file = tmp_path / "bad.csv"
    file.write_text(text)
    got, _, err = solve(capsys, "--log", file)
    assert got == code and word in err and err.count("\n") == 1, err


def _log(tmp_path, **columns):
    file = tmp_path / "log.csv"
    np.savetxt(file, np.stack(list(columns.values()), 1), delimiter=",", header=",".join(columns), comments="")  # fmt: skip
    return file


@pytest.mark.parametrize(
    ("spoilt", "says"),
    [
        ({"gyro_z": lambda t, x: 0 * x}, "gyro_z never changes from 0"),
        ({"left": lambda t, x: 0 * x}, "left never changes from 0"),
        ({"gyro_z": lambda t, x: np.interp(t - 0.6, t, x)}, "turn alike, but 0.3 s apart"),
        ({"left": lambda t, x: np.where(np.arange(len(x)) % 9 < 2, np.nan, x)}, "hold no number"),
        (
            {"gyro_z": lambda t, x: x + 9 * (np.random.default_rng(0).random(len(x)) < 0.1)},
            "of the samples of gyro_z jump away",
        ),
    ],
)
def test_what_spoils_a_log_is_named(capsys, tmp_path, spoilt, says):
    t, left, right, gyro, *_ = samples()
    columns = {"t": t, "left": left, "right": right, "gyro_z": gyro}
    columns |= {name: change(t, columns[name]) for name, change in spoilt.items()}
    code, _, err = solve(capsys, "--log", _log(tmp_path, **columns))
    assert code == 1 and says in err and err.count("\n") == 1, err


def test_a_slow_gyro_and_a_few_lost_rows(capsys, tmp_path):
    t, left, right, gyro, *_ = samples()
    columns = {"t": t, "left": left, "right": right, "gyro_z": gyro}
    slow = {k: v[:: round(0.2 / (t[1] - t[0]))] for k, v in columns.items()}
    code, _, err = solve(capsys, "--log", _log(tmp_path, **slow))
    assert code == 1 and "5 rows a second" in err
    right = right.copy()
    right[100] = np.nan
    code, verdict, _ = solve(capsys, "--log", _log(tmp_path, **columns | {"right": right}))
    assert code == 0, verdict["cause"]
    assert verdict["result"]["base_over_diameter"] == pytest.approx(BASE / (RL + RR), rel=3e-3)


def test_a_wrapped_counter_is_named(capsys, tmp_path):
    t, left, right, gyro, *_ = samples()
    file = write(tmp_path / "a.csv", "t_s,left,right,gyro_z", (t, left % 20, right, gyro))
    code, _, err = solve(capsys, "--log", file)
    assert code == 1 and "wrapped" in err
