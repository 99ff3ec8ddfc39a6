"""A real run in its own processes, watched and driven from outside as its console would."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from runtime.channels import Channels, channel_table
from runtime.modes import Mode
from runtime.sharing import fetch_memory, open_channels
from tools.compose import DEFAULT_BUNDLE, RunSettings, prepare

NAMES = ("controller", "perception", "mind", "recorder", "console", "twin")
COMM = {f"cmp-{name}"[:15]: name for name in NAMES} | {"companion-firmw": "firmware"}


# The command, with a stick that reaches the body's full speed: the hardest case of stopping.
FAST = """
import sys
from runtime import driver
from tools.companion import main
driver.TELEOP_SPEED_M_S = 1.0
sys.exit(main(sys.argv[1:]))
"""


class LiveRun:
    """`companion run` as a subprocess; `channels` are its own, over its socket."""

    def __init__(self, tmp_path: Path, *args: str) -> None:
        self.folder = tmp_path / "run"
        self.report = tmp_path / "report.json"
        self.base = tmp_path / "runtime"
        self.base.mkdir()
        self.out, self.err = tmp_path / "out.txt", tmp_path / "err.txt"
        command = [sys.executable, "-c", FAST, "run", "--record", str(self.folder)]
        command += ["--report", str(self.report), *args]
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                command,
                stdout=out,
                stderr=err,
                env={**os.environ, "XDG_RUNTIME_DIR": str(self.base)},
            )
        self._drive_seq = 0
        self.stack = contextlib.ExitStack()

    def attach(self) -> Channels:
        """Wait for the run's socket and map its channels."""
        self.until(lambda: any(self.base.glob("companion/*/channels.sock")), "socket")
        socket_path = next(self.base.glob("companion/*/channels.sock"))
        fds, _ = fetch_memory(socket_path)
        setup = prepare(RunSettings(bundle=DEFAULT_BUNDLE))
        shape = (setup.body.camera.height, setup.body.camera.width, 3)
        self.table = channel_table(setup.bundle.manifest.belief, shape)
        self.channels = open_channels(self.table, fds)
        for fd in fds.values():
            os.close(fd)
        self.status = self.channels.reader("status")
        self.truth = self.channels.reader("truth")
        self.operator = self.channels.writer("operator", "console")
        self.seen: list[np.ndarray] = []
        return self.channels

    def until(self, holds: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
        """Poll until it holds."""
        end = time.monotonic() + timeout_s
        while not holds():
            assert what == "children gone" or self.process.poll() is None, self.err.read_text()
            assert time.monotonic() < end, f"never: {what}\n{self.err.read_text()}"
            time.sleep(0.005)

    def mode(self) -> Mode:
        self.status.latest()
        return Mode(int(self.status.record["mode"]))

    def collect(self) -> float:
        """Take in the truth; the newest wheel speed [rad/s]."""
        self.seen += self.truth.drain()
        return float(np.abs(self.seen[-1]["wheel_rad_s"]).max()) if self.seen else 0.0

    def drive(self, forward: float = 1.0) -> None:
        """One message of a held stick."""
        r = self.operator.record
        self._drive_seq += 1
        r["present"], r["hold"], r["forward"] = 1, 1, forward
        r["drive_seq"], r["drive_t_ns"] = self._drive_seq, time.monotonic_ns()
        self.operator.publish(time.monotonic_ns())

    def pids(self) -> dict[str, int]:
        """Process ids of the children by process name."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        out = {}
        for pid in map(int, children.split()):
            comm = Path(f"/proc/{pid}/comm").read_text().strip()
            if comm in COMM:
                out[COMM[comm]] = pid
        return out

    def pty(self, firmware: int) -> Path:
        links = (os.readlink(p) for p in Path(f"/proc/{firmware}/fd").iterdir())
        return Path(next(link for link in links if re.fullmatch(r"/dev/pts/\d+", link)))

    def wait(self, timeout_s: float = 20.0) -> int:
        return self.process.wait(timeout_s)

    def end(self) -> None:
        self.stack.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Callable[..., LiveRun]]:
    """Start a run; it is ended with the test."""
    runs: list[LiveRun] = []

    def start(*args: str) -> LiveRun:
        runs.append(LiveRun(tmp_path, *args))
        return runs[-1]

    yield start
    for run in runs:
        run.end()
