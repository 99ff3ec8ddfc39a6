import numpy as np
import pytest

pytest.importorskip("mujoco")

import mujoco

from firmware_bridge.plant import Plant
from runtime.body import load_body
from tools.twin import room
from tools.twin.camera import nominal_lens
from tools.twin.direct import DirectDrive
from tools.twin.scene import ROOM_HALF_M, ROOM_HEIGHT_M
from tools.twin.twin import Twin
from tools.twin.world import ROOM, SEEN

BODY = load_body("companion")


def driven(seed, seconds=1.0):
    plant = Plant.create()
    twin, direct = Twin(BODY, seed, plant), DirectDrive(BODY, plant)
    rng = np.random.default_rng(seed)
    for i in range(round(seconds * 100)):
        if i % 20 == 0:
            action = rng.uniform(-1, 1, 4).astype(np.float32)
        direct.act(action)
        twin.step_to(twin.now_ns + 10_000_000)
    return twin


@pytest.mark.parametrize("seed", range(6))
def test_no_ray_is_left_out(seed):
    twin = driven(seed)
    camera = twin.camera
    camera.look(twin.data)
    rays = np.ascontiguousarray(camera._world.T, np.float64)
    count = len(rays)
    geom, distance = np.zeros(count, np.int32), np.zeros(count)
    groups = np.zeros(6, np.uint8)
    groups[SEEN] = 1
    mujoco.mj_multiRay(
        twin.model, twin.data, camera._origin, rays.reshape(-1), groups, True, -1, geom, distance,
        None, count, 20.0,
    )  # fmt: skip
    assert np.array_equal(geom, camera.geom)


def test_multi_ray_meets_what_single_rays_meet():
    """mj_multiRay culls bodies by their colliding geoms; a person must not vanish by that."""
    twin = driven(1, 0.2)
    camera = twin.camera
    camera.look(twin.data)
    groups, met = np.zeros(6, np.uint8), np.zeros(1, np.int32)
    groups[SEEN] = 1
    for pixel in range(0, camera.geom.size, 37):
        ray = camera._world[:, pixel].astype(np.float64)
        mujoco.mj_ray(twin.model, twin.data, camera._origin, ray, groups, True, -1, met)
        assert met[0] == camera.geom[pixel]


def test_the_room_is_where_the_physics_has_it():
    twin = driven(2, 0.1)
    rng = np.random.default_rng(0)
    origin = np.array([0.4, -0.7, 0.4])
    rays = rng.normal(0, 1, (3, 300)).astype(np.float32)
    rays[2] = np.clip(rays[2] * 0.3, -1, 0.05)
    rays /= np.linalg.norm(rays, axis=0)
    distance, index, hit = room.intersect(origin, rays)
    groups, met = np.zeros(6, np.uint8), np.zeros(1, np.int32)
    groups[ROOM] = 1
    for i in range(rays.shape[1]):
        ray = rays[:, i].astype(np.float64)
        there = mujoco.mj_ray(twin.model, twin.data, origin, ray, groups, True, -1, met)
        assert there == pytest.approx(distance[i], rel=1e-4)
        face = index[i] // (room.CELLS * room.CELLS)
        name = mujoco.mj_id2name(twin.model, mujoco.mjtObj.mjOBJ_GEOM, int(met[0]))
        assert name == ("floor" if face == room.FLOOR else f"wall{face}")
    assert np.abs(hit[:2]).max() < 3.2001


def test_a_point_is_seen_where_the_lens_says():
    twin = driven(3, 0.0)
    camera = twin.camera
    camera._late_s[:] = 0
    camera.look(twin.data)
    centre = twin.data.geom_xpos[twin.model.geom("shirt0").id] - camera._origin
    x, left, up = twin.data.site_xmat[twin.ids.camera_site].reshape(3, 3).T @ centre
    column, row = camera.lens.project([[-left, -up, x]])[0]
    geom = camera.geom.reshape(96, 128)
    assert geom[round(row), round(column)] == twin.model.geom("shirt0").id


def test_rolling_shutter_shears_a_turning_view():
    twin = driven(3, 0.0)
    camera = twin.camera
    camera.look(twin.data)
    still = camera._world.copy()
    twin.data.cvel[twin.ids.head_body, 2] = 2.0  # rad/s about up
    camera.look(twin.data)
    now = camera._world
    turned = (still[0] * now[1] - still[1] * now[0]).reshape(96, 128)
    length = np.hypot(*still[:2]).reshape(96, 128)
    angle = (turned / length**2).mean(1)
    expected = 2.0 * (np.arange(96) - 47.5) / 96 * BODY.camera.readout_s
    assert np.allclose(angle, expected, atol=1e-4)


def test_frames_are_well_exposed_and_noisy_and_differ_only_by_noise_at_rest():
    twin = driven(4, 0.0)
    one, two = twin.render().astype(int), twin.render().astype(int)
    assert 70 < one.mean() < 150
    difference = (one - two)[(one > 20) & (one < 235)]
    assert 1.5 < difference.std() < 6 and abs(difference.mean()) < 2


def test_every_specimen_has_its_own_lens_near_the_nominal_one():
    nominal = nominal_lens(BODY).pinhole
    lenses = [driven(seed, 0.0).camera.lens for seed in (0, 1)]
    assert lenses[0] != lenses[1]
    assert all(abs(lens.pinhole.fx / nominal.fx - 1) < 0.05 for lens in lenses)


def test_a_ray_along_a_wall_meets_another_one() -> None:
    rays = np.array([[0.0, 0.0, -0.0], [1.0, -1.0, 0.0], [0.0, -0.0, 1.0]], np.float32)
    distance, _, hit = room.intersect(np.array([0.5, 0.2, 1.0]), rays)
    assert distance == pytest.approx([ROOM_HALF_M - 0.2, ROOM_HALF_M + 0.2, ROOM_HEIGHT_M - 1.0])
    assert np.isfinite(hit).all()
