"""`companion calibrate imu-multi solve` on real and on bad files."""

import json
from pathlib import Path

import pytest

from tools import companion

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "imu_multi_position"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no recordings at {DATA}")


def solve(capsys, *argv: object) -> tuple[int, str, str]:
    code = companion.main(["calibrate", "imu-multi", "solve", *map(str, argv)])
    out, err = capsys.readouterr()
    return code, out, err


@needs_data
def test_the_xsens_recording_gives_the_factory_sheet(capsys, tmp_path: Path) -> None:
    out, report = tmp_path / "imu.json", tmp_path / "imu.html"
    files = ("--accel", DATA / "xsens_acc.mat", "--gyro", DATA / "xsens_gyro.mat")
    code, said, err = solve(
        capsys, *files, "--gravity", "9.81744", "--out", out, "--report", report, "--json"
    )
    assert err == ""
    found = json.loads(said)
    assert found == json.loads(out.read_text())
    accel, gyro, quality = found["result"]["accel"], found["result"]["gyro"], found["quality"]
    assert accel["inverse_scale"] == pytest.approx([415, 413, 415], rel=0.003)
    assert gyro["inverse_scale"] == pytest.approx([4778, 4758, 4766], rel=0.003)
    assert accel["bias"] == pytest.approx([33123, 33276, 32360], abs=10)
    assert gyro["bias"] == pytest.approx([32768, 32466, 32485], abs=60)
    assert quality["held_out_g_m_s2"] <= 0.002 and quality["gyro_deg_per_move"] <= 0.6
    assert (code, found["verdict"]) == (0, "PASS")
    assert "<svg" in report.read_text() and "http" not in report.read_text().split("</style>")[0]


@needs_data
def test_swapped_files_and_gravity_off_earth(capsys) -> None:
    swapped = ("--gyro", DATA / "xsens_acc.mat", "--accel", DATA / "xsens_gyro.mat")
    code, out, err = solve(capsys, *swapped)
    assert code == 1 and out == "" and "swap --accel and --gyro" in err
    code, _, err = solve(capsys, *swapped, "--gravity", "1")
    assert code == 2 and "nowhere on earth" in err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        ("a,b,c\nx,y,z\n", "no line of numbers"),
        ("0.0 1 2 3\n0.01 1 2 3\n", "2 rows, at least 50 needed"),
        ("t,gx,gy,gz\n" + "".join(f"{i / 100},0,0,1\n" for i in range(99)), "only gyro axes found"),
    ],
)
def test_what_is_no_log_is_a_sentence(capsys, tmp_path: Path, text: str, says: str) -> None:
    log = tmp_path / "log.csv"
    log.write_text(text)
    code, out, err = solve(capsys, "--accel", log, "--gyro", log)
    assert code == 1 and out == "" and says in err and err.count("\n") == 1


def test_no_file_and_no_place(capsys, tmp_path: Path) -> None:
    code, _, err = solve(capsys, "--accel", "/nowhere/a", "--gyro", "/nowhere/b")
    assert code == 1 and "no file /nowhere/a" in err
    code, _, err = solve(capsys, "--accel", "a", "--gyro", "b", "--out", tmp_path)
    assert code == 2 and "is a folder" in err


@needs_data
@pytest.mark.parametrize(
    ("end_s", "begin_s", "verdict", "says"),
    [
        (150, 0, None, "9 still poses found in 150 s, at least 12 needed"),
        (250, 0, "MARGINAL", "still poses, 24 wanted"),
        (512, 54, "MARGINAL", "too short a still period"),
    ],
)
def test_a_part_of_the_recording_is_no_pass(
    capsys, tmp_path: Path, end_s, begin_s, verdict, says
) -> None:
    files = []
    for name in ("acc", "gyro"):
        lines = (DATA / f"xsens_{name}.mat").read_text().splitlines()
        files.append(tmp_path / name)
        files[-1].write_text("\n".join(x for x in lines if begin_s <= float(x.split()[0]) < end_s))
    code, out, err = solve(capsys, "--accel", files[0], "--gyro", files[1], "--json")
    assert says in (out if verdict else err)
    assert code == (3 if verdict else 1)
    if verdict:
        assert json.loads(out)["verdict"] == verdict
