"""Lockstep: all real parts on virtual time. Same seed, same bits; stop gestures stop; faults hold."""

from dataclasses import replace

import numpy as np
import pytest

from runtime.conditions import Condition
from runtime.events import Event
from runtime.lockstep import START_NS
from runtime.modes import Mode
from tools.compose import RunSettings, open_policy, open_world, prepare
from tools.lockstep_run import LockstepRun, Overrides

MS = 1_000_000


def make(seed: int = 3, **changes) -> LockstepRun:
    setup = prepare(replace(RunSettings(lockstep=True, seed=seed), **changes.pop("settings", {})))
    world, _ = open_world(setup)
    policy, _ = open_policy(setup)
    return LockstepRun(setup, world, policy, Overrides(**changes))


def test_same_seed_same_bits_another_seed_others() -> None:
    first, second, other = (make(seed).run(3.0) for seed in (3, 3, 4))
    assert first.tick_log_sha256 == second.tick_log_sha256
    assert first.tick_log_sha256 != other.tick_log_sha256


def test_one_changed_weight_changes_the_log() -> None:
    plain = make().run(3.0)

    class Nudged:
        def __init__(self, inner) -> None:
            self.inner = inner

        def act(self, *seen):
            action = self.inner.act(*seen)
            action[0] = np.float32(action[0] + 2e-3)
            return action

    setup = prepare(RunSettings(lockstep=True, seed=3))
    world, _ = open_world(setup)
    policy, _ = open_policy(setup)
    changed = LockstepRun(setup, world, policy, Overrides(policy=Nudged(policy))).run(3.0)
    assert plain.tick_log_sha256 != changed.tick_log_sha256


def test_it_engages_by_itself_and_sends_every_period() -> None:
    run = make()
    result = run.run(4.0)
    sent = result.records["tick"]["sent"]
    assert result.mode_final == "active"
    assert sent.sum() >= 4.0 * 100 - 4
    assert run.controller.link.status.bad == 0


def test_the_mcu_clock_wraps_during_a_long_run() -> None:
    run = make()
    run.run(22.0)
    assert run.firmware.mcu_us(run.clockwork.now_ns) > 1 << 32
    assert run.controller.mode is Mode.ACTIVE


def press(run: LockstepRun, at_ns: int, **fields) -> None:
    """An operator's gesture: counters step by one."""
    if not hasattr(run, "operator"):
        run.operator = run.channels.writer("operator", "console")

    def act() -> None:
        for name, value in fields.items():
            run.operator.record[name] = value
        run.operator.record["present"] = 1
        run.operator.record["drive_t_ns"] = run.clockwork.now_ns
        run.operator.publish(run.clockwork.now_ns)

    run.clockwork.at(at_ns, "console", act)


def speeds(run: LockstepRun, records) -> tuple[np.ndarray, np.ndarray]:
    truth = records["truth"]
    return truth["t_ns"], np.abs(truth["wheel_rad_s"]).max(1)


class Forward:
    """A policy that drives straight at full speed."""

    def act(self, *_seen):
        return np.array([1, 1, 0, 0], np.float32)


def test_stop_latches_and_stops_the_wheels_within_250_ms() -> None:
    run = make(policy=Forward())
    at = 3_000 * MS
    press(run, at, stops=1)
    press(run, at + 900 * MS, engages=1)  # an engage without a re-arm does nothing
    records = run.run(3.5).records
    t, wheels = speeds(run, records)
    assert wheels[(t > at - 300 * MS) & (t < at)].max() > 2.0, "it was moving before"
    assert wheels[t > at + 250 * MS].max() < 0.15
    assert run.controller.mode is Mode.STOPPED


def test_rearm_leads_to_idle_and_only_an_engage_moves_again() -> None:
    run = make(policy=Forward())
    press(run, 2_500 * MS, stops=1)
    press(run, 3_500 * MS, rearms=1)
    press(run, 4_500 * MS, engages=1)
    records = run.run(5.0).records
    mode = {
        int(t // MS): int(m)
        for t, m in zip(records["sent"]["t_ns"], records["sent"]["mode"], strict=True)
    }
    at = lambda ms: mode[min(mode, key=lambda k: abs(k - ms))]  # noqa: E731
    assert at(3_000) == Mode.STOPPED
    assert at(4_200) == Mode.IDLE
    assert at(5_000) == Mode.ACTIVE


def test_hold_to_drive_expires() -> None:
    run = make(settings={"skill": "idle"})
    for k in range(20):
        press(run, 3_000 * MS + k * 50 * MS, hold=1, forward=1.0, drive_seq=k + 1)
    records = run.run(5.0).records
    t, wheels = speeds(run, records)
    assert wheels[(t > 3_600 * MS) & (t < 3_950 * MS)].max() > 3.0
    assert wheels[t > 3_950 * MS + 250 * MS + 250 * MS].max() < 0.15
    assert run.controller.mode is Mode.IDLE


def test_a_covered_camera_holds_the_robot() -> None:
    run = make(dark=True, policy=Forward())
    records = run.run(3.0).records
    codes = records["event.perception"]["code"]
    assert 14 in codes
    assert run.controller.mode in (Mode.HOLD, Mode.IDLE)


@pytest.mark.parametrize("field", ["mode", "skill"])
def test_records_hold_no_wall_time(field: str) -> None:
    records = make().run(1.5).records
    assert not records["tick"]["tick_wall_us"].any()
    assert field in (records["sent"].dtype.names or ())


class Backward:
    """A policy that drives straight back at full speed."""

    def act(self, *_seen):
        return np.array([-1, -1, 0, 0], np.float32)


def test_the_base_stops_in_front_of_what_its_range_sensor_sees() -> None:
    run = make(seed=5, policy=Forward())
    truth = run.run(7.0).records["truth"]
    assert np.abs(truth["wheel_rad_s"]).max() > 5.0, "it drove"
    assert not truth["bump"].any()
    assert np.abs(truth["wheel_rad_s"][-20:]).max() < 0.3, "it stands before the wall"
    assert run.controller.mode is Mode.ACTIVE


def test_backwards_the_policy_goes_nowhere_that_it_has_not_been() -> None:
    run = make(seed=5, policy=Backward())
    truth = run.run(2.5).records["truth"]
    assert (truth["wheel_rad_s"] * 0.075).min() > -0.05
    assert np.hypot(truth["x_m"] - truth["x_m"][0], truth["y_m"] - truth["y_m"][0]).max() < 0.05


def test_a_person_may_drive_it_backwards_and_slowly() -> None:
    run = make(settings={"skill": "idle"})
    for k in range(40):
        press(run, 3_000 * MS + k * 50 * MS, hold=1, forward=-1.0, drive_seq=k + 1)
    wheels = run.run(5.0).records["truth"]["wheel_rad_s"]
    assert -0.33 / 0.075 < wheels.min() < -0.27 / 0.075


def told(records, process: str) -> list[tuple[Event, int]]:
    """Each event of a process that began, with its time in ms."""
    return [
        (Event(int(r["code"])), int(r["t_ns"] - START_NS) // MS)
        for r in records[f"event.{process}"]
        if r["active"]
    ]


def modes(records) -> list[Mode]:
    """The controller's modes one after the other."""
    mode = records["sent"]["mode"]
    return [Mode(int(m)) for m in mode[np.flatnonzero(np.diff(mode, prepend=255))]]


def test_what_the_mcu_does_not_arm_goes_back_to_idle_and_may_be_asked_again() -> None:
    run = make(on_build=lambda twin: twin.faults.start("cliff"))
    run.clockwork.at(START_NS + 5_000 * MS, "twin", lambda: run.twin.faults.end("cliff"))
    press(run, START_NS + 5_500 * MS, engages=1)
    records = run.run(7.0).records
    events = told(records, "controller")
    assert [e for e, _ in events] == [Event.ENGAGED, Event.NOT_ARMED, Event.DISENGAGED, Event.ENGAGED]  # fmt: skip
    said = records["event.controller"]
    text = said[said["code"] == Event.NOT_ARMED]["text"][0].decode()
    assert text == "cliff", "and says why"
    assert events[1][1] - events[0][1] == pytest.approx(3000, abs=20)
    assert modes(records)[-4:] == [Mode.IDLE, Mode.ACTIVE, Mode.IDLE, Mode.ACTIVE]
    sent_ms = (records["tick"]["t_ns"][records["tick"]["sent"] == 1] - START_NS) // MS
    assert 5_500 < sent_ms.min() < 5_600, "not before, and soon after"


def test_an_mcu_that_refuses_at_first_is_asked_again() -> None:
    """One that has just come up may; nobody presses engage a second time."""
    run = make(on_build=lambda twin: twin.faults.start("cliff"))
    run.clockwork.at(START_NS + 5_000 * MS, "twin", lambda: run.twin.faults.end("cliff"))
    press(run, START_NS + 4_700 * MS, engages=1)
    records = run.run(6.0).records
    late = [e for e, t in told(records, "controller") if t >= 4_600]
    assert late == [Event.ENGAGED]
    assert modes(records)[-1] is Mode.ACTIVE
    sent_ms = (records["tick"]["t_ns"][records["tick"]["sent"] == 1] - START_NS) // MS
    assert 5_000 < sent_ms.min() < 5_350


def test_a_held_stick_asks_the_mcu_again_and_again() -> None:
    run = make(settings={"skill": "idle"}, on_build=lambda twin: twin.faults.start("cliff"))
    run.clockwork.at(START_NS + 5_400 * MS, "twin", lambda: run.twin.faults.end("cliff"))
    for k in range(100):
        press(run, START_NS + (2_000 + 50 * k) * MS, hold=1, forward=0.5, drive_seq=k + 1)
    records = run.run(7.0).records
    events = [e for e, t in told(records, "controller") if t >= 2_000]
    assert events[:4] == [Event.TELEOP, Event.NOT_ARMED, Event.DISENGAGED, Event.TELEOP]
    assert np.abs(records["truth"]["wheel_rad_s"]).max() > 1.0, "and then it drives"


@pytest.mark.parametrize(
    ("needs_operator", "covered_s", "goes_on"),
    [(True, 4, True), (True, 6, False), (False, 6, True)],
)
def test_where_somebody_has_to_watch_a_long_hold_does_not_go_on_by_itself(
    needs_operator: bool, covered_s: int, goes_on: bool
) -> None:
    run = make()
    run.controller.config = replace(run.controller.config, needs_operator=needs_operator)
    faults, at_ns = run.twin.faults, START_NS + 2_000 * MS
    run.clockwork.at(at_ns, "twin", lambda: faults.start("cover"))
    run.clockwork.at(at_ns + covered_s * 1_000 * MS, "twin", lambda: faults.end("cover"))
    press(run, START_NS + 9_500 * MS, engages=1)
    records = run.run(10.0).records
    events = told(records, "controller")
    held_ms = next(t for e, t in told(records, "perception") if e is Event.CAMERA_DARK)
    if goes_on:
        assert [e for e, _ in events] == [Event.ENGAGED, Event.ENGAGED]
        assert 2_000 + covered_s * 1_000 < events[1][1] < 2_500 + covered_s * 1_000
        assert modes(records)[-3:] == [Mode.ACTIVE, Mode.HOLD, Mode.ACTIVE]
    else:
        assert [e for e, _ in events] == [Event.ENGAGED, Event.HOLD_ENDED, Event.ENGAGED]
        assert events[1][1] - held_ms == pytest.approx(5_000, abs=50)
        assert events[2][1] >= 9_500, "only when somebody asks"
        assert modes(records)[-4:] == [Mode.ACTIVE, Mode.HOLD, Mode.IDLE, Mode.ACTIVE]


def test_numbers_that_stay_none_hold_it_and_do_not_flap() -> None:
    run = make(policy=Never())
    records = run.run(8.0).records
    raised = [t for e, t in told(records, "controller") if e is Event.BAD_NUMBERS]
    assert len(raised) == 4, "after pauses of one, two and four seconds"
    assert raised[1] - raised[0] >= 1_000 and raised[2] - raised[1] >= 2_000
    held = records["status"]["mode"] == Mode.HOLD
    assert held[len(held) // 4 :].mean() > 0.95
    assert np.abs(records["truth"]["wheel_rad_s"]).max() < 0.1


class Never:
    """A policy that never gives a number."""

    def act(self, *_seen) -> np.ndarray:
        return np.full(4, np.nan, np.float32)


@pytest.mark.parametrize(
    ("lacking", "mode"),
    [(Condition.SURPRISE, Mode.TELEOP), (Condition.DISK, Mode.TELEOP), (Condition.CALIBRATED, Mode.IDLE)],
)  # fmt: skip
def test_a_hand_on_the_stick_takes_over_whatever_is_missing(lacking, mode: Mode) -> None:
    """What the model says of the world is no reason to let the policy drive on under a hand."""
    run = make()
    checks = run.controller._checks
    whole = checks._check_conditions
    checks._check_conditions = lambda now_ns: (  # type: ignore[method-assign]
        whole(now_ns) & ~lacking if now_ns > START_NS + 2_000 * MS else whole(now_ns)
    )
    for k in range(20):
        press(run, START_NS + (3_000 + 50 * k) * MS, hold=1, forward=-0.5, drive_seq=k + 1)
    records = run.run(3.9).records
    t_ms = (records["status"]["t_ns"] - START_NS) // MS
    seen = records["status"]["mode"]
    assert (seen[(t_ms > 2_200) & (t_ms < 2_900)] == Mode.ACTIVE).all(), "it alone ends nothing"
    assert (seen[(t_ms > 3_200) & (t_ms < 3_900)] == mode).all()


def test_a_belief_that_is_no_number_is_forgotten_and_nothing_is_imagined_from_it() -> None:
    run = make()
    world, observe, imagine = run.perception.world, run.perception.world.observe, run.perception.world.imagine  # fmt: skip
    started_from: list[bool] = []

    def observe_badly(*given):
        out = observe(*given)
        if run.perception.frames == 40:
            world.belief[:] = np.nan
        return out

    def imagine_watched(beliefs, *given):
        started_from.append(bool(np.isfinite(beliefs).all()))
        return imagine(beliefs, *given)

    world.observe, world.imagine = observe_badly, imagine_watched
    run.perception._open_loop._wait = 40  # its next rollout would start from that very frame
    records = run.run(4.0).records
    assert records["frame"]["number"][-1] > 60 and all(started_from)
    assert np.isfinite(records["prediction"]["model"]).all()
    assert np.isfinite(world.belief).all()
    expected = records["expected"]["number"]
    assert set(range(2, 60)) - set(expected.tolist()) == {42}, "nothing was expected of the next"
    assert Event.BAD_NUMBERS in [e for e, _ in told(records, "controller")]
    assert run.controller.mode is Mode.ACTIVE
