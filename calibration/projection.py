"""Lens models with their Jacobians: Brown-Conrady (pinhole) and Kannala-Brandt (fisheye), by OpenCV.

Parameters of a lens: fx, fy, cx, cy, then the distortion: k1 k2 p1 p2 k3, or k1 k2 k3 k4 (fisheye).
Optical frame: x right, y down, z forward. Pixel (0, 0) is the centre of the top left pixel.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
PARAMETERS = {"pinhole": 9, "fisheye": 8}


def matrix(lens: Floats) -> Floats:
    """(3, 3) camera matrix."""
    return np.array([[lens[0], 0, lens[2]], [0, lens[1], lens[3]], [0, 0, 1.0]])


def project(
    model: str, lens: Floats, pose: Floats, points: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Points (N, 3) [m] seen from `pose` (rotation vector, translation: camera from board).

    Returns pixels (N, 2) and their derivatives by the lens (N, 2, P), by the pose (N, 2, 6) and by
    the points (N, 2, 3).
    """
    rotation, shift = pose[:3].copy(), pose[3:].copy()
    if model == "fisheye":
        pixels, jacobian = cv2.fisheye.projectPoints(
            points.reshape(-1, 1, 3), rotation, shift, matrix(lens), lens[4:]
        )
        j = np.asarray(jacobian).reshape(-1, 2, 15)
        by_lens, by_pose = j[..., :8], j[..., 8:14]
    else:
        pixels, jacobian = cv2.projectPoints(points, rotation, shift, matrix(lens), lens[4:])
        j = np.asarray(jacobian).reshape(len(points), 2, -1)
        by_lens, by_pose = j[..., 6:15], j[..., :6]
    turn = np.asarray(cv2.Rodrigues(rotation)[0])
    by_points = by_pose[..., 3:] @ turn
    return np.asarray(pixels).reshape(-1, 2), by_lens, by_pose, by_points


def rays(model: str, lens: Floats, pixels: Floats) -> Floats:
    """(N, 3) unit rays that the pixels (N, 2) see; NaN where the model has none."""
    at = np.ascontiguousarray(pixels, np.float64).reshape(-1, 1, 2)
    if model == "fisheye":
        flat = cv2.fisheye.undistortPoints(at, matrix(lens), lens[4:])
    else:
        criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 60, 1e-12)
        flat = cv2.undistortPoints(at, matrix(lens), lens[4:], criteria=criteria)
    flat = np.asarray(flat).reshape(-1, 2)
    out = np.concatenate([flat, np.ones((len(flat), 1))], axis=1)
    back, *_ = project(model, lens, np.zeros(6), out)
    out[np.linalg.norm(back - pixels, axis=1) > 0.05] = np.nan  # folded: no such ray
    return np.asarray(out / np.linalg.norm(out, axis=1, keepdims=True))
