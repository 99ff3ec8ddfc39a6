"""Bad input: exit 1 or 2, one sentence that says what to do, no traceback, nothing half-written."""

import hashlib
import os
import pty
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from firmware_bridge.host import HostFirmware
from firmware_bridge.plant import Plant
from firmware_bridge.serial_port import SerialTransport
from models.bundle import BUNDLES
from runtime.body import BODIES, load_body
from tools import start_checks
from tools.companion import main
from tools.compose import DEFAULT_BUNDLE, RunSettings, prepare
from tools.runtime_folder import RuntimeFolder
from tools.train.signing import resign


@pytest.fixture
def refused(tmp_path: Path, capsys, monkeypatch) -> Callable[..., str]:
    """Run the command; the one sentence with which it ended."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    record = tmp_path / "record" / "deep"

    def run(*args: str, code: int = 2) -> str:
        argv = ["run", "--headless", "--duration", "1"]
        if "--record" not in args:
            argv += ["--record", str(record), "--report", str(tmp_path / "r.json")]
        assert main([*argv, *args]) == code
        captured = capsys.readouterr()
        lines = captured.err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("companion: "), captured.err
        assert "Traceback" not in captured.err and not captured.out
        assert not record.parent.exists() and not (tmp_path / "r.json").exists()
        assert not list((tmp_path / "companion").glob("twin*")), "the runtime folder is gone"
        return lines[0]

    return run


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    copy = tmp_path / "bundle"
    shutil.copytree(BUNDLES / DEFAULT_BUNDLE, copy)
    return copy


# ── bundle and body ─────────────────────────────────────────────────────────────────────
def test_missing_bundle_lists_what_exists(refused) -> None:
    assert DEFAULT_BUNDLE in refused("--bundle", "nowhere", code=1)


def test_empty_folder_is_no_bundle(refused, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    assert "manifest.toml is missing" in refused("--bundle", str(tmp_path / "empty"), code=1)


@pytest.mark.parametrize("name", ["observe.onnx", "golden.npz", "manifest.toml", "manifest.sig"])
@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_truncated_bundle(refused, bundle, name: str, keep: float) -> None:
    file = bundle / name
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * keep)])
    assert str(bundle) in refused("--bundle", str(bundle), code=1)


def test_a_policy_that_cannot_run_drives_nothing_in_lockstep(refused, bundle) -> None:
    graph = bundle / "policy.onnx"
    graph.write_bytes(graph.read_bytes()[:1000])
    sha = hashlib.sha256(graph.read_bytes()).hexdigest()
    resign(bundle, lambda fields: fields["sha256"].update({"policy.onnx": sha}))
    assert "policy" in refused("--bundle", str(bundle), "--lockstep", code=1)


def test_manifest_that_is_no_text(refused, bundle) -> None:
    (bundle / "manifest.toml").write_bytes(b"\xff\xfe\x00junk")
    assert "install it again" in refused("--bundle", str(bundle), code=1)


def other_body(tmp_path: Path, *changes: tuple[str, str]) -> str:
    text = (BODIES / "companion.toml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = tmp_path / "other.toml"
    path.write_text(text)
    return str(path)


def test_bundle_of_another_body(refused, tmp_path) -> None:
    body = other_body(tmp_path, ('name = "companion"', 'name = "cousin"'))
    assert "body companion, this is body cousin" in refused("--body", body, code=1)


@pytest.mark.parametrize("key", ["control_hz", "wheel_radius_m", "jerk_max_rad_s3"])
def test_unknown_body_key_lists_the_valid_ones(refused, tmp_path, key: str) -> None:
    sentence = refused("--body", other_body(tmp_path, (key, f"x{key}")))
    assert f"unknown field `x{key}`" in sentence and f" {key}" in sentence


@pytest.mark.parametrize("text", ["", "schema = 1", "= ="])
def test_broken_body(refused, tmp_path, text: str) -> None:
    (tmp_path / "b.toml").write_text(text)
    assert "b.toml" in refused("--body", str(tmp_path / "b.toml"))


def test_missing_body(refused) -> None:
    assert "companion" in refused("--body", "nobody")


# ── options and robot.toml ──────────────────────────────────────────────────────────────
def test_unknown_option_lists_the_valid_ones(refused) -> None:
    sentence = refused("--sede", "3")
    assert "--duration" in sentence and "did you mean --seed?" in sentence


def test_unknown_key_of_robot_toml_lists_the_valid_ones(refused, tmp_path) -> None:
    (tmp_path / "robot.toml").write_text('prot = "/dev/x"\n')
    sentence = refused("--target", "robot", "--config", str(tmp_path / "robot.toml"))
    assert "allow_development_key" in sentence and "did you mean port?" in sentence


@pytest.mark.parametrize(
    "args",
    [
        ("--duration", "-1"),
        ("--duration", "nan"),
        ("--duration", "inf"),
        ("--seed", "-1"),
        ("--page-port", "70000"),
        ("--planner", "nonsense"),
        ("--goal", "follow"),
        ("--firmware", "/dev/ttyACM0"),
        ("--target", "robot", "--camera", "twin"),
        ("--target", "robot", "--lockstep"),
    ],
)
def test_values_that_make_no_sense(refused, args: tuple[str, ...]) -> None:
    assert args[-2] in refused(*args) or args[-1] in refused(*args)


# ── the robot's port and key ────────────────────────────────────────────────────────────
@pytest.fixture
def robot(tmp_path: Path) -> tuple[str, ...]:
    """A robot that takes the development key and has a camera."""
    (tmp_path / "robot.toml").write_text("allow_development_key = true\n")
    return ("--target", "robot", "--config", str(tmp_path / "robot.toml"), "--camera", "/dev/null")


def test_robot_refuses_the_development_key(refused, tmp_path) -> None:
    (tmp_path / "plain.toml").write_text("")
    args = ("--target", "robot", "--config", str(tmp_path / "plain.toml"), "--camera", "/dev/null")
    assert "allow_development_key" in refused(*args, code=1)


def test_absent_port(refused, robot) -> None:
    assert "no such port" in refused(*robot, "--firmware", "/dev/nothing", code=1)


def test_busy_port(refused, robot) -> None:
    master, slave = pty.openpty()
    owner = SerialTransport(os.ttyname(slave))
    try:
        assert "busy" in refused(*robot, "--firmware", owner.port, code=1)
    finally:
        owner.close()
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize("noise", [False, True])
def test_port_that_is_no_mcu(refused, robot, noise: bool, monkeypatch) -> None:
    monkeypatch.setattr(start_checks, "PROBE_S", 0.5)
    master, slave = pty.openpty()
    done = threading.Event()

    def talk() -> None:
        while not done.wait(0.002):
            os.write(master, os.urandom(40) if noise else b"")

    thread = threading.Thread(target=talk)
    thread.start()
    began = time.monotonic()
    try:
        sentence = refused(*robot, "--firmware", os.ttyname(slave), code=1)
    finally:
        done.set()
        thread.join()
        os.close(master)
        os.close(slave)
    assert "no MCU of ours" in sentence and os.path.basename(sentence.split(":")[1]).strip()
    assert time.monotonic() - began < 5


def test_an_mcu_of_ours_is_accepted_and_its_port_given_back() -> None:
    body = load_body("companion")
    firmware = HostFirmware(body.limit_table(), Plant.create())
    settings = RunSettings(target="robot", firmware=firmware.port, allow_development_key=True)
    try:
        start_checks.check_port(prepare(settings))
        SerialTransport(firmware.port).close()
    finally:
        firmware.stop()


def test_second_instance_on_the_same_robot(refused, robot) -> None:
    with RuntimeFolder("robot-companion"):
        sentence = refused(*robot, "--firmware", "/dev/nothing")
    assert f"process {os.getpid()}" in sentence


# ── camera ──────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("camera", ["77", "/dev/video77", "gone.mp4"])
def test_absent_camera(refused, camera: str) -> None:
    assert "no camera or video" in refused("--camera", camera)


def test_unreadable_video_in_lockstep(refused, tmp_path) -> None:
    (tmp_path / "junk.mp4").write_bytes(b"this is no video")
    assert "no video that OpenCV can read" in refused(
        "--lockstep", "--camera", str(tmp_path / "junk.mp4")
    )


def test_unreadable_video_in_real_time(tmp_path) -> None:
    """Found by the perception process: its sentence is the operator's, and nothing is left."""
    (tmp_path / "junk.mp4").write_bytes(b"this is no video")
    done = subprocess.run(
        [sys.executable, "-m", "tools.companion", "run", "--headless", "--duration", "1",
         "--camera", str(tmp_path / "junk.mp4"), "--record", str(tmp_path / "record"),
         "--report", str(tmp_path / "r.json")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("companion: ")
    assert "no video that OpenCV can read" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "record").exists() and not (tmp_path / "r.json").exists()


# ── folders, disk, page ─────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("lockstep", [(), ("--lockstep",)])
def test_folder_that_cannot_be_made(refused, lockstep: tuple[str, ...]) -> None:
    assert "--record" in refused("--record", "/proc/nothing/here", *lockstep)


def test_folder_that_is_a_file(refused, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    assert "is no folder" in refused("--record", str(tmp_path / "file"))


def test_report_that_is_a_folder(refused, tmp_path) -> None:
    assert "give a file name" in refused("--report", str(tmp_path))


def test_full_disk(refused, monkeypatch) -> None:
    monkeypatch.setattr(start_checks, "MIN_FREE_MB", 10**9)
    assert "MB are free" in refused("--skill", "idle")


def test_busy_page_port(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert main(["run", "--page-port", port, "--record", str(tmp_path / "record")]) == 2
    assert "--page-port" in capsys.readouterr().err
    assert not (tmp_path / "record").exists()
