"""The twin's camera: one ray per pixel through the real lens, its own shading, no OpenGL.

Furniture and people are met by `mj_multiRay` (only the rays that can reach one are cast), the
room in closed form (`room.py`). A rolling shutter turns each row with the camera's own rate.
"""

from __future__ import annotations

import mujoco
import numpy as np
import numpy.typing as npt

from calibration.camera import LensCamera, PinholeCamera
from runtime.body import Body
from tools.twin import room
from tools.twin.domain import STANDARD, Drawn
from tools.twin.people import People
from tools.twin.scene import Scene
from tools.twin.world import SEEN, Ids, albedo, classes

Float32 = npt.NDArray[np.float32]

NOISE_BANK = 1 << 18
SUN_UP = 0.9
FOLDS_RAD = np.array([4.0, 3.0, 5.0], np.float32)  # with the surface's direction, and its height
FOLDS_RAD_M = np.float32(23.0)
SHADOW_M2 = np.float32(0.35**2)
ROOM_CLASS = -1
NEAR_M = 0.03
COVERED = 0.02  # of the light passes a hand
MARGIN = 0.02  # normalised image coordinates, about a pixel


def nominal_lens(body: Body) -> LensCamera:
    """The lens of the body file, used until a device calibration is installed."""
    c = body.camera
    return LensCamera(PinholeCamera(c.width, c.height, c.fx, c.fy, c.cx, c.cy), c.distortion)


def made_lens(body: Body, rng: np.random.Generator, drawn: Drawn = STANDARD) -> LensCamera:
    """One built specimen: the nominal lens with the spread of a production line."""
    lens = nominal_lens(body)
    p, k = lens.pinhole, lens.distortion
    scale = 1 + rng.normal(0, drawn.lens_focal_sd)
    centre = rng.normal(0, drawn.lens_centre_sd_px, 2)
    pinhole = PinholeCamera(
        p.width,
        p.height,
        float(p.fx * scale),
        float(p.fy * scale),
        float(p.cx + centre[0]),
        float(p.cy + centre[1]),
    )
    return LensCamera(pinhole, (float(k[0] + rng.normal(0, drawn.lens_distortion_sd)), *k[1:]))


class RayCamera:
    """Looks at one scene; `look` casts, `image` shades what the last look met."""

    def __init__(
        self,
        model: mujoco.MjModel,
        ids: Ids,
        body: Body,
        scene: Scene,
        rng: np.random.Generator,
        drawn: Drawn = STANDARD,
    ) -> None:
        self.lens = made_lens(body, rng, drawn)
        self._drawn = drawn
        self._sun = _sun(drawn)
        self._falloff = np.float32(drawn.falloff_1_m2)
        self.covered = False  # a hand on the lens
        p = self.lens.pinhole
        self.width, self.height = p.width, p.height
        optical = self.lens.unproject(p.pixels())
        rays = np.stack((optical[:, 2], -optical[:, 0], -optical[:, 1]))  # x forward, z up
        self._rays = (rays / np.linalg.norm(rays, axis=0)).astype(np.float32)  # (3, N)
        rows = np.repeat(np.arange(p.height), p.width)
        late = (
            (rows - (p.height - 1) / 2) / p.height * (body.camera.readout_s * drawn.readout_share)
        )
        self._late_s = late.astype(np.float32)  # (N,) from mid-frame
        self._model, self._ids = model, ids
        self._atlas = room.paint(rng, scene, drawn)
        self._albedo = albedo(model, scene)
        shirts = [model.geom(f"shirt{i}").id for i in range(len(scene.people))]
        self._albedo[shirts] *= np.float32(drawn.shirt_gain)
        self._shirts = np.zeros(model.ngeom, np.bool_)
        self._shirts[shirts] = True
        self.classes = classes(model, scene)
        self._seen = np.flatnonzero(model.geom_group == SEEN)
        box = model.geom_aabb[self._seen]  # centre and half sizes
        signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
        self._corners = box[:, None, :3] + box[:, None, 3:] * signs  # (things, 8, 3)
        kinds, sizes = model.geom_type[self._seen], model.geom_size[self._seen]
        capsule = kinds == mujoco.mjtGeom.mjGEOM_CAPSULE
        self._round = np.flatnonzero(capsule | (kinds == mujoco.mjtGeom.mjGEOM_SPHERE))
        self._radius = sizes[self._round, :1]  # (round things, 1)
        half = np.where(capsule, sizes[:, 1], 0.0)[self._round]
        self._ends = half[:, None] * np.array([-1.0, 1.0])  # along the thing's z
        self._mask = np.zeros((p.height, p.width), np.bool_)
        x = optical[:, 0].reshape(p.height, p.width)
        y = optical[:, 1].reshape(p.height, p.width)
        self._column_low, self._column_high = x.min(0), x.max(0)
        self._row_low, self._row_high = y.min(1), y.max(1)
        self._group = np.zeros(6, np.uint8)
        self._group[SEEN] = 1
        pixels = self._rays.shape[1]
        self.geom = np.full(pixels, ROOM_CLASS, np.int32)  # (N,) geom id, -1: the room
        self._hit = np.zeros(pixels, np.int32)
        self._distance = np.zeros(pixels)
        self._normal = np.zeros(3 * pixels)
        self._colour_gain = (1 + rng.normal(0, drawn.colour_gain_sd, 3)).astype(np.float32)
        self._noise = rng.normal(0, drawn.pixel_noise_counts, NOISE_BANK).astype(np.float32)
        self._rng = rng
        self._gain = 1.0
        self._reach = np.zeros(0, np.int64)

    def look(self, data: mujoco.MjData) -> None:
        """Cast this frame's rays at mid-exposure of the middle row."""
        mujoco.mj_kinematics(self._model, data)
        self._origin = data.site_xpos[self._ids.camera_site].copy()
        world_from_camera = data.site_xmat[self._ids.camera_site].reshape(3, 3)
        rate = data.cvel[self._ids.head_body, :3]  # world, rad/s
        turned = (_cross_matrix(rate) @ world_from_camera).astype(np.float32)
        world = world_from_camera.astype(np.float32) @ self._rays
        world += (turned @ self._rays) * self._late_s
        self._world = world
        sweep_rad = float(np.abs(rate).max() * abs(self._late_s[0]))
        self._reach = self._reachable(data, world_from_camera, sweep_rad)
        self.geom.fill(ROOM_CLASS)
        count = len(self._reach)
        if count == 0:
            return
        rays = world.take(self._reach, axis=1).astype(np.float64)
        x, y, z = rays
        rays /= np.sqrt(x * x + y * y + z * z)
        directions = np.ascontiguousarray(rays.T)
        mujoco.mj_multiRay(
            self._model,
            data,
            self._origin,
            directions.reshape(-1),
            self._group,
            True,
            -1,
            self._hit[:count],
            self._distance[:count],
            self._normal[: 3 * count],
            count,
            20.0,
        )
        self.geom[self._reach] = self._hit[:count]

    def _reachable(
        self, data: mujoco.MjData, world_from_camera: npt.NDArray[np.float64], sweep_rad: float
    ) -> npt.NDArray[np.int64]:
        """Indices of the pixels inside the box each thing fills in the image, and a margin."""
        rotation = data.geom_xmat[self._seen].reshape(-1, 3, 3)
        corners = np.einsum("kij,kcj->kci", rotation, self._corners)
        corners += (data.geom_xpos[self._seen] - self._origin)[:, None]
        seen = corners @ world_from_camera  # (things, 8, 3), camera: x forward, y left, z up
        right_low, right_high = _span(-seen[:, :, 1], seen[:, :, 0])
        down_low, down_high = _span(-seen[:, :, 2], seen[:, :, 0])
        centre = (data.geom_xpos[self._seen[self._round]] - self._origin) @ world_from_camera
        axis = rotation[self._round, :, 2] @ world_from_camera
        ends = centre[:, None] + self._ends[:, :, None] * axis[:, None]  # (round things, 2, 3)
        whole = ends[:, :, 0].min(1) > self._radius[:, 0] + NEAR_M
        at = self._round[whole]
        ends, radius = ends[whole], self._radius[whole]
        right_low[at], right_high[at] = _round_span(-ends[:, :, 1], ends[:, :, 0], radius)
        down_low[at], down_high[at] = _round_span(-ends[:, :, 2], ends[:, :, 0], radius)
        margin = MARGIN + 4 * sweep_rad
        first_column = np.searchsorted(self._column_high, right_low - margin)
        end_column = np.searchsorted(self._column_low, right_high + margin)
        first_row = np.searchsorted(self._row_high, down_low - margin)
        end_row = np.searchsorted(self._row_low, down_high + margin)
        mask = self._mask
        mask.fill(False)
        for i in np.flatnonzero(seen[:, :, 0].max(1) > NEAR_M):
            mask[first_row[i] : end_row[i], first_column[i] : end_column[i]] = True
        return np.flatnonzero(mask)

    def image(self, people: People) -> npt.NDArray[np.uint8]:
        """(height, width, 3) uint8 RGB of the last look."""
        distance, index, hit = room.intersect(self._origin, self._world)
        colour = self._atlas.take(index, axis=0)  # (N, 3)
        light = 1 / (1 + self._falloff * distance * distance)
        self._cast_shadows(light, index, hit, people)
        self._paint_things(colour, light)
        for channel in range(3):  # a column at a time: broadcasting over three is slow
            colour[:, channel] *= light
        gain = np.float32(self._gain) * self._colour_gain
        if self.covered:
            colour *= np.float32(COVERED)
        else:
            mean = float(colour[::7].mean()) * self._gain
            wanted, speed = self._drawn.exposure_wanted, self._drawn.exposure_speed
            self._gain *= (wanted / max(mean, 0.02)) ** speed
        gain *= np.float32(255)
        for channel in range(3):
            colour[:, channel] *= gain[channel]
        start = int(self._rng.integers(NOISE_BANK - colour.size))
        colour += self._noise[start : start + colour.size].reshape(colour.shape)
        np.maximum(colour, 0, out=colour)
        np.minimum(colour, 255, out=colour)
        return colour.astype(np.uint8).reshape(self.height, self.width, 3)

    def settle_exposure(self, people: People, frames: int = 20) -> None:
        """Let the exposure control settle, as it has when a robot's program starts."""
        for _ in range(frames):
            self.image(people)

    def _cast_shadows(
        self, light: Float32, index: npt.NDArray[np.int64], hit: Float32, people: People
    ) -> None:
        first = room.FLOOR * room.CELLS * room.CELLS
        floor = np.flatnonzero((index >= first) & (index < first + room.CELLS * room.CELLS))
        x, y = hit[0, floor], hit[1, floor]
        for w in people.walkers:
            away = (x - np.float32(w.x)) ** 2 + (y - np.float32(w.y)) ** 2
            light[floor] *= np.minimum(np.float32(1 - self._drawn.shadow) + away / SHADOW_M2, 1)

    def _paint_things(self, colour: Float32, light: Float32) -> None:
        count = len(self._reach)
        met = np.flatnonzero(self._hit[:count] >= 0)
        if len(met) == 0:
            return
        pixels = self._reach[met]
        normal = self._normal[: 3 * count].reshape(-1, 3)[met].astype(np.float32)
        lambert = np.maximum(normal @ self._sun, 0)
        facing = -(normal * self._world[:, pixels].T).sum(1)  # a lamp at the camera, faint
        d = self._drawn
        shade = np.float32(d.ambient) + np.float32(d.sun) * lambert
        shade += np.float32(d.lamp) * np.maximum(facing, 0)
        met_geom = self._hit[:count][met]
        distance = self._distance[:count][met].astype(np.float32)
        if d.shirt_folds > 0:
            up_m = np.float32(self._origin[2]) + self._world[2, pixels] * distance
            folds = np.sin(normal @ FOLDS_RAD + FOLDS_RAD_M * up_m)
            shade *= 1 + np.float32(d.shirt_folds) * folds * self._shirts[met_geom]
        colour[pixels] = self._albedo[met_geom] * shade[:, None]
        light[pixels] = 1 / (1 + self._falloff * distance * distance)


def _sun(drawn: Drawn) -> Float32:
    """(3,) unit vector to the sun."""
    x, y = drawn.sun_x, drawn.sun_y
    sun: Float32 = np.array([x, y, SUN_UP], np.float32) / np.float32(
        np.sqrt(x**2 + y**2 + SUN_UP**2)
    )
    return sun


def _span(
    across: npt.NDArray[np.float64], depth: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Bounds of across / depth over each thing's corners, also where some lie behind the camera."""
    ratio = across / np.maximum(depth, NEAR_M)
    low, high = across.min(1), across.max(1)
    near, far = np.maximum(depth.min(1), NEAR_M), np.maximum(depth.max(1), NEAR_M)
    cut = depth.min(1) < NEAR_M
    loose_low = np.where(low < 0, low / near, low / far)
    loose_high = np.where(high > 0, high / near, high / far)
    return np.where(cut, loose_low, ratio.min(1)), np.where(cut, loose_high, ratio.max(1))


def _round_span(
    across: npt.NDArray[np.float64], depth: npt.NDArray[np.float64], radius: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Bounds of across / depth over spheres wholly in front: their tangents; a capsule has two."""
    square = radius * radius
    beside = radius * np.sqrt(depth * depth + across * across - square)
    middle, below = depth * across, depth * depth - square
    return ((middle - beside) / below).min(1), ((middle + beside) / below).max(1)


def _cross_matrix(v: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The matrix M with M @ a = v x a."""
    return np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
