"""What installed calibrations do in a run, on a twin that is built off the drawing: measured, not assumed."""

import time
import tracemalloc
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

pytest.importorskip("mujoco")

from calibration.camera import PinholeCamera, remap, remap_table
from calibration.head import Chain, mount
from calibration.imu_map import Affine, ImuMap
from calibration.rotations import quaternion
from calibration.store import Record, write_record
from firmware_bridge.sensors import SENSORS
from runtime.body import load_body
from runtime.camera import CameraFrame
from runtime.conditions import Condition
from runtime.corrections import Corrections
from runtime.errors import ConfigError
from runtime.events import Event, sentence
from runtime.lockstep import START_NS
from runtime.odometry import Odometry
from runtime.perception import DRIVE_DELAY_NS
from runtime.surprise import SURPRISE_CHANNELS
from tools.compose import RunSettings, open_world, perception_config, prepare
from tools.in_force import in_force
from tools.lockstep_run import LockstepRun, Overrides
from tools.twin import imu_truth
from tools.twin.mismade import CLEARED, build_so, draw_made, mismake, rolling_radius_m

SEED = 3


def record(kind, result, serial=f"twin-{SEED}", verdict="PASS", days=0.0):
    date = datetime.now(timezone.utc) - timedelta(days=days)
    return Record(
        kind=kind, serial=serial, date=date.strftime("%Y-%m-%dT%H:%M:%SZ"), tool_version="0",
        verdict=verdict, cause="c", next="n", result=result, quality={},
    )  # fmt: skip


def true_results(twin, made):
    """What perfect calibrations of a specimen would say."""
    left, right = rolling_radius_m(twin)
    multi = {}
    for kind, (matrix, bias) in imu_truth.triads(twin).items():
        scale = 1 / np.diag(matrix)
        multi[kind] = {"inverse_scale": scale.tolist(), "bias": bias.tolist(), "misalignment": (matrix * scale).tolist()}  # fmt: skip
    head = mount(Chain((0, 0, 0), (0, 0, 0), (0, 0, 0)), np.r_[0, 0, 0, made.camera_turn_rad])
    return {
        "wheels": {"right_over_left": right / left, "base_over_diameter": made.track_m / (left + right), "wheel_diameters_m": [2 * left, 2 * right]},
        "imu-multi": multi,
        "cam-imu": {
            "stamps": "robot", "imu_serial": f"twin-{SEED}", "gyro_axes": "imu-multi",
            "time_offset_s": made.camera_offset_s,
            "base_from_imu_quat_xyzw": quaternion(imu_truth.base_from_imu(twin, True)).tolist(),
        },
        "head": {"head_from_camera": head.tolist()},
    }  # fmt: skip


class Circles:
    """Drives ahead and to the left, with the head turning slowly."""

    def act(self, *_) -> np.ndarray:
        return np.array([0.36, 0.56, 0.05, 0.0], np.float32)


def drive(folder, with_records: bool):
    """Twenty seconds in circles by a specimen that is off the drawing: the run, its records, how made."""
    setup = prepare(RunSettings(seed=SEED, lockstep=True, record=folder / str(with_records)))
    made = []

    def build(twin):
        made.append(draw_made(twin))
        mismake(twin, made[-1], raw_imu=True)

    overrides = Overrides(policy=Circles(), scenario=CLEARED, on_build=build)
    world = open_world(setup)[0]
    if with_records:  # a perfect calibration of just this specimen
        twin = LockstepRun(setup, world, None, overrides).twin
        for kind, result in true_results(twin, made[-1]).items():
            write_record(setup.calibration_folder(), record(kind, result))
    run = LockstepRun(setup, world, None, overrides)
    return run, run.run(20).records, made[-1]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    tmp = tmp_path_factory.mktemp("runs")
    return {with_records: drive(tmp, with_records) for with_records in (False, True)}


def test_records_bring_odometry_and_imu_nearer_to_the_truth(both) -> None:
    off = {}
    for with_records, (run, records, _) in both.items():
        truth, sensors = records["truth"], records["sensors"]
        odometry = Odometry(run.setup.wheels())
        for batch in sensors:
            odometry.step(batch)
        x, y, yaw = odometry.pose
        begin, end = truth[0], truth[-1]
        turn = end["yaw_rad"] - begin["yaw_rad"] - yaw
        away = complex(end["x_m"] - begin["x_m"], end["y_m"] - begin["y_m"])
        away *= np.exp(-1j * begin["yaw_rad"])
        rate = np.interp(sensors["t_ns"], truth["t_ns"], truth["yaw_rate_rad_s"])
        off[with_records] = {
            "heading": abs(np.angle(np.exp(1j * turn))),
            "place": abs(away - complex(x, y)),
            "yaw rate": np.abs((sensors["gyro_rad_s"][..., 2].mean(1) - rate).mean()),
            "roll and pitch rate": np.abs(sensors["gyro_rad_s"].mean((0, 1))[:2]).max(),
        }  # fmt: skip
    for what, without in off[False].items():
        assert off[True][what] < 0.5 * without, what


def test_records_make_slip_and_gyro_agree(both) -> None:
    at = SURPRISE_CHANNELS.index("odometry")
    mean = {
        w: np.nanmean(records["surprise"]["value"][:, at]) for w, (_, records, _) in both.items()
    }
    assert mean[True] < 0.95 * mean[False]  # the rest is the gyro's noise


def test_the_frames_time_is_the_middle_of_its_exposure(both) -> None:
    stamped = {w: records["frame"]["t_ns"] % 50_000_000 for w, (_, records, _) in both.items()}
    offset_ns = round(both[False][2].camera_offset_s * 1e9)
    assert set(stamped[False]) == {-offset_ns % 50_000_000}
    assert set(stamped[True]) == {0}, "the twin renders each 50 ms"


def test_a_turned_camera_is_turned_back(tmp_path) -> None:
    """The virtual pinhole sees through a camera that sits askew what it sees through a straight one."""
    setup = prepare(RunSettings(seed=SEED, lockstep=True, record=tmp_path))
    world = open_world(setup)[0]
    twin = LockstepRun(setup, world, None, Overrides(scenario=CLEARED)).twin
    pinhole = PinholeCamera(**{f: getattr(setup.bundle.manifest.camera, f) for f in setup.bundle.manifest.camera.__struct_fields__})  # fmt: skip
    straight = remap(twin.render(), remap_table(twin.camera.lens, pinhole)).astype(float)
    made = draw_made(twin)
    made = replace(made, camera_shift_m=np.zeros(3), camera_turn_rad=np.array([0.03, -0.03, 0.03]))
    write_record(setup.calibration_folder(), record("head", true_results(twin, made)["head"]))
    build_so(twin, made)
    askew = twin.render()
    turn = setup.in_force().drawn_from_camera
    off = [
        np.abs(
            remap(askew, remap_table(twin.camera.lens, pinhole, t)).astype(float) - straight
        ).mean()
        for t in (None, turn, turn.T)
    ]
    assert off[1] < 0.6 * off[0] < 0.6 * off[2]


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("wheels", {"verdict": "FAIL"}, "is a FAIL"),
        ("wheels", {"days": 400}, "400 days old, and was due after 180"),
        ("imu-static", {"days": 61}, "61 days old, and was due after 30"),
        ("head", {"result": {}}, "KeyError"),
        ("head", {"result": {"head_from_camera": np.diag([-1.0, -1, 1, 1]).tolist()}}, "120 deg off the drawing"),
        ("imu-multi", {"result": {"gyro": {"inverse_scale": [57.3] * 3, "bias": [0] * 3}, "accel": {}}}, "57.3 of its units"),
        ("imu-static", {"result": {"gyro": {"bias": [0, 0, 9.81]}}}, "more than any chip's"),
        ("latency", {"result": {"command_to_encoder_ms": 900.0}}, "more than any part's"),
        ("latency", {"result": {"command_to_encoder_ms": -20.0}}, "20 ms before they are told to"),
        ("latency", {"result": {"time_offset_s": 0.01}}, "KeyError"),
        ("cam-imu", {"result": {"time_offset_s": 0.01}}, "not recorded by the robot"),
        ("cam-imu", {"result": {"time_offset_s": 0.01, "stamps": "robot", "imu_serial": "other"}}, "with the board other"),
        ("cam-imu", {"result": {"time_offset_s": 1.0, "stamps": "robot", "imu_serial": f"twin-{SEED}"}}, "no camera's"),
    ],
)  # fmt: skip
def test_a_record_that_is_there_and_does_not_hold_is_refused_by_name(
    tmp_path, kind, change, said
) -> None:
    setup = prepare(RunSettings(seed=SEED, lockstep=True, record=tmp_path))
    assert Condition.CALIBRATED in setup.conditions()
    result = change.pop("result", {"right_over_left": 1.0, "base_over_diameter": 1.7})
    write_record(setup.calibration_folder(), record(kind, result, **change))
    assert Condition.CALIBRATED not in setup.conditions()
    (doubt,) = setup.in_force().doubts
    assert said in doubt and kind in doubt


def test_the_refusal_is_told_as_an_event_and_nothing_moves(tmp_path) -> None:
    setup = prepare(RunSettings(seed=SEED, lockstep=True, record=tmp_path))
    write_record(setup.calibration_folder(), record("wheels", {}, verdict="FAIL"))
    run = LockstepRun(setup, open_world(setup)[0], Circles(), Overrides(scenario=CLEARED))
    run._schedule_senses()
    run.clockwork.at(START_NS, "controller", run._start_controller)
    run.clockwork.run(START_NS + 500_000_000)
    assert not run.active_ns
    note = run.channels.reader("event.controller").drain()
    told = [sentence(Event(int(e["code"])), text=bytes(e["text"]).rstrip(b"\0").decode()) for e in note]  # fmt: skip
    assert "calibration not used: wheels of twin-3 is a FAIL (c); n" in told


def test_another_boards_records_are_told_and_not_used(tmp_path) -> None:
    write_record(tmp_path, record("wheels", {}, serial="board-1"))
    found = in_force(tmp_path, "", "board-2", load_body("companion"), time.time_ns())
    assert found.wheels is None and found.holds
    assert found.doubts == ["no wheels of board-2 (there are: board-1); run `companion calibrate robot`"]  # fmt: skip


def test_cam_imu_counts_only_with_the_axes_it_was_solved_with(tmp_path) -> None:
    setup = prepare(RunSettings(seed=SEED, lockstep=True, record=tmp_path))
    twin = LockstepRun(setup, open_world(setup)[0], None, Overrides(scenario=CLEARED)).twin
    results = true_results(twin, draw_made(twin))
    write_record(setup.calibration_folder(), record("cam-imu", results["cam-imu"]))
    found = setup.in_force()
    assert "solve cam-imu again" in found.doubts[0] and found.imu is None
    write_record(setup.calibration_folder(), record("imu-multi", results["imu-multi"]))
    found = setup.in_force()
    assert found.holds and set(found.used) == {"cam-imu", "imu-multi"}


def test_delays_count_and_a_cam_imu_offset_goes_before_theirs(tmp_path) -> None:
    setup = prepare(RunSettings(seed=SEED, lockstep=True, record=tmp_path))
    folder = setup.calibration_folder()
    assert perception_config(setup).drive_delay_ns == DRIVE_DELAY_NS
    delays = {"command_to_encoder_ms": 31.5, "time_offset_s": -0.004}
    write_record(folder, record("latency", delays))
    config = perception_config(setup)
    assert (config.drive_delay_ns, config.camera_offset_ns) == (31_500_000, -4_000_000)
    twin = LockstepRun(setup, open_world(setup)[0], None, Overrides(scenario=CLEARED)).twin
    results = true_results(twin, draw_made(twin))
    for kind in ("cam-imu", "imu-multi"):
        write_record(folder, record(kind, results[kind]))
    config = perception_config(setup)
    assert config.drive_delay_ns == 31_500_000
    assert config.camera_offset_ns == round(results["cam-imu"]["time_offset_s"] * 1e9)


def test_a_newer_still_bias_stands_in_for_the_old_one(tmp_path) -> None:
    setup = prepare(RunSettings(seed=SEED, lockstep=True, record=tmp_path))
    ones = {"inverse_scale": [1.0] * 3, "bias": [0.1, 0, 0], "misalignment": np.eye(3).tolist()}
    folder = setup.calibration_folder()
    write_record(folder, record("imu-multi", {"gyro": ones, "accel": ones}, days=10))
    for days, bias in ((20, 0.1), (5, 0.2)):
        write_record(
            folder, record("imu-static", {"gyro": {"bias": [bias + 0.0, 0, 0]}}, days=days)
        )
        assert setup.in_force().imu.gyro.offset == pytest.approx([bias, 0, 0])
    assert setup.in_force().imu.accel.offset == pytest.approx([0.1, 0, 0])


def test_frames_of_another_size_are_refused_by_name(tmp_path) -> None:
    setup = prepare(RunSettings(seed=SEED, lockstep=True, record=tmp_path))
    run = LockstepRun(setup, open_world(setup)[0], None, Overrides(scenario=CLEARED))
    lens = run.twin.camera.lens
    other = replace(lens, pinhole=replace(lens.pinhole, width=640, height=480))
    run.perception._lens = other
    with pytest.raises(ConfigError, match="gives 128x96 px, its calibration is of 640x480"):
        run.perception._see(CameraFrame(1, run.twin.render()))


def test_correcting_a_batch_makes_no_arrays() -> None:
    batch = np.zeros((), SENSORS)
    turn = Affine(np.diag([2.0, 1, 1]), np.array([0.5, 0, 0]))
    corrections = Corrections(batch, ImuMap(turn, turn))
    batch["gyro_rad_s"] = 1.0
    corrections.apply()
    assert (batch["gyro_rad_s"] == (1.5, 1, 1)).all()
    tracemalloc.start()
    for _ in range(100):
        corrections.apply()
    grown = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert grown < 2000


def test_without_records_the_sensors_are_the_boards_own(tmp_path) -> None:
    setup = prepare(RunSettings(seed=SEED, lockstep=True, record=tmp_path))
    found = setup.in_force()
    assert (found.imu, found.camera_offset_ns, found.drawn_from_camera) == (None, 0, None)
    assert found.holds and not found.doubts
