"""Two things that turn together, with a known time offset and rotation between them."""

import numpy as np
from scipy.interpolate import CubicSpline

from calibration.rotations import matrices, quaternions


def motion(
    rng: np.random.Generator, seconds: float, axes=(1.0, 1.0, 1.0), rms: float = 1.0
) -> CubicSpline:
    """A smooth random turn rate [rad/s] of up to about 2 Hz; `axes` scale each."""
    t = np.arange(-3, seconds + 3, 0.05)
    kernel = np.exp(-0.5 * (np.arange(-20, 21) * 0.05 / 0.12) ** 2)
    raw = np.column_stack([np.convolve(rng.normal(size=len(t)), kernel, "same") for _ in range(3)])
    return CubicSpline(t, raw / raw.std(axis=0) * rms * np.array(axes))


def pair(seed: int, seconds: float = 30.0, rates=(200.0, 150.0), noise=(0.003, 0.003), offset_s: float = 0.0437,
         axes=(1.0, 1.0, 1.0), scale: float = 1.0):  # fmt: skip
    """(t_a, a), (t_b, b), offset with t_b = t_a + offset, R with v_a = R v_b."""
    rng = np.random.default_rng(seed)
    moves = motion(rng, seconds, axes)
    rotation = matrices(quaternions(rng.normal(size=3)))
    t_a = np.arange(0, seconds, 1 / rates[0])
    t_true = np.arange(0.3, seconds, 1 / rates[1])
    b = moves(t_true)
    a = (
        scale * moves(t_a) @ rotation.T
        + rng.normal(0, noise[0], (len(t_a), 3))
        + rng.normal(0, 0.02, 3)
    )
    return (t_a, a), (t_true + offset_s, b + rng.normal(0, noise[1], b.shape)), offset_s, rotation
