"""`companion run` from the outside: its report, its exit codes, a recording instead of a body."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.conditions import missing
from runtime.log import read_log
from runtime.modes import Mode
from runtime.process import try_fifo
from tools.companion import main
from tools.compose import RunSettings, prepare

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
FPS, SECONDS = 30, 1.5
KEYS = {
    "schema", "body", "target", "firmware", "bundle", "backends", "degraded", "duration_s", "ticks",
    "commands_sent", "command_gaps", "tick_us", "sensor_to_command_us", "frames", "observe_ms",
    "surprise", "prediction", "skill", "events", "mode_final", "energy", "rss_mb", "log",
    "tick_log_sha256",
}  # fmt: skip


def run(tmp_path: Path, *args: str, before: str = "pass") -> tuple[int, dict, str, str]:
    """Exit code, report, stdout, stderr of one run in its own process."""
    code = f"import sys; {before}; from tools.companion import main; sys.exit(main(sys.argv[1:]))"
    report = tmp_path / "r.json"
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "--headless", "--record", str(tmp_path / "record"),
         "--report", str(report), *args],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    found = json.loads(report.read_text()) if report.exists() else {}
    return done.returncode, found, done.stdout, done.stderr


@pytest.fixture(scope="session")
def video(tmp_path_factory) -> str:
    """A short recording of a moving square."""
    path = tmp_path_factory.mktemp("video") / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), FPS, (160, 120))
    for k in range(round(FPS * SECONDS)):
        image = np.full((120, 160, 3), 90, np.uint8)
        image[40:80, 2 * k : 2 * k + 40] = (30, 200, 220)
        writer.write(image)
    writer.release()
    return str(path)


def check_recording(report: dict) -> None:
    assert set(report) == KEYS
    assert report["commands_sent"] == 0 and report["firmware"] == "none"
    assert 20 <= report["frames"] <= SECONDS * 20 + 2
    assert report["mode_final"] in ("boot", "idle")
    names = [e["name"] for e in report["events"]]
    assert "disarmed" in names and "end_of_recording" in names
    disarmed = next(e for e in report["events"] if e["name"] == "disarmed")
    assert "a recording has no body" in disarmed["sentence"]
    assert {"divergence", "image_error"} <= set(report["surprise"])
    assert not {"imu_error", "odometry"} & set(report["surprise"]), "masked: there is no source"
    assert report["prediction"]["steps"]["1"]["model"] > 0
    assert report["energy"] == {"source": "none"}


def test_a_recording_in_real_time(tmp_path, video) -> None:
    """Ends with the file, though it was asked to go on."""
    code, report, out, err = run(tmp_path, "--camera", video, "--duration", "0")
    assert code == 0, err
    check_recording(report)
    assert "seeing after" in out and "disarmed" in err and "disarmed" in out
    table = prepare(RunSettings()).table
    records = read_log(Path(report["log"]), table)
    assert "sensors" not in records and "truth" not in records
    assert "motors allowed with this camera" in missing(int(records["status"]["conditions"][-1]))
    assert records["status"]["disarmed"].all() and len(records["expected"]) > 10


def test_a_recording_in_lockstep_is_bit_identical(tmp_path, video, capsys) -> None:
    hashes = []
    for k in range(2):
        file = tmp_path / f"{k}.json"
        args = ["--camera", video, "--duration", "10", "--report", str(file)]
        args += ["--record", str(tmp_path / "record")]
        assert main(["run", "--lockstep", "--headless", *args]) == 0
        report = json.loads(file.read_text())
        check_recording(report)
        hashes.append(report["tick_log_sha256"])
    assert hashes[0] == hashes[1] and len(hashes[0]) == 64


def test_a_run_on_a_fallback_is_degraded(tmp_path) -> None:
    """Exit 3, slower, and the last line says why; also a real run's report from end to end."""
    before = "from tools import compose; compose.TWIN_BACKENDS['observe'] = ('tensorrt', 'ort-cpu')"
    code, report, out, err = run(tmp_path, "--duration", "2", "--skill", "idle", before=before)
    assert code == 3, err
    assert out.strip().splitlines()[-1].startswith("DEGRADED: observe runs on ort-cpu instead of")
    assert report["degraded"] and report["backends"]["observe"] == "ort-cpu"
    assert report["events"][0]["name"] and "backend_fallback" in [
        e["name"] for e in report["events"]
    ]
    assert set(report) == KEYS and "moving after" in out
    assert report["commands_sent"] >= 180 and report["frames"] >= 35
    assert report["mode_final"] == Mode.ACTIVE.name.lower()
    latency = report["sensor_to_command_us"]
    assert report["tick_us"]["p50"] * 0.3 < latency["p50"] < 20_000
    table = prepare(RunSettings()).table
    status = read_log(Path(report["log"]), table)["status"]
    full = prepare(RunSettings()).speed_cap_m_s()
    assert status["speed_cap"][-1] == pytest.approx(full / 2) and status["degraded"][-1] == 1


@pytest.mark.closed_loop
def test_twenty_seconds(tmp_path) -> None:
    code, report, out, err = run(tmp_path, "--duration", "20", "--seed", "3")
    assert code == 0, err
    assert report["commands_sent"] > 1800 and report["frames"] > 350
    assert 19.5 < report["duration_s"] < 21
    assert report["degraded"] == [] and "moving after" in out
    assert report["command_gaps"] < 0.02 * report["commands_sent"]
    assert {"controller", "perception", "mind", "recorder", "twin"} <= set(report["rss_mb"])


def test_lockstep_report_has_all_keys(tmp_path, capsys) -> None:
    file = tmp_path / "r.json"
    args = ["--lockstep", "--duration", "3", "--seed", "7", "--headless", "--report", str(file)]
    assert main(["run", *args, "--record", str(tmp_path / "record")]) == 0
    report = json.loads(file.read_text())
    assert set(report) == KEYS and report["commands_sent"] > 290
    assert report["tick_log_sha256"] and report["firmware"] == "lockstep"
    assert "x real time" in capsys.readouterr().out


def test_fifo_is_not_inherited(live) -> None:
    """Only what must be in time runs at real-time priority, and only where that is allowed."""
    script = live("--headless", "--skill", "idle")
    script.attach()
    script.until(lambda: script.mode() is Mode.ACTIVE, "active")
    policies = {name: os.sched_getscheduler(pid) for name, pid in script.pids().items()}
    fifo = {
        name
        for name, policy in policies.items()
        if policy & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO
    }
    assert fifo == ({"controller", "perception", "firmware"} if try_fifo() else set())


def test_a_robot_offers_no_skill_that_needs_a_place() -> None:
    """Nobody gives it one: it would drive by a goal of zeros."""
    twin = prepare(RunSettings())
    robot = replace(twin, settings=replace(twin.settings, target="robot", camera="/dev/video7"))
    assert "go_to" in twin.skills()
    assert set(twin.skills()) - set(robot.skills()) == {"go_to"}


@pytest.mark.parametrize(
    ("camera", "has_body"),
    [("twin", True), ("/dev/video7", True), ("v4l2src ! appsink", True), ("filesrc location=a.mp4 ! decodebin ! appsink", False),
     ("uridecodebin uri=file:///a.mp4 ! appsink", False)],
)  # fmt: skip
def test_what_plays_a_recording_has_no_body(camera: str, has_body: bool) -> None:
    setup = prepare(RunSettings())
    assert replace(setup, settings=replace(setup.settings, camera=camera)).has_body is has_body
