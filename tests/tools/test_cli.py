"""The `companion` command: every verb it names works, and what is wrong is one sentence."""

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firmware_bridge.host import HostFirmware
from firmware_bridge.plant import Plant
from runtime.body import load_body
from tools import companion
from tools.companion import GROUPS, VERBS

WORDS = [verb.words for verb in VERBS]


def names(words: tuple[str, ...]) -> str:
    return " ".join(words)


@pytest.fixture
def say(capsys) -> Callable[..., tuple[int, str, str]]:
    """Run a command line in this process: exit code, stdout, stderr."""

    def run(*argv: str) -> tuple[int, str, str]:
        try:
            code = companion.main(list(argv))
        except SystemExit as left:
            code = int(left.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def shell(*argv: str) -> subprocess.CompletedProcess[str]:
    """The same, in a process of its own."""
    command = [sys.executable, "-m", "tools.companion", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=20)


@pytest.fixture
def port() -> Iterator[str]:
    """The pty of a real firmware process."""
    plant = Plant.create()
    firmware = HostFirmware(load_body("companion").limit_table(), plant)
    yield firmware.port
    firmware.stop()


@pytest.mark.parametrize("words", WORDS, ids=names)
def test_every_verb_explains_itself(say, words: tuple[str, ...]) -> None:
    code, out, _ = say(*words, "--help")
    assert code == 0
    assert f"companion {names(words)}" in out
    verb = next(v for v in VERBS if v.words == words)
    assert verb.help in " ".join(out.split())


def test_help_names_every_verb_and_group_once(say) -> None:
    code, out, _ = say("--help")
    assert code == 0
    assert listed(out) == sorted({w[0] for w in WORDS})
    assert set(GROUPS) == {" ".join(w[:n]) for w in WORDS for n in range(1, len(w))}
    for group in GROUPS:
        words = tuple(group.split())
        code, out, _ = say(*words, "--help")
        within = {w[len(words)] for w in WORDS if w[: len(words)] == words}
        assert code == 0 and listed(out) == sorted(within)


def listed(out: str) -> list[str]:
    return sorted(re.findall(r"^    ([a-z-]+)(?: |$)", out, re.MULTILINE))


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["dance"], "invalid choice: 'dance' (choose from"),
        (["flash", "--rob", "walle"], "unknown argument --rob: valid are"),
        (["log", "eat"], "invalid choice: 'eat' (choose from"),
        ([], "required: VERB"),
        (["model"], "required: VERB"),
        (["run", "--skill", "dance"], "invalid choice: 'dance'"),
        (["run", "--scenario", "lunar"], "invalid choice: 'lunar'"),
        (["run", "--scenario", "easy", "--target", "robot"], "--scenario is a twin's"),
        (["run", "--duration", "long"], "invalid float value: 'long'"),
        (["run", "--foresight", "-1"], "give 0 (off) to 256 variations"),
        (["run", "--foresight", "1000000"], "give 0 (off) to 256 variations"),
        (["run", "--duration", "-1"], "companion: --duration -1 is no time; give seconds"),
        (["run", "--body", "compani"], "did you mean companion?"),
        (["run", "--firmware", "/dev/ttyX"], "ports belong to --target robot"),
        (["run", "--target", "robot", "--lockstep"], "leave out --target robot"),
        (["run", "--target", "robot", "--camera", "twin"], "needs a serial port and a real camera"),
        (["run", "--goal", "follow"], "give --planner"),
        (["run", "--planner", "ipc:///tmp/planner"], "is not of the form tcp://"),
        (["run", "--planner", "tcp://10.0.0.7:5560"], "is not on this machine"),
        (["run", "--camera", "/nowhere/film.mp4"], "no camera or video /nowhere/film.mp4"),
        (["bench", "nothing"], "no bench nothing: known are codec"),
        (["model", "evaluate", "--only", "odd"], "no part odd: known are follow"),
        (["model", "evaluate", "--seeds", "5:5"], "5:5 holds no seed"),
        (["model", "evaluate", "--seeds", "a:b"], "a:b is neither a count nor A:B"),
        (["log", "info", "/nowhere/a.mcap"], "no log /nowhere/a.mcap"),
        (["config", "show", "--config", "/nowhere/robot.toml"], "no file /nowhere/robot.toml"),
        (["plan", "follow", "--address", "udp://x"], "not of the form"),
        (["plan"], "required: goal"),
        (["link", "stats", "--duration", "0"], "0 is no time; give seconds, more than 0"),
        (["link", "watch", "--duration", "nan"], "nan is no time"),
        (["link", "watch", "--only", "imu,stat"], "no message STAT; there are hello,"),
        (["link", "watch", "--port", "x", "--firmware", "host"], "not allowed with"),
        (["link", "stats", "--baud", "0"], "give a rate above 0"),
        (["link", "loopback", "--count", "0"], "0 is no count"),
        (["model", "evaluate", "--seeds", "0"], "0 holds no seed"),
        (["model", "evaluate", "--jobs", "x"], "x is no count"),
        (["model", "train", "--updates", "5,x"], "x is no count"),
        (["model", "parity", "--precisions", "fp8"], "no precision fp8: known are fp16, int8"),
        (["model", "export", "--out", "x"], "required: --precision"),
        (["model", "export", "--precision", "fp64", "--out", "x"], "invalid choice: 'fp64'"),
        (
            [
                "model",
                "export",
                "--precision",
                "int8",
                "--out",
                "x",
                "--seeds",
                "2",
                "--calibration",
                "y",
            ],
            "give one",
        ),
        (["model", "geometry", "--episodes", "0"], "0 is no count"),
        (["model", "geometry", "--out", "/nowhere/a.png"], "--out"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_wrong_use_is_exit_2_and_a_sentence(say, argv: list[str], says: str) -> None:
    code, out, err = say(*argv)
    assert code == 2
    assert says in err and out == ""
    assert "Traceback" not in err


NEEDED = {
    ("calibrate", "wheels", "solve"): ["--log", "x"],
    ("calibrate", "wheels", "record"): ["--out", "x"],
    ("calibrate", "motor", "solve"): ["--log", "x"],
    ("calibrate", "motor", "record"): ["--out", "x"],
    ("calibrate", "head", "solve"): ["--record", "x"],
    ("calibrate", "head", "record"): ["--out", "x"],
    ("calibrate", "imu-static", "record"): ["--out", "x"],
    ("calibrate", "latency", "record"): ["--out", "x"],
    ("calibrate", "latency", "solve"): ["--log", "x"],
    ("calibrate", "watch"): ["--log", "x"],
    ("calibrate", "target"): ["--board", "x"],
    ("calibrate", "camera", "record"): ["--out", "x"],
    ("calibrate", "camera-quick", "solve"): ["--images", "x", "--calibration", "y"],
    **{w: ["x", "--report", "y"] for w in WORDS if w[0] == "calibrate" and w[-1] == "report"},
    ("model", "export"): ["--precision", "fp16", "--out", "x"],
    ("calibrate", "imu-multi", "solve"): ["--accel", "x", "--gyro", "x"],
    ("calibrate", "imu-multi", "record"): ["--out", "x"],
    ("calibrate", "imu-allan", "record"): ["--out", "x"],
    ("calibrate", "cam-imu", "record"): ["--out", "x"],
    ("calibrate", "convert"): ["--from", "x", "--to", "y", "--format", "json"],
    ("calibrate", "cam-imu", "solve"): ["--gyro", "x", "--gyro", "x"],
    ("calibrate", "imu-allan", "solve"): ["--imu", "x"],
    ("model", "levels"): ["--version", "x"],
    ("calibrate", "imu-static", "solve"): ["--imu", "x"],
}


@pytest.mark.parametrize("words", WORDS, ids=names)
def test_an_unknown_option_is_exit_2(say, words: tuple[str, ...]) -> None:
    positional = {"plan": ["follow"], "log": ["x.mcap"]}.get(words[0], [])
    needed = NEEDED.get(words, [])
    code, out, err = say(*words, *positional, *needed, "--no-such-option")
    assert code == 2
    assert "unknown argument --no-such-option: valid are --help" in err and out == ""


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["run", "--bundle", "nothing"], "no bundle nothing: found companion-follow"),
        (["model", "parity", "--bundle", "nothing"], "no bundle nothing"),
        (
            ["model", "export", "--precision", "fp16", "--out", "x", "--bundle", "nothing"],
            "no bundle nothing",
        ),
        (["model", "geometry", "--bundle", "nothing"], "no bundle nothing"),
        (["model", "levels", "--version", "a", "--bundle", "nothing"], "no bundle nothing"),
        (["link", "stats", "--port", "/dev/nothing"], "there is no such port"),
        (["link", "watch", "--port", "/dev/nothing"], "there is no such port"),
        (["link", "loopback", "--port", "/dev/nothing"], "there is no such port"),
        (["plan", "dance for me"], "no skill in 'dance for me': use idle, follow"),
        (["why", "--run", "twin-77"], "no run twin-77"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_what_fails_is_exit_1_and_a_sentence(say, monkeypatch, tmp_path, argv, says) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    code, out, err = say(*argv)
    assert code == 1
    assert err.startswith("companion: ") and says in err and err.count("\n") == 1
    assert out == ""


def test_a_planner_serves_this_machine_only() -> None:
    for address in ("tcp://192.168.1.2:5560", "tcp://*:5560"):
        refused = shell("planner", "serve", "--address", address)
        assert refused.returncode == 2 and "is not on this machine" in refused.stderr
        assert "Traceback" not in refused.stderr and refused.stdout == ""


def test_training_without_torch_says_how_to_get_it(say, monkeypatch) -> None:
    for name in [
        m for m in sys.modules if m.startswith(("tools.train.pipeline", "models.training"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    code, _, err = say("model", "train")
    assert code == 2 and "training needs torch" in err and "make train" in err


# ── every verb, really run ──────────────────────────────────────────────────────────────────

JSON = {
    ("doctor",): ["--json"],
    ("model", "list"): ["--json"],
    ("model", "parity"): ["--json"],
    ("plan",): ["follow for 3 s", "--json"],
    ("config", "show"): ["--json"],
    ("version",): ["--json"],
}
PLAIN = {
    ("firmware", "build"): ([], r"layout [0-9a-f]{8} \(companion\)"),
    ("config", "check"): ([], r"6 joints, stops in \d+ ms"),
    ("plan",): (["follow for 3 s, then wait"], r"1\. follow for 3 s"),
    ("model", "list"): ([], r"for companion, signed by development"),
    ("doctor",): ([], r"ok   python"),
    ("version",): ([], r"protocol +\d+\.\d+ schema"),
    ("config", "show"): ([], r"\[body\.geometry\]"),
}
# Verbs that need more than a line: each has its own test below or in the file named.
ELSEWHERE = {
    ("run",): "test_a_short_lockstep_run_tells_its_story",
    ("why",): "test_why.py",
    ("link", "watch"): "test_link.py",
    ("link", "stats"): "test_link.py",
    ("link", "loopback"): "test_link.py",
    ("bringup",): "test_bringup.py",
    ("flash",): "tests/qemu/test_flash.py, heavy",
    ("firmware", "sign"): "test_firmware.py",
    ("firmware", "keygen"): "test_firmware.py",
    ("model", "train"): "tests/tools/test_train.py, heavy",
    ("model", "levels"): "test_model_levels.py",
    ("model", "evaluate"): "test_model_evaluate_is_one_object",
    ("model", "export"): "tests/models/test_variant.py, heavy",
    ("model", "geometry"): "tests/models/test_geometry.py, heavy",
    ("engine", "build"): "tests/models/test_backend_tensorrt.py",
    ("planner", "serve"): "test_a_served_planner_answers_and_ends_by_ctrl_c",
    ("log", "info"): "test_log_tools.py",
    ("log", "recover"): "test_log_tools.py",
    ("bench",): "test_bench.py",
    ("calibrate", "robot"): "test_calibrate_robot.py",
    ("calibrate", "camera", "solve"): "test_calibrate_camera.py",
    ("calibrate", "wheels", "record"): "test_calibrate_rig.py",
    ("calibrate", "wheels", "solve"): "test_calibrate_wheels.py",
    ("calibrate", "motor", "record"): "test_calibrate_rig.py",
    ("calibrate", "motor", "solve"): "test_calibrate_rig.py",
    ("calibrate", "head", "record"): "test_calibrate_rig.py",
    ("calibrate", "imu-multi", "record"): "test_calibrate_imu_multi_record.py",
    ("calibrate", "imu-allan", "record"): "test_calibrate_imu_allan_record.py",
    ("calibrate", "cam-imu", "record"): "test_calibrate_cam_imu_record.py",
    ("calibrate", "head", "solve"): "test_calibrate_rig.py",
    ("calibrate", "latency", "record"): "test_calibrate_latency.py",
    ("calibrate", "watch"): "test_calibrate_watch.py",
    ("calibrate", "latency", "solve"): "test_calibrate_latency.py",
    ("calibrate", "imu-static", "record"): "test_calibrate_robot.py",
    ("calibrate", "status"): "test_calibrate_camera.py",
    ("calibrate", "target"): "test_calibrate_target.py",
    ("calibrate", "camera", "record"): "test_calibrate_camera_record.py",
    ("calibrate", "camera-quick", "solve"): "test_calibrate_camera_quick.py",
    **{w: "test_calibrate_report.py" for w in WORDS if w[::2] == ("calibrate", "report")},
    **{w: "test_calibrate_camera.py" for w in WORDS if w[::2] == ("calibrate", "install")},
    ("calibrate", "imu-multi", "solve"): "test_calibrate_imu_multi.py",
    ("calibrate", "convert"): "test_calibrate_convert.py",
    ("calibrate", "cam-imu", "solve"): "test_calibrate_cam_imu.py",
    ("calibrate", "imu-allan", "solve"): "test_calibrate_imu_rest.py",
    ("calibrate", "imu-static", "solve"): "test_calibrate_imu_rest.py",
}


def test_every_verb_of_the_help_is_run_by_a_test() -> None:
    assert set(WORDS) == set(JSON) | set(PLAIN) | set(ELSEWHERE)


@pytest.mark.parametrize("words", JSON, ids=names)
def test_json_is_exactly_one_object(say, words: tuple[str, ...]) -> None:
    code, out, _ = say(*words, *JSON[words])
    assert code == 0
    assert isinstance(json.loads(out), dict)
    assert out.count("\n") == 1


@pytest.mark.parametrize("words", PLAIN, ids=names)
def test_the_verb_works(say, words: tuple[str, ...]) -> None:
    arguments, shows = PLAIN[words]
    code, out, err = say(*words, *arguments)
    assert code == 0 and err == ""
    assert re.search(shows, out)


def test_a_short_lockstep_run_tells_its_story(say, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    code, out, _ = say(
        "run", "--lockstep", "--duration", "1", "--seed", "7", "--headless",
        "--record", str(tmp_path / "log"), "--report", str(report),
    )  # fmt: skip
    assert code in (0, 3)
    assert "control ticks" in out and "run.html" in out
    found = json.loads(report.read_text())
    assert found["target"] == "twin" and found["commands_sent"] > 90
    assert re.fullmatch("[0-9a-f]{64}", found["tick_log_sha256"])
    assert {p.suffix for p in (tmp_path / "log").iterdir()} == {".mcap", ".html"}


def test_model_evaluate_is_one_object(say, tmp_path: Path) -> None:
    asked = ("model", "evaluate", "--seeds", "1", "--only", "ablation", "--jobs", "1", "--json")
    code, out, err = say(*asked, "--work", str(tmp_path))
    found = json.loads(out)
    assert code == 0 and out.count("\n") == 1
    assert found["seeds"] == 1 and found["blackout"]["episodes"] == 1
    assert "1 of 1 episodes" in err
    code, again, err = say(*asked, "--work", str(tmp_path))
    assert code == 0 and again == out, "rows that are there are not run again"
    assert "1 of 1 episodes are there from before" in err


def test_a_served_planner_answers_and_ends_by_ctrl_c(say) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{s.getsockname()[1]}"
    command = [sys.executable, "-m", "tools.companion", "planner", "serve", "--address", address]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # a shell that runs us in the background has it ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert server.stdout is not None
    assert f"planner at {address}; skills: idle, follow" in server.stdout.readline()
    code, out, _ = say("plan", "come along for 2 min", "--address", address, "--json")
    assert code == 0
    assert json.loads(out)["steps"] == [{"skill": "follow", "duration_s": 120.0}]
    code, _, err = say("plan", "sing", "--address", address)
    assert code == 1 and "no skill in 'sing'" in err
    again = shell("planner", "serve", "--address", address)
    assert again.returncode == 2 and f"{address} is busy" in again.stderr
    server.send_signal(signal.SIGINT)
    _, err = server.communicate(timeout=10)
    assert server.returncode == 0 and err == ""


def test_a_planner_that_is_not_there_is_one_sentence(say, monkeypatch) -> None:
    clock = iter(range(0, 10**12, 2_000_000_000))
    monkeypatch.setattr("tools.planner.now_ns", lambda: next(clock))
    code, _, err = say("plan", "follow", "--address", "tcp://127.0.0.1:1")
    assert code == 1 and "start one with `companion planner serve`" in err


@pytest.mark.parametrize(
    ("name", "extra"),
    [("mujoco", "twin"), ("smp", "firmware"), ("elftools", "firmware"), ("onnxruntime", "cpu")],
)
def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch, say, name, extra) -> None:
    """Also one that is imported late, when the verb is at work."""

    def late(*_: object) -> int:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("tools.version.main", late)
    code, _, err = say("version")
    assert code == 2 and err.count("\n") == 1
    assert f"needs the package {name}" in err and f"[{extra}]" in err
