"""Rotations as unit quaternions x, y, z, w, many at a time: products, exponentials, best fits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def quaternions(turns_rad: Floats) -> Floats:
    """(..., 3) rotation vectors -> (..., 4) unit quaternions."""
    angle = np.linalg.norm(turns_rad, axis=-1, keepdims=True)
    half = 0.5 * np.sinc(angle / (2 * np.pi))  # sin(a / 2) / a, finite at 0
    return np.concatenate((half * turns_rad, np.cos(angle / 2)), axis=-1)


def product(left: Floats, right: Floats) -> Floats:
    """(..., 4) x (..., 4): the rotation `left` after `right`."""
    ax, ay, az, aw = (left[..., i] for i in range(4))
    bx, by, bz, bw = (right[..., i] for i in range(4))
    out = np.empty(np.broadcast_shapes(left.shape, right.shape))
    out[..., 0] = aw * bx + bw * ax + ay * bz - az * by
    out[..., 1] = aw * by + bw * ay + az * bx - ax * bz
    out[..., 2] = aw * bz + bw * az + ax * by - ay * bx
    out[..., 3] = aw * bw - ax * bx - ay * by - az * bz
    return out


def matrices(q: Floats) -> Floats:
    """(..., 4) unit quaternions -> (..., 3, 3)."""
    x, y, z, w = (q[..., i] for i in range(4))
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def quaternion(matrix: Floats) -> Floats:
    """(3, 3) rotation -> (4,) x, y, z, w with w >= 0 (Shepperd 1978, by the eigenvector)."""
    m = matrix
    k = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0], m[2, 1] - m[1, 2]],
            [m[0, 1] + m[1, 0], m[1, 1] - m[0, 0] - m[2, 2], m[1, 2] + m[2, 1], m[0, 2] - m[2, 0]],
            [m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], m[2, 2] - m[0, 0] - m[1, 1], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], m[0, 0] + m[1, 1] + m[2, 2]],
        ]
    )
    q: Floats = np.linalg.eigh(k)[1][:, -1]
    return q if q[3] >= 0 else -q


def turn(matrix: Floats) -> Floats:
    """(3, 3) rotation -> (3,) rotation vector [rad]."""
    q = quaternion(matrix)
    sine = float(np.linalg.norm(q[:3]))
    factor = 2 * np.arctan2(sine, q[3]) / sine if sine > 1e-15 else 2.0
    vector: Floats = q[:3] * float(factor)
    return vector


def suffixes(q: Floats) -> Floats:
    """(M, L, 4) steps -> (M, L, 4): product of step k and all after it, by doubling."""
    out: Floats = q.copy()
    shift = 1
    while shift < q.shape[1]:
        out[:, :-shift] = product(out[:, :-shift], out[:, shift:])
        shift *= 2
    return out


def best_rotation(source: Floats, target: Floats) -> tuple[Floats, Floats]:
    """R (3, 3) with target ~ R source in least squares, (3,) singular values of target^T source.

    Both (N, 3). Kabsch 1976; the determinant is held at +1.
    """
    u, values, vt = np.linalg.svd(target.T @ source)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    return u @ flip @ vt, values
