"""Camera models: pinhole, Brown-Conrady and fisheye lenses, and the remap from a real lens to a virtual pinhole.

Optical frame: x right, y down, z forward. Pixel (0, 0) is the centre of the top left pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.errors import LensError

Floats = npt.NDArray[np.float64]
Table = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]

NEWTON_STEPS = 12
INVERSE_TOLERANCE = 1e-9  # normalised image coordinates


@dataclass(frozen=True, slots=True)
class PinholeCamera:
    """An ideal camera: size and focal lengths [px], principal point [px]."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def unproject(self, pixels: npt.ArrayLike) -> Floats:
        """(N, 2) pixels -> (N, 3) rays with z = 1, optical frame."""
        points = np.asarray(pixels, np.float64)
        x = (points[:, 0] - self.cx) / self.fx
        y = (points[:, 1] - self.cy) / self.fy
        return np.stack((x, y, np.ones_like(x)), axis=1)

    def project(self, rays: npt.ArrayLike) -> Floats:
        """(N, 3) rays of any length, z > 0 -> (N, 2) pixels."""
        points = np.asarray(rays, np.float64)
        x = points[:, 0] / points[:, 2] * self.fx + self.cx
        y = points[:, 1] / points[:, 2] * self.fy + self.cy
        return np.stack((x, y), axis=1)

    def pixels(self) -> Floats:
        """(height * width, 2) centres of all pixels, row by row."""
        rows, columns = np.mgrid[: self.height, : self.width]
        return np.stack((columns.ravel(), rows.ravel()), axis=1).astype(np.float64)


@dataclass(frozen=True, slots=True)
class LensCamera:
    """A pinhole behind a Brown-Conrady lens: distortion k1, k2, p1, p2, k3 (OpenCV's order)."""

    pinhole: PinholeCamera
    distortion: tuple[float, float, float, float, float]

    def project(self, rays: npt.ArrayLike) -> Floats:
        """(N, 3) rays of any length, z > 0 -> (N, 2) distorted pixels."""
        points = np.asarray(rays, np.float64)
        x, y = points[:, 0] / points[:, 2], points[:, 1] / points[:, 2]
        distorted_x, distorted_y, _ = self._distort(x, y)
        return self.pinhole.project(np.stack((distorted_x, distorted_y, np.ones_like(x)), axis=1))

    def unproject(self, pixels: npt.ArrayLike) -> Floats:
        """(N, 2) distorted pixels -> (N, 3) rays with z = 1; LensError where the lens folds."""
        wanted = self.pinhole.unproject(pixels)[:, :2]
        x, y = wanted[:, 0].copy(), wanted[:, 1].copy()
        for _ in range(NEWTON_STEPS):
            got_x, got_y, (xx, xy, yy) = self._distort(x, y)
            error_x, error_y = got_x - wanted[:, 0], got_y - wanted[:, 1]
            determinant = xx * yy - xy * xy
            x = x - (yy * error_x - xy * error_y) / determinant
            y = y - (xx * error_y - xy * error_x) / determinant
        got_x, got_y, (xx, xy, yy) = self._distort(x, y)
        error = np.hypot(got_x - wanted[:, 0], got_y - wanted[:, 1])
        good = (error < INVERSE_TOLERANCE) & (xx * yy - xy * xy > 0)
        if not good.all():
            raise LensError(
                f"lens {self.distortion} has no inverse at {int((~good).sum())} of {len(x)} pixels;"
                " recalibrate the camera with points up to the image corners"
            )
        return np.stack((x, y, np.ones_like(x)), axis=1)

    def _distort(self, x: Floats, y: Floats) -> tuple[Floats, Floats, tuple[Floats, ...]]:
        """Ideal normalised coordinates -> distorted, and the symmetric Jacobian (xx, xy, yy)."""
        k1, k2, p1, p2, k3 = self.distortion
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        slope = 2 * (k1 + r2 * (2 * k2 + r2 * 3 * k3))  # d radial / d r2, times two
        distorted_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
        distorted_y = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
        xx = radial + x * x * slope + 2 * p1 * y + 6 * p2 * x
        xy = x * y * slope + 2 * p1 * x + 2 * p2 * y
        yy = radial + y * y * slope + 6 * p1 * y + 2 * p2 * x
        return distorted_x, distorted_y, (xx, xy, yy)


@dataclass(frozen=True, slots=True)
class FisheyeCamera:
    """A Kannala-Brandt lens (2006): radius = theta (1 + k1 theta^2 + ... + k4 theta^8), focal apart."""

    pinhole: PinholeCamera
    distortion: tuple[float, float, float, float]

    def project(self, rays: npt.ArrayLike) -> Floats:
        """(N, 3) rays of any length -> (N, 2) pixels; rays from behind are far outside."""
        points = np.asarray(rays, np.float64)
        flat = np.hypot(points[:, 0], points[:, 1])
        theta = np.arctan2(flat, points[:, 2])
        share = self._radius(theta) / np.maximum(flat, 1e-12)
        on_axis = flat < 1e-12
        x = np.where(on_axis, 0.0, points[:, 0] * share)
        y = np.where(on_axis, 0.0, points[:, 1] * share)
        return self.pinhole.project(np.stack((x, y, np.ones_like(x)), axis=1))

    def unproject(self, pixels: npt.ArrayLike) -> Floats:
        """(N, 2) pixels -> (N, 3) unit rays; LensError where the lens folds."""
        wanted = self.pinhole.unproject(pixels)[:, :2]
        radius = np.linalg.norm(wanted, axis=1)
        theta = radius.copy()
        for _ in range(NEWTON_STEPS):
            theta = theta - (self._radius(theta) - radius) / self._slope(theta)
        bad = ~(
            (np.abs(self._radius(theta) - radius) < INVERSE_TOLERANCE) & (self._slope(theta) > 0)
        )
        if bad.any():
            raise LensError(
                f"fisheye {self.distortion} has no inverse at {int(bad.sum())} of {len(theta)} pixels;"
                " recalibrate the camera with points up to the image corners"
            )
        share = np.where(radius < 1e-12, 1.0, np.sin(theta) / np.maximum(radius, 1e-12))
        return np.stack((wanted[:, 0] * share, wanted[:, 1] * share, np.cos(theta)), axis=1)

    def _radius(self, theta: Floats) -> Floats:
        k1, k2, k3, k4 = self.distortion
        t2 = theta * theta
        return theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))

    def _slope(self, theta: Floats) -> Floats:
        k1, k2, k3, k4 = self.distortion
        t2 = theta * theta
        return 1 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * 9 * k4)))


Lens = LensCamera | FisheyeCamera


def remap_table(lens: Lens, pinhole: PinholeCamera, turn: Floats | None = None) -> Table:
    """Where in the lens image each pixel of the virtual pinhole looks: (map_x, map_y) float32.

    `turn` (3, 3): the lens's optical axes -> the virtual pinhole's, where the two are not the same.
    """
    rays = pinhole.unproject(pinhole.pixels())
    if turn is not None:
        rays = rays @ turn  # each is turn^T ray: what the pinhole sees, in the lens's axes
    source = lens.project(rays).astype(np.float32)
    shape = (pinhole.height, pinhole.width)
    return source[:, 0].reshape(shape).copy(), source[:, 1].reshape(shape).copy()


class Remap:
    """A remap table prepared for many frames: bilinear, black outside the source image."""

    def __init__(self, table: Table, source_width: int, source_height: int) -> None:
        map_x, map_y = table
        left, top = np.floor(map_x), np.floor(map_y)
        right_share, low_share = map_x - left, map_y - top
        taps, weights = [], []
        for row in (0, 1):
            for column in (0, 1):
                x, y = left + column, top + row
                inside = (x >= 0) & (x < source_width) & (y >= 0) & (y < source_height)
                share_x = right_share if column else 1 - right_share
                share_y = low_share if row else 1 - low_share
                weights.append(np.where(inside, share_x * share_y, 0).astype(np.float32).ravel())
                taps.append(np.where(inside, y * source_width + x, 0).astype(np.intp).ravel())
        self.shape = map_x.shape
        self._source = (source_height, source_width)
        self._taps = np.stack(taps)  # (4, N) flat source indices
        self._weights = np.stack(weights)  # (4, N)
        self._spread = self._weights[:, :, None]  # (4, N, channels of the last image)

    def __call__(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """(height, width, channels) uint8 source -> uint8 image of the virtual pinhole."""
        if image.shape[:2] != self._source:
            raise LensError(
                f"remap wants an image of {self._source} rows and columns, found {image.shape[:2]};"
                " use the table made for this camera"
            )
        flat = image.reshape(self._source[0] * self._source[1], -1)
        if self._spread.shape[2] != flat.shape[1]:
            self._spread = np.repeat(self._weights[:, :, None], flat.shape[1], axis=2)
        total = flat.take(self._taps[0], axis=0) * self._spread[0]
        for tap, weight in zip(self._taps[1:], self._spread[1:], strict=True):
            total += flat.take(tap, axis=0) * weight
        total += np.float32(0.5)
        result: npt.NDArray[np.uint8] = total.astype(np.uint8)
        return result.reshape(*self.shape, *image.shape[2:])


def remap(image: npt.NDArray[np.uint8], table: Table) -> npt.NDArray[np.uint8]:
    """One-off `Remap`: sample an image at a table's positions without OpenCV."""
    return Remap(table, image.shape[1], image.shape[0])(image)
