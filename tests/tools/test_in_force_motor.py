"""What an installed motor calibration does in a run: swept, solved and driven on the twin, its truth known."""

import json
import time

import msgspec
import numpy as np
import pytest

pytest.importorskip("mujoco")

from calibration.joint_map import JointMap, joint_maps
from calibration.store import Record, read_record, write_record
from firmware_bridge.limits import JointCommand
from runtime.body import load_body
from runtime.conditions import Condition
from runtime.drives import Drives
from runtime.gate import Gate
from tools import companion
from tools.compose import RunSettings, open_world, prepare
from tools.in_force import in_force
from tools.lockstep_run import LockstepRun, Overrides
from tools.twin.mismade import CLEARED, draw_made, mismake

BODY = load_body("companion")
SEED = 0  # yaw and pitch are off by a degree and by two thirds of one
YAW, PITCH = BODY.joint_names.index("head_yaw"), BODY.joint_names.index("head_pitch")


class Looks:
    """Turns in circles, and looks up and to the left, then holds the head there."""

    def __init__(self) -> None:
        self.calls = 0

    def act(self, *_) -> np.ndarray:
        self.calls += 1
        look = (0.2, -0.05) if self.calls < 100 else (0.0, 0.0)
        return np.array([0.3, 0.45, *look], np.float32)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The record that a tech's own commands leave."""
    tmp = tmp_path_factory.mktemp("motor")
    log, out, folder = tmp / "m.csv", tmp / "m.json", tmp / "calibration"
    for words in (
        ["record", "--out", log, "--seed", SEED],
        ["solve", "--log", log, "--out", out],
        ["install", out, "--serial", f"twin-{SEED}", "--folder", folder],
    ):
        assert companion.main(["calibrate", "motor", *map(str, words)]) == 0
    return read_record(folder, f"twin-{SEED}", "motor")


def drive(folder, swept, with_record: bool):
    """Six seconds: sent targets [rad, rad/s], true angles and rates at the same times, actions sent."""
    setup = prepare(RunSettings(seed=SEED, lockstep=True, record=folder / str(with_record)))
    if with_record:
        write_record(setup.calibration_folder(), swept)
    run = LockstepRun(
        setup, open_world(setup)[0], None,
        Overrides(policy=Looks(), scenario=CLEARED, on_build=lambda t: mismake(t, draw_made(t))),
    )  # fmt: skip
    true = []
    joints = [run.twin.model.joint(n).id for n in BODY.joint_names]
    at = run.twin.model.jnt_qposadr[joints], run.twin.model.jnt_dofadr[joints]
    step = run.controller.step

    def watched(now_ns):
        done = step(now_ns)
        true.append((now_ns, *run.twin.data.qpos[at[0]], *run.twin.data.qvel[at[1]]))
        return done

    run.controller.step = watched
    result = run.run(6)
    assert result.mode_final == "active"
    sent = result.records["sent"]
    scale = np.array([j.scale for j in BODY.joint])
    table = np.array(true)
    table = table[np.searchsorted(table[:, 0], sent["t_ns"].astype(float))]
    assert (table[:, 0] == sent["t_ns"]).all()
    moving = sent["armed"] == 1
    n = len(scale)
    return sent["target"][moving][:, :n] * scale, table[moving, 1 : 1 + n], table[moving, 1 + n :], sent["action"][moving]  # fmt: skip


@pytest.fixture(scope="module")
def both(tmp_path_factory, swept):
    tmp = tmp_path_factory.mktemp("runs")
    return {w: drive(tmp, swept, w) for w in (False, True)}


@pytest.mark.parametrize("joint", ["head_yaw", "head_pitch", "ear_left", "ear_right"])
def test_a_joint_stands_where_it_is_commanded_to(both, joint: str) -> None:
    i = BODY.joint_names.index(joint)
    off = {w: abs((target[-100:, i] - angle[-100:, i]).mean()) for w, (target, angle, *_) in both.items()}  # fmt: skip
    assert off[False] > 0.005, "this specimen's drives are off"
    assert off[True] < 0.25 * off[False]


def test_a_joint_follows_its_command_on_the_way(both) -> None:
    """Each at the delay that suits it best, so that what is compared is not the delay."""
    off = {}
    for w, (target, angle, *_) in both.items():
        t, a = target[20:110, YAW], angle[:, YAW]
        off[w] = min(np.abs(a[20 + d : 110 + d] - t).mean() for d in range(12))
    assert off[True] < 0.5 * off[False]


@pytest.mark.parametrize("wheel", ["wheel_left", "wheel_right"])
def test_a_wheel_turns_as_fast_as_it_is_commanded_to(both, wheel: str) -> None:
    i = BODY.joint_names.index(wheel)
    off = {w: abs(rate[-300:, i].mean() / target[-300:, i].mean() - 1) for w, (target, _, rate, _) in both.items()}  # fmt: skip
    assert off[False] > 0.015, "its speed loop droops"
    assert (
        off[True] < 0.6 * off[False]
    )  # what is left: on the floor it droops more than on the stand


def test_the_two_wheels_turn_in_the_ratio_that_is_commanded(both) -> None:
    off = {}
    for w, (target, _, rate, _) in both.items():
        told, real = (v[-300:, 1].mean() / v[-300:, 0].mean() for v in (target, rate))
        off[w] = abs(real / told - 1)
    assert off[True] < 0.6 * off[False]


def test_the_model_hears_of_the_joints_own_motion(both) -> None:
    """The action that is said to have been sent is what was wanted, not what the drives needed for it."""
    without, corrected = (both[w][3] for w in (False, True))
    assert corrected[-100:, :2] == pytest.approx(np.full((100, 2), (0.3, 0.45)), abs=1e-3)
    assert corrected[50:90] == pytest.approx(without[50:90], abs=2e-3)


def test_no_translated_command_meets_the_mcus_limits() -> None:
    """Whatever is wanted: sent through a gate of the table itself, it comes out as it went in."""
    rng = np.random.default_rng(1)
    for _ in range(10):
        maps = {
            j.name: JointMap(True, float(rng.uniform(0.85, 1.15)), friction_rad_s=float(rng.uniform(0, 0.2)))
            if j.command == "velocity"
            else JointMap(False, float(rng.uniform(0.85, 1.15)), float(rng.uniform(-0.1, 0.1)))
            for j in BODY.joint
        }  # fmt: skip
        drives = Drives(BODY.limit_table(), maps)
        gate, wire = Gate(drives.table), np.zeros(len(BODY.joint), np.int16)
        gate.start([0] * len(BODY.joint))
        limits = BODY.limit_table().counts()
        before = None
        for _ in range(300):
            if rng.random() < 0.05 or before is None:
                wanted = [int(v) for v in rng.integers(-30000, 30000, len(BODY.joint))]
            drives.translate(gate.limit(wanted), wire)
            for i, joint in enumerate(limits):
                if joint.velocity_joint:
                    assert abs(int(wire[i])) <= joint.velocity_max + 1
                    if before is not None:
                        assert abs(int(wire[i]) - before[i]) <= joint.acceleration_max / 100 + 2
                else:
                    assert joint.position_min - 1 <= wire[i] <= joint.position_max + 1
                    if before is not None:
                        assert abs(int(wire[i]) - before[i]) <= joint.velocity_max / 100 + 2
            before = [int(v) for v in wire]


def test_a_joint_that_ends_early_is_not_driven_into_its_stop(swept) -> None:
    short = json.loads(json.dumps(swept.result))
    short["head_yaw"]["travel"][1] = 1.2
    drawn = {j.name: j for j in BODY.limit_table().joints}
    for result, most in ((swept.result, 2.0), (short, 1.2)):
        table = Drives(BODY.limit_table(), joint_maps(result)).table
        (yaw,) = (j for j in table.joints if j.name == "head_yaw")
        assert yaw.position_max_rad == pytest.approx(most, abs=0.02)
        assert yaw.position_min_rad == pytest.approx(-2.0, abs=0.02)
        assert yaw.position_max_rad <= drawn["head_yaw"].position_max_rad
        gate, wire = Gate(table), np.zeros(len(BODY.joint), np.int16)
        gate.start([0] * len(BODY.joint))
        for _ in range(300):
            sent = gate.limit([0, 0, 20000, 0, 0, 0])
        assert sent[YAW] * BODY.joint[YAW].scale <= most + 1e-3
        assert wire[PITCH] == 0


def test_without_a_record_commands_go_out_as_they_are() -> None:
    drives, wire = Drives(BODY.limit_table(), {}), np.zeros(6, np.int16)
    assert drives.table == BODY.limit_table()
    drives.translate([1, -2, 3, 30000, -30000, 32767], wire)
    assert wire.tolist() == [1, -2, 3, 30000, -30000, 32767]


def changed(result, joint: str, **parts):
    out = json.loads(json.dumps(result))
    out[joint].update(parts)
    return out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: changed(r, "head_yaw", gain=-1.0), "head_yaw goes -1.000 of what is commanded"),
        (lambda r: changed(r, "head_yaw", offset=0.6), "head_yaw stands 0.60 rad off"),
        (lambda r: changed(r, "head_yaw", travel=[1.0, 1.0]), "no numbers of a sweep"),
        (lambda r: changed(r, "head_yaw", travel=[-3.5, -2.5]), "leaves head_yaw nowhere to go"),
        (lambda r: changed(r, "head_yaw", travel=[None, 1.0]), "does not tell how head_yaw answers (TypeError"),
        (lambda r: changed(r, "wheel_left", friction_rad_s=2.0), "wheel_left loses 2.00 rad/s"),
        (lambda r: changed(r, "wheel_left", friction_rad_s=None), "the friction of wheel_left"),
        (lambda r: changed(r, "head_yaw", gain="x"), "does not tell how head_yaw answers (ValueError"),
        (lambda r: changed(r, "head_yaw", is_rate=True, friction_rad_s=0.0), "by its rate"),
        (lambda r: r | {"tail": r["head_yaw"]}, "knows a joint tail"),
        (lambda r: {k: {x: v for x, v in p.items() if x != "commanded"} for k, p in r.items()}, "KeyError: 'commanded'"),
    ],
)  # fmt: skip
def test_a_record_that_does_not_hold_is_refused_by_name(tmp_path, swept, change, said) -> None:
    setup = prepare(RunSettings(seed=SEED, lockstep=True, record=tmp_path))
    write_record(setup.calibration_folder(), swept)
    assert Condition.CALIBRATED in setup.conditions() and "motor" in setup.in_force().used
    bad = change(json.loads(json.dumps(swept.result)))
    write_record(setup.calibration_folder(), replace_result(swept, bad))
    found = setup.in_force()
    assert Condition.CALIBRATED not in setup.conditions()
    (doubt,) = found.doubts
    assert said in doubt and f"motor of twin-{SEED}" in doubt and found.drives is None


def replace_result(record: Record, result) -> Record:
    return msgspec.structs.replace(record, result=result)


def test_a_record_of_some_joints_leaves_the_others_as_drawn(tmp_path, swept) -> None:
    only = {k: v for k, v in swept.result.items() if k == "head_yaw"}
    write_record(tmp_path, replace_result(swept, only))
    drives = in_force(tmp_path, "", f"twin-{SEED}", BODY, time.time_ns()).drives
    kept = [j for j in drives.table.joints if j.command is JointCommand.VELOCITY]
    assert kept == [j for j in BODY.limit_table().joints if j.command is JointCommand.VELOCITY]
