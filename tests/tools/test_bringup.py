"""The bring-up on the twin's stand: a sound robot passes, each wrong lead is named; it moves no joint when it must not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from firmware_bridge.link import Link
from firmware_bridge.lockstep import LockstepFirmware
from firmware_bridge.protocol import EstopReason
from firmware_bridge.transport import LockstepTransport
from runtime.body import load_body
from tools import companion
from tools.bringup import run
from tools.bringup_checks import PERIOD_NS, BringUp
from tools.bringup_twin import StopHand
from tools.twin.twin import Twin

JOINTS = ("wheel_left", "wheel_right", "head_yaw", "head_pitch", "ear_left", "ear_right")


class Stand:
    """Twin and firmware core in virtual time, a hand at the stop button."""

    button = True

    def __init__(self, *faults: tuple[str, str | None], hand: bool = True) -> None:
        body = load_body("companion")
        table = replace(body.limit_table(), has_stop=self.button)
        self.firmware = LockstepFirmware(table)
        self.twin = Twin(body, 0, self.firmware.plant, stand=True)
        for name, joint in faults:
            self.twin.faults.start(name, joint)
        self.hand = StopHand(self.twin) if hand else None
        self.now_ns = 0
        self.fastest = 0.0
        self.bringup = BringUp(Link(LockstepTransport(self.firmware), table), table)
        self.checks = {c.subject: c for c in run(self.bringup, self.pump, range(6), lambda c: None)}

    def pump(self, bringup: BringUp) -> None:
        for _ in range(PERIOD_NS // 2_000_000):
            self.now_ns += 2_000_000
            self.firmware.run(self.firmware.mcu_us(self.now_ns))
            self.twin.step_to(self.now_ns)
            self.fastest = max(
                self.fastest, abs(self.twin.data.qvel[list(self.twin.ids.joint_v[:2])]).max()
            )
        bringup.tick(self.now_ns)
        if self.hand:
            self.hand.step(bringup.say, self.now_ns)


def test_a_sound_robot_passes_gently_and_is_parked():
    stand = Stand()
    assert [c.verdict for c in stand.checks.values()] == ["PASS"] * 10
    assert list(stand.checks)[4:] == list(JOINTS)
    for name in JOINTS:
        assert stand.checks[name].facts["direction"] == 1
    assert 1.0 < stand.fastest < 2.4  # a quarter of full speed at most
    assert not stand.firmware.plant.read_outputs().enable


class Pinched(Stand):
    """Somebody presses stop while the first joint moves, and lets go when the hand is free."""

    pressed_ns = 0
    after = 0.0  # fastest of any joint since it came to rest

    def pump(self, bringup: BringUp) -> None:
        super().pump(bringup)
        moving = abs(self.twin.data.qvel[list(self.twin.ids.joint_v)]).max()
        if not self.pressed_ns and self.fastest > 1.0:
            self.pressed_ns = self.now_ns
            self.twin.faults.start("stop_input_open", None)
        since_ms = (self.now_ns - self.pressed_ns) // 1_000_000 if self.pressed_ns else 0
        if since_ms == 300:
            self.twin.faults.end("stop_input_open")
        if since_ms > 400:
            self.after = max(self.after, moving)


def test_letting_go_of_the_stop_button_moves_nothing():
    stand = Pinched()
    assert list(stand.checks)[4:] == ["wheel_left", "stop"] and not stand.checks["wheel_left"].ok
    assert not stand.checks["stop"].ok, (
        "joints that never moved are no PASS, whenever it was pressed"
    )
    assert stand.after < 0.1, "the next joint moved when the button was let go"
    assert stand.bringup.stopped, "what a hand has latched is not cleared by the run"
    assert not stand.firmware.plant.read_outputs().enable


class Buttonless(Stand):
    """A body without a stop button, stopped from afar while its first joint moves."""

    button = False

    def pump(self, bringup: BringUp) -> None:
        super().pump(bringup)
        if self.fastest > 1.0 and not bringup.stopped:
            bringup.link.estop(EstopReason.OPERATOR)


def test_a_body_without_a_button_is_told_what_clears_a_hands_stop():
    stand = Buttonless(hand=False)
    assert list(stand.checks)[4:] == ["wheel_left", "stop"]
    assert "switch the board off and on" in stand.bringup.once_stopped
    assert "switch" not in Pinched().bringup.once_stopped


class Sunk(Stand):
    """A head that has sunk down to the end of its travel, as it does without power."""

    def pump(self, bringup: BringUp) -> None:
        if not self.firmware.plant.read_outputs().enable:
            joint = self.twin.model.joint("head_pitch")
            self.twin.data.qpos[joint.qposadr], self.twin.data.qvel[joint.dofadr] = 0.49, 0.0
        super().pump(bringup)


def test_a_joint_that_rests_at_its_end_is_jogged_back_into_its_travel():
    stand = Sunk()
    check = stand.checks["head_pitch"]
    assert check.ok and check.facts["direction"] == 1, check


@pytest.mark.parametrize("joint", JOINTS)
def test_swapped_leads_are_named(joint):
    stand = Stand(("swapped_polarity", joint))
    failed = [c for c in stand.checks.values() if not c.ok]
    assert [c.subject for c in failed] == [joint]
    assert "against the command" in failed[0].says and "polarity" in failed[0].advice


@pytest.mark.parametrize("joint", JOINTS)
def test_an_unplugged_encoder_is_named(joint):
    stand = Stand(("unplugged_encoder", joint))
    failed = [c for c in stand.checks.values() if not c.ok]
    assert [c.subject for c in failed] == [joint]
    assert "no counts" in failed[0].says and "encoder" in failed[0].advice


def test_without_a_stop_that_opens_nothing_moves():
    stand = Stand(hand=False)
    assert stand.checks["stop input"].says == "never opened"
    assert not set(JOINTS) & set(stand.checks) and stand.fastest < 0.05


@pytest.mark.parametrize(
    ("fault", "subject"), [("stop_input_open", "stop input"), ("brown_out", "battery")]
)
def test_with_an_open_stop_or_an_empty_battery_nothing_moves(fault, subject):
    stand = Stand((fault, None))
    assert not stand.checks[subject].ok
    assert not set(JOINTS) & set(stand.checks) and stand.fastest < 0.05


def test_the_command_writes_the_passport(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    code = companion.main(["bringup", "--firmware", "host", "--joint", "wheel_left", "--fault", "swapped_polarity:wheel_left", "--operator", "tech", "--json"])  # fmt: skip
    told = json.loads(capsys.readouterr().out)
    assert code == 1 and told["verdict"] == "FAIL"
    written = json.loads((tmp_path / "companion/passports/twin-0.json").read_text())
    (entry,) = written["entries"]
    assert (entry["kind"], entry["result"], entry["operator"]) == ("bringup", "FAIL", "tech")
    assert entry["facts"]["checks"][-1]["subject"] == "wheel_left"
    assert "FAIL" in (tmp_path / "companion/passports/twin-0.html").read_text()


def test_one_sound_joint_is_no_sound_robot(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    code = companion.main(["bringup", "--firmware", "host", "--joint", "wheel_left", "--json"])
    assert code == 0 and json.loads(capsys.readouterr().out)["verdict"] == "PASS"
    (entry,) = json.loads((tmp_path / "companion/passports/twin-0.json").read_text())["entries"]
    assert entry["result"] == "partial"


@pytest.mark.parametrize(
    "words",
    [
        ["--fault", "lift"],
        ["--firmware", "host", "--joint", "nose"],
        ["--firmware", "host", "--fault", "rust:wheel_left"],
    ],
)
def test_wrong_words_are_refused(words, capsys):
    assert companion.main(["bringup", *words]) == 2
    assert capsys.readouterr().err.startswith("companion: --")
