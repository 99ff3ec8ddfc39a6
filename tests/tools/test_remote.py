"""`--robot HOST` against a real sshd on this machine."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import ConfigError
from tools import companion, remote

ROOT = Path(__file__).parents[2]
SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
with_sshd = pytest.mark.skipif(
    not Path(SSHD).is_file() or shutil.which("ssh") is None, reason="needs openssh-server"
)


def test_paths_that_are_here_are_sent_and_what_is_written_comes_back(tmp_path: Path) -> None:
    result = tmp_path / "camera.json"
    result.write_text("{}")
    words = ["calibrate", "camera", "install", str(result), "--serial", "video0", f"--report={tmp_path}/r.html"]  # fmt: skip
    paths = remote.mapped(words, "/tmp/companion.x")
    assert paths.words == [
        "calibrate", "camera", "install", "/tmp/companion.x/3/camera.json", "--serial", "video0",
        "--report=/tmp/companion.x/6/r.html",
    ]  # fmt: skip
    assert paths.send == [(result, "/tmp/companion.x/3/camera.json")]
    assert paths.fetch == [("/tmp/companion.x/6/r.html", tmp_path / "r.html")]


def test_a_word_is_not_taken_for_a_file_of_that_name(tmp_path, monkeypatch) -> None:
    (tmp_path / "camera").mkdir()
    monkeypatch.chdir(tmp_path)
    paths = remote.mapped(["calibrate", "camera", "report", "/var/lib/there.json"], "/tmp/x")
    assert paths.words == ["calibrate", "camera", "report", "/var/lib/there.json"]
    assert not paths.send and not paths.fetch


def test_devices_and_what_is_the_robots_own_are_not_sent(tmp_path, monkeypatch) -> None:
    """A laptop has a camera of the same name, and may have a file named as a serial."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "video0").write_text("")
    (tmp_path / "calibration").mkdir()
    words = ["calibrate", "camera", "install", "--camera", "/dev/null", "--serial", "video0",
             "--folder", "calibration", "--port=/dev/null"]  # fmt: skip
    paths = remote.mapped(words, "/tmp/x")
    assert paths.words == words and not paths.send and not paths.fetch


def test_a_folder_to_go_on_in_goes_there_and_back(tmp_path: Path) -> None:
    paths = remote.mapped(["calibrate", "robot", "--work", str(tmp_path)], "/tmp/x")
    assert paths.send == [(tmp_path, f"/tmp/x/3/{tmp_path.name}")]
    assert paths.fetch == [(f"/tmp/x/3/{tmp_path.name}", tmp_path)]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["run", "--robot", "r2"], "--robot is for doctor, why, calibrate, flash, log"),
        (["doctor", "--robot", "-oProxyCommand=touch x"], "give a host that ssh knows"),
        (["doctor", "--robot"], "give a host that ssh knows"),
    ],
)
def test_what_makes_no_sense_is_refused(argv, said, capsys) -> None:
    assert companion.main(argv) == 2
    assert said in capsys.readouterr().err


def test_help_is_this_machines(capsys) -> None:
    with pytest.raises(SystemExit):
        companion.main(["doctor", "--help", "--robot", "r2"])
    assert "over ssh" in capsys.readouterr().out


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory):
    """A host `robot` for ssh and scp: sshd on loopback, with our `companion` in its PATH."""
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)  # fmt: skip
    shutil.copy(folder / "user.pub", folder / "authorized")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    state = folder / "state"
    state.mkdir()
    wrappers = folder / "bin"
    wrappers.mkdir()
    command = wrappers / "companion"  # of this tree, whatever is installed
    command.write_text(
        f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m tools.companion "$@"\n'
    )
    command.chmod(0o755)
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\n"
        "PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n"
        f"SetEnv PATH={wrappers}:{os.environ['PATH']} XDG_DATA_HOME={state}\n"
    )
    (folder / "ssh_config").write_text(
        f"Host robot\n HostName 127.0.0.1\n Port {port}\n IdentityFile {folder}/user\n"
        f" UserKnownHostsFile {folder}/known\n StrictHostKeyChecking accept-new\n"
        "Host gone\n HostName 127.0.0.1\n Port 1\n"
    )
    for program in ("ssh", "scp"):
        file = wrappers / program
        file.write_text(f'#!/bin/sh\nexec {shutil.which(program)} -F {folder}/ssh_config "$@"\n')
        file.chmod(0o755)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=subprocess.DEVNULL)  # fmt: skip
    for _ in range(100):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    else:
        server.kill()
        pytest.fail("sshd does not listen")
    environment = os.environ | {"PATH": f"{wrappers}:{os.environ['PATH']}"}
    yield environment, state, server.pid
    server.kill()
    server.wait()


def run(robot, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.companion", *words], env=robot[0] | {"PYTHONPATH": str(ROOT)},
        cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip


@pytest.mark.heavy
@with_sshd
def test_a_log_is_solved_there_and_its_files_come_back(robot, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, (7000, 6))
    values = noise + (0.01, 0.0, -0.02, 0, 0, 9.81)
    rows = "\n".join(
        f"{i / 100}," + ",".join(f"{v:.5f}" for v in row) for i, row in enumerate(values)
    )
    (tmp_path / "still.csv").write_text(f"t,gx,gy,gz,ax,ay,az\n{rows}\n")
    done = run(robot, "calibrate", "imu-static", "solve", "--robot", "robot", "--imu", "still.csv",
               "--out", "out.json", "--report", "page/still.html", "--json", cwd=tmp_path)  # fmt: skip
    printed, written = json.loads(done.stdout), json.loads((tmp_path / "out.json").read_text())
    assert printed["tool"] == "imu-static" and printed["result"] == written["result"]
    assert done.returncode in (0, 1, 3) and written["verdict"] in ("PASS", "MARGINAL", "FAIL")
    assert "<html" in (tmp_path / "page" / "still.html").read_text()
    assert not list(Path("/tmp").glob("companion.????????"))


@pytest.mark.heavy
@with_sshd
def test_the_robots_own_state_is_asked(robot, tmp_path: Path) -> None:
    done = run(robot, "calibrate", "status", "--robot=robot", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.heavy
@with_sshd
def test_the_verbs_own_exit_code_and_sentence_come_back(robot, tmp_path: Path) -> None:
    done = run(robot, "log", "info", "/nowhere/x.mcap", "--robot", "robot", cwd=tmp_path)
    assert done.returncode == 2 and "/nowhere/x.mcap" in done.stderr
    assert not list(Path("/tmp").glob("companion.????????"))


@pytest.mark.heavy
@with_sshd
def test_a_host_that_does_not_answer_is_one_sentence(robot, tmp_path: Path) -> None:
    done = run(robot, "doctor", "--robot", "gone", cwd=tmp_path)
    assert done.returncode == 1
    assert "no ssh connection to gone" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.heavy
@with_sshd
def test_ctrl_c_here_ends_it_there(robot, tmp_path: Path) -> None:
    began = subprocess.Popen(
        [sys.executable, "-m", "tools.companion", "calibrate", "wheels", "record", "--out", "w.csv",
         "--robot", "robot"],
        env=robot[0] | {"PYTHONPATH": str(ROOT)}, cwd=tmp_path, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    for _ in range(200):
        if list(Path("/tmp").glob("companion.????????/pid")):
            break
        time.sleep(0.1)
    time.sleep(1.5)
    began.send_signal(signal.SIGINT)
    _, said = began.communicate(timeout=60)
    assert began.returncode == 1, said
    assert not list(Path("/tmp").glob("companion.????????"))
    there = subprocess.run(
        ["pgrep", "-f", "calibrate wheels record --out /tmp/companion"], check=False
    )
    assert there.returncode == 1  # nobody is left


def children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.heavy
@with_sshd
def test_what_took_hours_is_not_removed_when_the_connection_is_lost(robot, tmp_path: Path) -> None:
    began = subprocess.Popen(
        [sys.executable, "-m", "tools.companion", "calibrate", "imu-allan", "record", "--out", "log",
         "--minutes", "60", "--robot", "robot"],
        env=robot[0] | {"PYTHONPATH": str(ROOT)}, cwd=tmp_path, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for _ in range(300):
        logs = list(Path("/tmp").glob("companion.????????/*/log/imu.csv"))
        if logs and logs[0].stat().st_size > 1_000_000:
            break
        time.sleep(0.1)
    assert logs, began.communicate(timeout=60)
    folder = logs[0].parents[2]
    try:
        for session in children(robot[2]):  # one for each connection, with one of its user
            for inner in (*children(session), session):
                if "sshd" in Path(f"/proc/{inner}/comm").read_text():
                    os.kill(inner, signal.SIGKILL)
        _, said = began.communicate(timeout=60)
        assert began.returncode == 1
        assert f"the connection was lost; what moves there parks by itself; what it writes lies in robot:{logs[0].parent}" in said  # fmt: skip
        assert logs[0].stat().st_size > 1_000_000
    finally:
        os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
        shutil.rmtree(folder)


@pytest.mark.heavy
@with_sshd
def test_a_recording_at_rest_is_made_there_and_comes_back(robot, tmp_path: Path) -> None:
    words = ["calibrate", "imu-allan", "record", "--out", "log", "--robot", "robot"]
    for minutes, rows in (("1", 30_000), ("1.5", 45_000)):  # the second goes on with the first
        done = run(robot, *words, "--minutes", minutes, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "log" / "imu.csv").read_bytes().count(b"\n") == 1 + rows
    assert not list(Path("/tmp").glob("companion.????????"))


@pytest.mark.parametrize(
    "words", [["flash", "--key", "mine.pem"], ["flash", "app.bin", "--key=mine.pem"]]
)
def test_a_key_never_leaves_this_machine(tmp_path, words: list[str]) -> None:
    with pytest.raises(ConfigError, match="would send your key to the robot"):
        remote._there(None, "/tmp/there", words, tmp_path)  # type: ignore[arg-type]


def test_what_is_recovered_there_comes_back_or_is_not_made(tmp_path) -> None:
    log = tmp_path / "cut.mcap"
    log.write_bytes(b"")
    with pytest.raises(ConfigError, match="give --out too"):
        remote._there(None, "/tmp/there", ["log", "recover", str(log)], tmp_path)  # type: ignore[arg-type]
