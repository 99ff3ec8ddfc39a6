"""Hours at rest: recorded by the twin's board, cut off, gone on with, solved; movement is named."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco")

from tools import companion, remote
from tools.calibrate.logs import read_log
from tools.calibrate.rig import START_NS, TwinRig

RATE = 500
S = 1_000_000_000


def say(capsys, *argv) -> tuple[int, str, str]:
    code = companion.main(["calibrate", "imu-allan", *map(str, argv)])
    return code, *capsys.readouterr()


def rows(folder: Path) -> int:
    return (folder / "imu.csv").read_bytes().count(b"\n") - 1


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """A recording whose process was killed while it ran, its last row torn as a power cut tears it."""
    folder = tmp_path_factory.mktemp("allan") / "log"
    words = ["calibrate", "imu-allan", "record", "--out", str(folder), "--seed", "3"]
    running = subprocess.Popen([sys.executable, "-m", "tools.companion", *words], stdout=subprocess.DEVNULL)  # fmt: skip
    for _ in range(600):
        if (folder / "imu.csv").is_file() and rows(folder) >= 15_000:
            break
        time.sleep(0.1)
    running.kill()
    assert running.wait() == -9
    with (folder / "imu.csv").open("a") as stream:
        stream.write("99999999,0.1,-0.0")
    return folder


def test_what_was_recorded_before_a_power_cut_is_gone_on_with(capsys, tmp_path, cut) -> None:
    folder = tmp_path / "log"
    shutil.copytree(cut, folder)
    before = (cut / "imu.csv").read_bytes()
    whole = before[: before.rindex(b"\n") + 1]
    chunks = (whole.count(b"\n") - 1) // 5000
    minutes = (chunks + 4) / 6
    code, out, _ = say(capsys, "record", "--out", folder, "--seed", 3, "--minutes", minutes)
    assert code == 0 and f"recorded {minutes:.1f} of" in out
    after = (folder / "imu.csv").read_bytes()
    assert after.startswith(whole), "nothing of it was lost, but for the torn row"
    log = read_log(folder / "imu.csv")
    assert len(log.t_s) == (chunks + 4) * 10 * RATE and log.rate_hz == pytest.approx(RATE)
    (gap,) = log.gaps
    assert gap[1] >= 1.0
    first, second = log.gyro.xyz[:5000], log.gyro.xyz[-20_000:-15_000]
    assert abs(np.corrcoef(first[:, 0], second[:, 0])[0, 1]) < 0.1, "the noise does not repeat"
    assert first.mean(0) == pytest.approx(second.mean(0), abs=2e-4), "the same chip"
    code, out, _ = say(capsys, "record", "--out", folder, "--seed", 3, "--minutes", minutes)
    assert code == 0 and "are there" in out and (folder / "imu.csv").read_bytes() == after


def test_solve_reads_it_and_knows_the_twins_truth(capsys, tmp_path, cut) -> None:
    folder = tmp_path / "log"
    shutil.copytree(cut, folder)
    minutes = 1 + int(rows(folder) / RATE / 60)
    assert say(capsys, "record", "--out", folder, "--seed", 3, "--minutes", minutes)[0] == 0
    code, out, _ = say(capsys, "solve", "--imu", folder, "--json")
    found = json.loads(out)
    assert code == 3 and "bias instability" in found["cause"], "so short a log shows none"
    assert found["device"] == "twin-3"
    assert found["quality"]["truth_gyro_noise_density_percent"] < 3
    assert found["quality"]["truth_accel_noise_density_percent"] < 3
    assert found["quality"]["length_s"] == pytest.approx(60 * minutes, abs=0.1)
    assert found["quality"]["longest_piece_s"] < 60 * minutes - 5


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--minutes", "0"], "give 1 to 1440"),
        (["--seed", "4"], "is of twin-3 (companion), this is twin-4"),
    ],
)
def test_what_makes_no_sense_is_refused(capsys, cut, argv, said) -> None:
    before = (cut / "imu.csv").read_bytes()
    code, _, err = say(capsys, "record", "--out", cut, "--seed", 3, *argv)
    assert code == 2 and said in err and "Traceback" not in err
    assert (cut / "imu.csv").read_bytes() == before


def test_a_folder_of_something_else_is_left_alone(capsys, tmp_path) -> None:
    (tmp_path / "holiday.jpg").write_text("x")
    code, _, err = say(capsys, "record", "--out", tmp_path, "--minutes", 1)
    assert code == 2 and "no recording to go on with" in err
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.jpg"]


def test_a_full_disk_is_told_before_the_hours_begin(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(
        "shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 10**6)
    )
    code, _, err = say(capsys, "record", "--out", tmp_path / "log")
    assert code == 1 and "needs 0.7 GB" in err and not (tmp_path / "log").exists()


def knocked(*seconds: float):
    """A twin that is pushed round at these times after its start."""

    class Knocked(TwinRig):
        def __init__(self, *args) -> None:
            super().__init__(*args)
            left = [START_NS + round(t * S) for t in seconds]

            def knock() -> None:
                if left and self.twin.now_ns >= left[0]:
                    left.pop(0)
                    self.twin.data.qvel[5] += 0.5

            self.on_physics = knock

    return Knocked


def test_a_robot_that_moves_at_the_start_is_not_recorded(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tools.calibrate.rigs.TwinRig", knocked(7.0))
    code, _, err = say(capsys, "record", "--out", tmp_path / "log", "--minutes", 1)
    assert code == 1 and "after the start; lay the robot on something firm" in err
    assert not (tmp_path / "log").exists()


def test_a_knock_is_named_by_record_and_by_solve(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tools.calibrate.rigs.TwinRig", knocked(34.0))
    code, out, _ = say(capsys, "record", "--out", tmp_path / "log", "--minutes", 1)
    assert code == 3 and "it moved 1 times, at 3" in out
    at = float(out.split("at ")[1].split(" s")[0])
    assert at == pytest.approx(34, abs=1.5)
    _, out, _ = say(capsys, "solve", "--imu", tmp_path / "log")
    assert "moved at 3" in out


def test_a_robot_that_is_carried_about_ends_it(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tools.calibrate.rigs.TwinRig", knocked(*np.arange(15, 200, 4.0)))
    code, out, _ = say(capsys, "record", "--out", tmp_path / "log", "--minutes", 5)
    assert (
        code == 3 and out.startswith("it does not lie still") and rows(tmp_path / "log") <= 30_000
    )


def test_a_board_that_falls_silent_keeps_what_is_there(capsys, tmp_path, monkeypatch) -> None:
    class Unplugged(TwinRig):
        def _pass(self) -> int:
            if self.now_ns < START_NS + 25 * S:
                return super()._pass()
            return self.now_ns + 10_000_000

    monkeypatch.setattr("tools.calibrate.rigs.TwinRig", Unplugged)
    code, out, _ = say(capsys, "record", "--out", tmp_path / "log", "--minutes", 5)
    assert code == 3 and "fell silent" in out and "goes on" in out
    assert rows(tmp_path / "log") == 10_000


def test_over_ssh_the_folder_goes_there_and_comes_back(cut) -> None:
    words = ["calibrate", "imu-allan", "record", "--out", str(cut), "--port", "/dev/companion-mcu"]
    paths = remote.mapped(words, "/tmp/x")
    assert paths.send == [(cut, f"/tmp/x/4/{cut.name}")]
    assert paths.fetch == [(f"/tmp/x/4/{cut.name}", cut)]
