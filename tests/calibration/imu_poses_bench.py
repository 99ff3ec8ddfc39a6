"""A simulated IMU laid down in many poses, with known scale, misalignment and bias."""

from dataclasses import dataclass

import numpy as np

from calibration.rotations import matrices, quaternions

G = 9.81


@dataclass
class Recording:
    t_s: np.ndarray
    accel: np.ndarray  # (N, 3) raw
    gyro: np.ndarray
    truth: dict[str, np.ndarray]


def recording(
    seed: int,
    rate_hz: float = 50.0,
    poses: int = 36,
    first_s: float = 30.0,
    still_s: float = 2.5,
    move_s: float = 1.2,
    accel_units: float = 415.0,  # raw units to a m/s^2
    gyro_units: float = 4778.0,
    noise: tuple[float, float] = (0.01, 0.003),  # m/s^2, rad/s
    ways: np.ndarray | None = None,
    touch_m_s2: float = 0.002,  # how far poses are from ideal
) -> Recording:
    """Poses all around by default, smooth turns between them."""
    rng = np.random.default_rng(seed)
    targets = (
        rng.normal(size=(poses, 3)) if ways is None else ways[rng.integers(0, len(ways), poses)]
    )
    targets = targets / np.linalg.norm(targets, axis=1, keepdims=True)
    n_move = round(move_s * rate_hz)
    phase = (np.arange(n_move) + 0.5) / n_move
    up, rates = [], []
    now = np.array([0.0, 0.0, 1.0])
    up.append(np.repeat(now[None], round(first_s * rate_hz), axis=0))
    rates.append(np.zeros_like(up[0]))
    for target in targets:
        axis = np.cross(target, now)  # up turns the other way round than the body does
        sine = np.linalg.norm(axis)
        angle = np.arctan2(sine, target @ now)
        spin = rng.normal(0, 0.6)  # about up itself, which gravity cannot see
        axis = axis / sine if sine > 1e-9 else np.array([1.0, 0, 0])
        done = np.array([np.sin(np.pi * phase) ** 2 * 2 / n_move])
        share = np.cumsum(done) - done[0] / 2
        turned = matrices(quaternions(-axis[None] * (angle * share)[:, None])) @ now
        about = spin * turned
        up.append(turned)
        rates.append((axis * angle + about) * (done.T * rate_hz))
        now = target
        up.append(np.repeat(now[None], round(still_s * rate_hz), axis=0))
        rates.append(np.zeros_like(up[-1]))
        up[-1] = up[-1] + rng.normal(0, touch_m_s2 / G) * now
    force, rate = np.concatenate(up) * G, np.concatenate(rates)
    moving = np.linalg.norm(rate, axis=1) > 0
    force += moving[:, None] * rng.normal(0, 0.8, force.shape)
    ta = np.eye(3) + np.triu(rng.normal(0, 0.01, (3, 3)), 1)
    tg = np.eye(3) + rng.normal(0, 0.01, (3, 3)) * (1 - np.eye(3))
    ka, kg = accel_units * rng.normal(1, 0.01, 3), gyro_units * rng.normal(1, 0.01, 3)
    ba, bg = 0.3 * accel_units * rng.normal(size=3), 0.01 * gyro_units * rng.normal(size=3)
    accel = (force + rng.normal(0, noise[0], force.shape)) @ np.linalg.inv(ta).T * ka + ba
    gyro = (rate + rng.normal(0, noise[1], rate.shape)) @ np.linalg.inv(tg).T * kg + bg
    truth = {"accel_scale": ka, "accel_bias": ba, "accel_t": ta, "gyro_scale": kg, "gyro_bias": bg, "gyro_t": tg}  # fmt: skip
    return Recording(np.arange(len(accel)) / rate_hz, accel, gyro, truth)
