"""Kill -9 of every process of a real run, and its orderly ends: the wheels stop, nothing is left."""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from firmware_bridge.plant import Plant
from runtime.log import read_log
from runtime.modes import Mode
from tools.run_log import parts

pytest.importorskip("websockets", reason="the page's packages are not installed")
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

pytestmark = pytest.mark.heavy
MS = 1_000_000
FAST_RAD_S = 8.0  # of 9: the speed cap of the body
REST_RAD_S = 0.15  # 1 cm/s at the rim
RESTARTED = ("perception", "mind", "recorder", "console")
ENDING = ("supervisor", "controller", "firmware", "twin")


class Stick:
    """Whoever drives: this test in the console's place, or a page's WebSocket."""

    def __init__(self, run, with_page: bool) -> None:
        self.run, self.socket, self.seq, self.seen = run, None, 0, 0
        if with_page:
            run.until(lambda: "http://" in run.out.read_text(), "page address")
            url = run.out.read_text().split("http://")[1].split("/")[0]
            opened = contextlib.closing(connect(f"ws://{url}/ws").__enter__())
            self.socket = run.stack.enter_context(opened)

    def hold(self) -> None:
        if self.socket is None:
            self.run.drive()
            return
        self.hear()
        if not self.seen:
            return
        self.seq += 1
        wish = {"hold": True, "forward": 1.0, "turn": 0.0, "seq": self.seq, "seen": self.seen}
        message = {"type": "drive", **wish}
        with contextlib.suppress(OSError, EOFError, TimeoutError, ConnectionClosed):
            self.socket.send(json.dumps(message))

    def hear(self) -> None:
        """What has come; a wish to drive says the newest state."""
        with contextlib.suppress(OSError, EOFError, TimeoutError, ConnectionClosed):
            while True:
                told = self.socket.recv(timeout=0.001)
                if isinstance(told, str):  # else a picture
                    self.seen = json.loads(told).get("t_ms", self.seen)


def plant_of(pid: int) -> Plant:
    """The firmware's and twin's common memory, mapped by this test too."""
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        if "companion-plant" in os.readlink(fd):
            return Plant.attach(os.open(fd, os.O_RDWR))
    raise AssertionError("no plant")


def drive_until_fast(run, stick: Stick) -> None:
    run.until(lambda: run.mode() in (Mode.ACTIVE, Mode.TELEOP), "active")
    end = time.monotonic() + 10
    while run.collect() < FAST_RAD_S:
        assert time.monotonic() < end, "it never drove"
        stick.hold()
        time.sleep(0.02)


def drive_on(run, stick: Stick, seconds: float) -> None:
    """The operator does not know of the death and holds the stick."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        stick.hold()
        run.collect()
        time.sleep(0.01)
    run.collect()


def stop_ms(run, killed_ns: int, until_ns: int) -> float:
    """Time from the kill to the last moment in motion."""
    t = np.array([int(r["t_ns"]) for r in run.seen])
    wheels = np.array([np.abs(r["wheel_rad_s"]).max() for r in run.seen])
    assert wheels[t <= killed_ns][-1] > 7.5, "it was moving before"
    assert (t > killed_ns).any(), "the world went on after the kill"
    moving = t[(wheels > REST_RAD_S) & (t < until_ns)]
    return (int(moving[-1]) - killed_ns) / MS


def check_nothing_left(run, pids: dict[str, int], pty: Path, born: int) -> None:
    def gone(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    run.until(lambda: all(gone(pid) for pid in pids.values()), "children gone", 10)
    assert not pty.exists() or pty.stat().st_ctime_ns != born, "the pty is left"


def check_log(run, killed_ns: int) -> None:
    """Readable up to one second before the kill."""
    first = parts(next(iter(sorted(run.folder.glob("*.mcap")))))[0]
    tick = read_log(first, {"tick": run.table["tick"]})["tick"]
    assert tick["t_ns"][-1] > killed_ns - 1000 * MS


@pytest.mark.parametrize("victim", ENDING + RESTARTED)
def test_kill(victim: str, live, record_property) -> None:
    page = victim == "console"
    run = live("--skill", "idle", "--seed", "2", *(() if page else ("--headless",)))
    run.attach()
    stick = Stick(run, page)
    drive_until_fast(run, stick)
    pids = {"supervisor": run.process.pid, **run.pids()}
    pty, plant = run.pty(pids["firmware"]), plant_of(pids["firmware"])
    born = pty.stat().st_ctime_ns
    killed_ns = time.monotonic_ns()
    os.kill(pids[victim], signal.SIGKILL)
    if victim == "twin":
        time.sleep(0.25)
        outputs = plant.read_outputs()
        assert not outputs.enable or not outputs.target[:2].any()
    drive_on(run, stick, 0.5)
    if victim != "twin":
        took = stop_ms(run, killed_ns, killed_ns + 450 * MS)
        print(f"\n{victim}: at rest {took:.0f} ms after kill -9")
        record_property("stop_ms", took)
        assert took <= 250
    if victim in RESTARTED:
        run.until(lambda: victim in run.pids(), "restarted")
        assert run.pids()[victim] != pids[victim]
        drive_again(run, victim, page)
        run.process.send_signal(signal.SIGINT)
        assert run.wait() == 0
        events = [e["name"] for e in json.loads(run.report.read_text())["events"]]
        assert "process_died" in events and "process_back" in events
    else:
        code = run.wait()
        assert code == (-signal.SIGKILL if victim == "supervisor" else 1)
    check_nothing_left(run, pids, pty, born)
    # a dead firmware leaves its last word in memory: there the watchdog of the body cuts the motors
    assert victim == "firmware" or not plant.read_outputs().enable
    check_log(run, killed_ns)
    assert "Traceback" not in run.err.read_text()


def drive_again(run, victim: str, page: bool) -> None:
    """After the restart the operator drives on, with a page that has come back where it was lost."""
    stick = Stick(run, page)
    time.sleep(0.4)  # let go: a stick that was held all the while drives nothing
    end = time.monotonic() + 10
    while not (run.mode() is Mode.TELEOP and run.collect() > 2.0):
        assert time.monotonic() < end, f"it does not drive after {victim} came back"
        stick.hold()
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_orderly_end(number: signal.Signals, live) -> None:
    run = live("--skill", "idle", "--headless")
    run.attach()
    stick = Stick(run, False)
    drive_until_fast(run, stick)
    pids = run.pids()
    pty, plant = run.pty(pids["firmware"]), plant_of(pids["firmware"])
    born = pty.stat().st_ctime_ns
    asked_ns = time.monotonic_ns()
    run.process.send_signal(number)
    drive_on(run, stick, 0.5)
    took = stop_ms(run, asked_ns, asked_ns + 450 * MS)
    print(f"\n{number.name}: at rest after {took:.0f} ms")
    assert took <= 250
    assert run.wait() == 0
    report = json.loads(run.report.read_text())
    assert report["commands_sent"] > 0 and report["ticks"] > 0
    check_nothing_left(run, pids, pty, born)
    assert not plant.read_outputs().enable, "motors are parked"
    assert not list(run.base.glob("companion/*")), "the runtime folder is gone"
