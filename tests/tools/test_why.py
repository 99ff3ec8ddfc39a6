"""`companion why`: the first break is named, over every condition, on a real run's channels."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.bundle import find_bundle, load_bundle
from runtime.body import load_body
from runtime.channels import STATUS, Writer, channel_table
from runtime.conditions import ALL, CONDITIONS, Condition
from runtime.modes import MOVING, Mode
from runtime.sharing import ChannelServer, create_memory, open_channels
from tools import companion, why
from tools.why import STAGES, walk


def status(bits: int = int(ALL), mode: Mode = Mode.ACTIVE, cap: float = 0.6) -> np.ndarray:
    record = np.zeros((), STATUS)
    record["conditions"], record["mode"], record["speed_cap"] = bits, mode, cap
    return record


def test_every_condition_belongs_to_one_stage() -> None:
    seen = Condition(0)
    for _, flags in STAGES:
        assert not seen & flags
        seen |= flags
    assert seen == ALL


def test_a_moving_robot_has_no_break() -> None:
    answers = walk(status(), False, "robot")
    assert all(a.ok for a in answers)
    assert [a.stage for a in answers] == ["power", "link", "machine", "world model", "mind", "operator", "mode", "limits"]  # fmt: skip


@pytest.mark.parametrize("condition", Condition)
def test_each_missing_condition_breaks_its_own_stage_alone(condition: Condition) -> None:
    answers = walk(status(int(ALL & ~condition)), False, "robot")
    (broken,) = [a for a in answers if not a.ok]
    name, fix = CONDITIONS[condition]
    assert f"{name}: {fix}" in broken.says
    assert broken.stage == next(stage for stage, flags in STAGES if condition in flags)


def test_the_twin_needs_no_operator() -> None:
    answers = walk(status(int(ALL & ~Condition.OPERATOR)), False, "twin")
    assert all(a.ok for a in answers)


@pytest.mark.parametrize("mode", Mode)
def test_a_mode_that_may_not_move_says_what_to_do(mode: Mode) -> None:
    answer = next(a for a in walk(status(mode=mode), False, "robot") if a.stage == "mode")
    assert answer.ok == (mode in MOVING)
    if mode in (Mode.STOPPED, Mode.FAULT, Mode.IDLE, Mode.HOLD):
        assert ": " in answer.says


def test_no_speed_is_a_break() -> None:
    assert [a.stage for a in walk(status(cap=0.0), False, "robot") if not a.ok] == ["limits"]


def test_a_silent_controller_is_the_first_break() -> None:
    (answer,) = walk(status(), True, "robot")
    assert answer.stage == "controller" and not answer.ok


class Run:
    """A run's shared memory behind its real socket; nobody drives it."""

    def __init__(self, base: Path, name: str) -> None:
        bundle = load_bundle(find_bundle("companion-follow"), load_body("companion").layout())
        camera = load_body("companion").camera
        table = channel_table(bundle.manifest.belief, (camera.height, camera.width, 3))
        fds = create_memory(table)
        self.status: Writer = open_channels(table, fds).writer("status", "controller")
        (base / name).mkdir(parents=True)
        about = {"body": "companion", "bundle": str(bundle.path), "target": "twin"}
        self._server = ChannelServer(base / name / "channels.sock", fds, about)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stop.wait(0.005):
            self._server.step()

    def say(self, **fields: object) -> None:
        for name, value in fields.items():
            self.status.record[name] = value
        self.status.publish(time.monotonic_ns())

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._server.close()


@pytest.fixture
def live(tmp_path, monkeypatch) -> Iterator[Run]:
    monkeypatch.setattr(why, "base_folder", lambda: tmp_path)
    run = Run(tmp_path, "twin-0-1")
    yield run
    run.close()


def test_it_reads_a_live_run(live: Run, capsys) -> None:
    live.say(conditions=int(ALL), mode=Mode.ACTIVE, speed_cap=0.5)
    assert companion.main(["why", "--json"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and json.loads(out)["moving"] is True


def test_it_names_the_first_break_of_a_live_run(live: Run, capsys) -> None:
    live.say(conditions=int(ALL & ~Condition.SENSORS & ~Condition.MIND), mode=Mode.IDLE, speed_cap=0.5)  # fmt: skip
    assert companion.main(["why", "--run", "twin-0-1", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["first_break"] == "link" and found["moving"] is False
    assert companion.main(["why"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if line.startswith("NO")).split()[1] == "link"


def test_a_run_whose_controller_never_spoke(live: Run, capsys) -> None:
    assert companion.main(["why"]) == 1
    assert "NO  controller" in capsys.readouterr().out


def test_no_run_lists_those_that_live(live: Run, capsys) -> None:
    assert companion.main(["why", "--run", "twin-9"]) == 1
    assert "no run twin-9: live are twin-0-1" in capsys.readouterr().err


def test_a_socket_that_a_killed_run_left_is_one_sentence(live: Run, tmp_path, capsys) -> None:
    live.close()
    assert companion.main(["why"]) == 1
    err = capsys.readouterr().err
    assert "no run answers at" in err and err.count("\n") == 1
    live._server = ChannelServer(tmp_path / "twin-0-1" / "channels.sock", {}, {})  # for the fixture
