"""What is known of a specimen without building it is what the built twin has."""

from datetime import datetime, timedelta, timezone

import pytest

from calibration.store import write_record
from firmware_bridge.native import library
from firmware_bridge.plant import Plant
from runtime.body import load_body
from tools.compose import RunSettings, prepare
from tools.twin.scenario import Scenario
from tools.twin.specimen import factory_calibration, lens_of, scene_of
from tools.twin.task import tasks_of
from tools.twin.twin import Twin


@pytest.mark.parametrize("seed", [0, 7, 123])
def test_scene_lens_and_goal_are_the_twins(seed: int) -> None:
    body = load_body("companion")
    twin = Twin(body, seed, Plant(bytearray(library().plant_size())))
    assert scene_of(seed, Scenario()) == twin.scene
    assert lens_of(body, seed) == twin.camera.lens
    setup = prepare(RunSettings(seed=seed, lockstep=True))
    goal = setup.goal()
    assert tuple(goal[3:6]) == pytest.approx(twin.goal().appearance)
    assert goal[2] == pytest.approx(twin.goal().distance_m)
    task = tasks_of(seed, twin.scene, Scenario())["go_to"]
    assert goal[[0, 1, 8]] == pytest.approx(task.goal(twin.pose())[[0, 1, 8]], abs=0.01)


def test_a_twin_writes_its_factory_calibration_and_reads_it_back(tmp_path) -> None:
    setup = prepare(RunSettings(seed=5, record=tmp_path))
    assert not setup.is_calibrated()
    setup.calibrate_twin()
    assert setup.is_calibrated()
    assert setup.lens() == lens_of(setup.body, 5)
    record = factory_calibration(setup.body, 5, "2026-01-01T00:00:00Z", "1")
    assert record.serial == setup.camera_serial() == "twin-5"


def test_another_twins_calibration_is_refused(tmp_path) -> None:
    prepare(RunSettings(seed=5, record=tmp_path)).calibrate_twin()
    assert not prepare(RunSettings(seed=6, record=tmp_path)).is_calibrated()


@pytest.mark.parametrize(("years", "counts"), [(0, True), (0.9, True), (1.1, False)])
def test_a_calibration_long_overdue_does_not_count(tmp_path, years: float, counts: bool) -> None:
    setup = prepare(RunSettings(seed=5, record=tmp_path))
    then = datetime.now(timezone.utc) - timedelta(days=365 * years)
    record = factory_calibration(setup.body, 5, then.strftime("%Y-%m-%dT%H:%M:%SZ"), "1")
    write_record(setup.calibration_folder(), record)
    assert setup.is_calibrated() is counts
