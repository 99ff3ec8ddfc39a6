"""Domain randomisation: nominal is the plain twin, and every axis of the table changes something."""

import dataclasses
import math

import numpy as np
import pytest

pytest.importorskip("mujoco")

from calibration import store
from firmware_bridge.plant import Plant
from runtime.body import load_body
from runtime.lockstep import MS, Latency
from tools.twin.direct import DirectDrive
from tools.twin.domain import AXES, NOMINAL, STANDARD, VARIED, Domain
from tools.twin.scenario import Scenario
from tools.twin.specimen import drawn_latency, factory_calibration, latency_of, lens_of
from tools.twin.twin import Twin

BODY = load_body("companion")
LATENCIES = ("camera_ms", "serial_ms", "controller_ms", "perception_ms", "mind_ms")
UNSEEN = LATENCIES  # not the twin's: lockstep applies them
SCENARIO = Scenario(obstacles=(1, 1), occluders=(0, 0), distractors=(0, 0))


def bits(domain: Domain, seed: int = 3) -> bytes:
    """All that a drive of 0.4 s at full effort shows: frames, sensors, pose."""
    plant = Plant.create()
    twin = Twin(BODY, seed, plant, dataclasses.replace(SCENARIO, domain=domain))
    direct = DirectDrive(BODY, plant)
    out = [twin.render().tobytes()]
    for action in ((1, 1, 0.6, -0.5), (-1, 1, -1, 1)):
        for _ in range(20):
            direct.act(np.array(action, np.float32))
            twin.step_to(twin.now_ns + 10 * MS)
            out.append(plant.sensors.tobytes())
        out += [twin.render().tobytes(), twin.render().tobytes()]
    return b"".join(out) + twin.data.qpos.tobytes()


def test_a_seed_of_a_domain_gives_equal_bits_and_another_does_not():
    assert bits(VARIED, 1) == bits(VARIED, 1)
    assert VARIED.draw(1) == VARIED.draw(1) != VARIED.draw(2)


def test_nominal_is_the_same_for_every_seed_and_varied_stays_in_its_ranges():
    for seed in range(50):
        drawn, nominal = VARIED.draw(seed), NOMINAL.draw(seed)
        for name in AXES:
            low, high = getattr(VARIED, name)
            assert low <= getattr(drawn, name) <= high
            assert name in LATENCIES or getattr(nominal, name) == getattr(STANDARD, name)


def test_every_varied_range_takes_in_the_nominal_value():
    for name in AXES:
        (low, high), nominal = getattr(VARIED, name), getattr(NOMINAL, name)
        assert low <= nominal[0] <= nominal[1] <= high and low < high


def test_an_axis_keeps_its_draw_whatever_the_others_are():
    alone = dataclasses.replace(NOMINAL, tyre_friction=VARIED.tyre_friction)
    assert alone.draw(5).tyre_friction == VARIED.draw(5).tyre_friction
    assert alone.draw(5).ambient == STANDARD.ambient


@pytest.fixture(scope="module")
def plain() -> bytes:
    return bits(NOMINAL)


@pytest.mark.parametrize("name", [n for n in AXES if n not in UNSEEN])
def test_every_axis_changes_what_the_robot_sees_or_does(name, plain):
    low, high = getattr(VARIED, name)
    nominal = getattr(STANDARD, name)
    far = high if high - nominal >= nominal - low else low
    assert bits(dataclasses.replace(NOMINAL, **{name: (far, far)})) != plain


@pytest.mark.parametrize("name", LATENCIES)
def test_every_latency_is_that_of_lockstep(name):
    domain = dataclasses.replace(NOMINAL, **{name: getattr(VARIED, name)})
    latency = latency_of(4, domain)
    field = name.removesuffix("_ms")
    assert getattr(latency, field) == round(getattr(domain.draw(4), name) * MS)
    assert drawn_latency(domain.draw(4)) == latency
    assert latency_of(4, NOMINAL) == Latency.draw(4)


def test_a_varied_lens_is_the_one_its_calibration_has():
    scenario = dataclasses.replace(SCENARIO, domain=VARIED)
    twin = Twin(BODY, 8, Plant.create(), scenario)
    record = factory_calibration(BODY, 8, "2025-01-01T00:00:00Z", "0", VARIED)
    assert lens_of(BODY, 8, VARIED) == twin.camera.lens == store.lens_of(record)
    assert lens_of(BODY, 8) != twin.camera.lens


def test_varied_frames_are_neither_black_nor_burnt_out():
    for seed in range(12):
        twin = Twin(BODY, seed, Plant.create(), dataclasses.replace(SCENARIO, domain=VARIED))
        frame = twin.render()
        assert 45 < frame.mean() < 170, seed
        assert (frame == 255).mean() < 0.25 and frame.std() > 12


def test_a_varied_robot_still_stands_and_drives():
    for seed in range(8):
        plant = Plant.create()
        twin = Twin(BODY, seed, plant, dataclasses.replace(SCENARIO, domain=VARIED))
        direct = DirectDrive(BODY, plant)
        x, y, _ = twin.pose()
        for _ in range(80):
            direct.act(np.array((0.4, 0.4, 0.5, 0), np.float32))
            twin.step_to(twin.now_ns + 10 * MS)
        travelled = math.dist(twin.pose()[:2], (x, y))
        assert travelled > 0.1 or twin.bumped
        assert abs(twin.data.qpos[2] - BODY.geometry.wheel_radius_m) < 0.01
