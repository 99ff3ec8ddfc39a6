import math

import numpy as np
import pytest

pytest.importorskip("mujoco")

from calibration.camera import PinholeCamera, Remap, remap_table
from firmware_bridge.plant import Plant
from runtime import channels
from runtime.body import load_body
from tools.twin.direct import DirectDrive
from tools.twin.scenario import EMPTY, Scenario
from tools.twin.scene import draw_scene
from tools.twin.specimen import lens_of, scene_of
from tools.twin.truth import TRUTH
from tools.twin.twin import Twin, new_truth
from tools.twin.world import TARGET

BODY = load_body("companion")
VIRTUAL = PinholeCamera(64, 64, 46.0, 46.0, 31.5, 31.5)
MS = 1_000_000


def make(seed, scenario=None):
    plant = Plant.create()
    twin = Twin(BODY, seed, plant, scenario)
    return twin, DirectDrive(BODY, plant)


def drive(twin, direct, action, seconds):
    for _ in range(round(seconds * 100)):
        direct.act(np.array(action, np.float32))
        twin.step_to(twin.now_ns + 10 * MS)


def record(seed, render_every=5):
    """Bytes of everything a run of half a second shows."""
    twin, direct = make(seed)
    out = []
    for i in range(50):
        direct.act(np.array([0.3, 0.5, -0.4, 0.2], np.float32))
        twin.step_to(twin.now_ns + 10 * MS)
        out.append(twin.plant.sensors.tobytes())
        if render_every and i % render_every == 0:
            out.append(twin.render().tobytes())
    return out, twin.data.qpos.tobytes()


def test_equal_seeds_give_equal_bits_and_another_seed_does_not():
    first, second, other = record(5), record(5), record(6)
    assert first == second
    assert first[0][1] != other[0][1] and first[1] != other[1]


def test_looking_does_not_change_the_world():
    assert record(5)[1] == record(5, render_every=0)[1]


def test_reset_returns_to_the_first_state():
    twin, direct = make(7)
    frame, pose = twin.render(), twin.pose()
    drive(twin, direct, [0.5, 0.2, 0, 0], 0.5)
    twin.reset()
    assert twin.pose() == pose and np.array_equal(twin.render(), frame)


def test_truth_is_the_channel_it_is_published_on():
    assert TRUTH == channels.TRUTH
    twin, _ = make(3)
    truth = new_truth()
    twin.truth(truth)
    x, y = twin.person_base_m()
    assert math.isclose(truth["distance_m"], math.hypot(x, y), rel_tol=1e-6)
    assert math.isclose(math.dist(truth["person_xy_m"], (truth["x_m"], truth["y_m"])),
                        truth["distance_m"], rel_tol=1e-5)  # fmt: skip


def test_a_specimen_is_known_without_building_it():
    twin, _ = make(11)
    assert lens_of(BODY, 11) == twin.camera.lens
    assert scene_of(11, Scenario()) == twin.scene


def test_wheels_turn_as_commanded_and_the_base_goes_where_they_roll():
    twin, direct = make(1, EMPTY)
    drive(twin, direct, [0.0, 0.0, 0, 0], 0.2)
    x, y, yaw = twin.pose()
    start = twin.plant.sensors["position"][:2].copy()
    drive(twin, direct, [0.25, 0.25, 0, 0], 1.0)
    travelled = math.dist(twin.pose()[:2], (x, y))
    rolled = (twin.plant.sensors["position"][:2] - start) * 1e-4 * BODY.geometry.wheel_radius_m
    assert np.abs(rolled - travelled).max() < 0.01
    assert np.abs(twin.plant.sensors["velocity_mrad_s"][:2] / 2250 - 1).max() < 0.1
    drive(twin, direct, [-0.2, 0.2, 0, 0], 1.0)
    assert twin.pose()[2] != pytest.approx(yaw, abs=0.3)


def test_encoders_are_the_truth_to_a_count():
    twin, direct = make(2, EMPTY)
    for _ in range(100):
        direct.act(np.array([0.3, 0.2, 0.3, -0.1], np.float32))
        twin.step_to(twin.now_ns + 10 * MS)
        n = len(BODY.joint)
        true = twin.data.sensordata[6 : 6 + n]
        unit = np.array([1e-4 if j.command == "velocity" else j.scale for j in BODY.joint])
        count = np.where(np.arange(n) < 2, 2 * np.pi / 16384, 2 * np.pi / 4096)
        error = twin.plant.sensors["position"][:n] * unit - true
        assert (error <= unit).all() and (error >= -count - unit).all()


def test_the_imu_at_rest_shows_gravity_bias_and_noise():
    twin, direct = make(4, EMPTY)
    accel, gyro = [], []
    drive(twin, direct, [0, 0, 0, 0], 0.3)
    for _ in range(800):
        twin.step_to(twin.now_ns + 2 * MS)
        accel.append(twin.plant.sensors["accel_m_s2"].copy())
        gyro.append(twin.plant.sensors["gyro_rad_s"].copy())
        direct.act(np.zeros(4, np.float32))
    accel, gyro = np.array(accel), np.array(gyro)
    model = twin.sensors.imu
    assert np.linalg.norm(accel.mean(0)) == pytest.approx(9.81, abs=0.3)
    assert np.abs(gyro.mean(0) - twin.sensors.bias[:3]).max() < 0.002
    assert np.abs(gyro.std(0) / model.gyro_noise_rad_s - 1).max() < 0.2
    assert np.abs(accel.std(0) / model.accel_noise_m_s2 - 1).max() < 0.3


def test_the_gyro_sees_the_turn_the_truth_made():
    twin, direct = make(4, EMPTY)
    drive(twin, direct, [-0.1, 0.1, 0, 0], 0.5)
    yaw, turned = twin.pose()[2], 0.0
    for _ in range(50):
        direct.act(np.array([-0.1, 0.1, 0, 0], np.float32))
        for _ in range(5):
            twin.step_to(twin.now_ns + 2 * MS)
            turned += float(twin.plant.sensors["gyro_rad_s"][2] - twin.sensors.bias[2]) * 0.002
    change = math.remainder(twin.pose()[2] - yaw, 2 * math.pi)
    assert turned == pytest.approx(change, abs=0.02) and abs(change) > 0.1


def test_motors_lose_power_when_the_firmware_stands_still():
    twin, direct = make(1, EMPTY)
    drive(twin, direct, [0.8, 0.8, 0.2, 0], 1.0)
    wheel = list(twin.ids.joint_v[:2])
    assert twin.motors.enabled and np.abs(twin.data.qvel[wheel]).min() > 5
    twin.step_to(twin.now_ns + 6 * MS)  # the last tick is 16 ms old
    assert twin.motors.enabled
    twin.step_to(twin.now_ns + 8 * MS)
    assert not twin.motors.enabled
    twin.step_to(twin.now_ns + 226 * MS)
    assert np.abs(twin.data.qvel[wheel]).max() < 0.3
    held = twin.data.qpos[twin.ids.joint_q[2]]
    twin.step_to(twin.now_ns + 200 * MS)
    assert abs(twin.data.qpos[twin.ids.joint_q[2]] - held) < 0.02


def test_a_lower_current_limit_means_less_torque():
    twin, direct = make(1, EMPTY)
    twin.plant.outputs.record[0]["current_limit_ma"][:2] = 300
    peak = 0
    for _ in range(30):
        drive(twin, direct, [0.8, 0.8, 0, 0], 0.01)
        peak = max(peak, abs(int(twin.plant.sensors["current_ma"][0])))
    assert 200 < peak < 400


def test_a_standing_robot_is_not_walked_into():
    for seed in (0, 1, 2):
        twin, direct = make(seed)
        for _ in range(30):
            drive(twin, direct, [0, 0, 0, 0], 0.5)
            assert not twin.bumped


def test_driving_into_a_wall_is_a_bump():
    twin, direct = make(1, EMPTY)
    drive(twin, direct, [0.7, 0.7, 0, 0], 14.0)
    truth = new_truth()
    twin.truth(truth)
    assert truth["bump"] and twin.plant.sensors["bumper"]
    assert twin.plant.sensors["range_mm"] < 150


def test_people_wear_hues_of_their_own_and_things_keep_apart():
    for seed in range(40):
        scene = draw_scene(np.random.default_rng(seed), Scenario())
        hues = [p.look.hue for p in scene.people]
        assert len(set(hues)) == len(hues)
        for i, a in enumerate(scene.obstacles):
            for b in scene.obstacles[:i]:
                gap = math.hypot(a.x_m - b.x_m, a.y_m - b.y_m) - a.radius_m - b.radius_m
                assert gap > 0.7
    assert scene.pillars in (1, 2)


def test_labels_show_the_target_where_the_remapped_image_does():
    twin, _ = make(3, EMPTY)
    frame = twin.render()
    labels = twin.labels(VIRTUAL)
    view = Remap(remap_table(twin.camera.lens, VIRTUAL), 128, 96)(frame)
    target = labels.mask == TARGET
    assert labels.person_px > 100 and target.sum() > 50
    shirt = np.array(twin.goal().appearance)
    colour = view[target].astype(float)
    likeness = colour @ shirt / (np.linalg.norm(colour, axis=1) * np.linalg.norm(shirt))
    assert (likeness > 0.97).mean() > 0.2
    outside = view[~target].astype(float) + 1e-6
    likeness = outside @ shirt / (np.linalg.norm(outside, axis=1) * np.linalg.norm(shirt))
    assert (likeness > 0.97).mean() < 0.02
