"""A joint's answer to commands: direction, gain, delay, hysteresis or friction, travel, from sweeps both ways.

Sweeps at several speeds tell a delay (grows with speed) from hysteresis (does not). Linear least
squares: measured = offset + gain * command - gain * delay * d(command)/dt - last, where `last` is
hysteresis/2 * sign(d(command)/dt) of a position, and friction * sign(command) of a rate: a speed loop
without an integrator droops by dry friction over its gain, whichever way and however fast it turns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.errors import DataError
from calibration.verdict import Finding, Level

Floats = npt.NDArray[np.float64]
LEAST = 100  # samples
MOVING = 0.05  # of the largest command rate: slower is standing, which tells nothing of delays
GAIN_OFF, RATE_GAIN_OFF, TRAVEL_OFF = 0.02, 0.05, 0.02  # a speed loop droops under load
STICKING_RAD_S = 0.2  # a wheel that is commanded slower may stand
FRICTION_RAD_S = 0.3  # a wheel that loses more turns hard
BLOCKS = 12
SETTLE_S = 0.3
DELAY_STD_S, DELAY_MAX_S = 0.01, 0.25
HYSTERESIS_SHARE = 0.02  # of the travel
LAGGED = 0.25  # of the travel that a blocked joint falls behind


@dataclass(frozen=True)
class Sweep:
    """One joint's samples (N,): seconds, command and answer in one unit [rad, or rad/s of a wheel], amperes."""

    name: str
    t_s: Floats
    command: Floats
    answer: Floats
    current_a: Floats
    limit_a: float
    is_rate: bool = False  # a wheel: command and answer are speeds
    blocked: str = ""  # what ended the sweep early

    @property
    def travel(self) -> tuple[float, float]:
        """Range of the answer."""
        return float(self.answer.min()), float(self.answer.max())


@dataclass(frozen=True, slots=True)
class Joint:
    """What a sweep tells; stds of gain, delay [s], hysteresis or friction, offset."""

    name: str
    gain: float
    delay_s: float
    hysteresis: float
    offset: float
    std: tuple[float, float, float, float]
    travel: tuple[float, float]
    commanded: tuple[float, float]
    rate_max: float
    current_max_a: float
    residual: float
    halves_delay_s: float
    is_rate: bool = False  # a wheel: speeds, not angles
    friction_rad_s: float = 0.0  # of a wheel: the rate it loses either way


def solve_motor(sweep: Sweep) -> Joint:
    """Fit one joint. DataError where it hardly moved or was hardly sampled."""
    if len(sweep.t_s) < LEAST:
        raise DataError(f"{sweep.name}: {len(sweep.t_s)} samples, at least {LEAST}; sweep longer")
    rate = np.gradient(sweep.command, sweep.t_s)
    moving = (np.abs(rate) > MOVING * float(np.abs(rate).max())) & _settled(sweep.t_s, rate)
    if sweep.is_rate:
        moving &= np.abs(sweep.command) > STICKING_RAD_S
    if moving.sum() < LEAST:
        raise DataError(f"{sweep.name}: the command hardly moves; sweep both ways")
    x, covariance, residual = _fit(sweep, rate, moving)
    index = np.flatnonzero(moving)
    blocks = np.array_split(index, 2 * BLOCKS)  # interleaved: both halves hold every speed
    halves = [_fit(sweep, rate, _only(moving, np.concatenate(blocks[k::2])))[0] for k in (0, 1)]
    delays = [-h[2] / h[1] if h[1] else np.inf for h in halves]
    gain = float(x[1])
    delay = float(-x[2] / gain) if gain else np.inf
    by = np.array([0, -delay / gain if gain else 0, -1 / gain if gain else 0, 0])
    std_delay = float(np.sqrt(max(by @ covariance @ by, 0)))
    spread = np.sqrt(np.maximum(np.diag(covariance), 0))
    speed = np.gradient(sweep.answer, sweep.t_s)
    return Joint(
        sweep.name, gain, delay, 0.0 if sweep.is_rate else float(-2 * x[3]), float(x[0]),
        (float(spread[1]), std_delay, float(spread[3]) * (1 if sweep.is_rate else 2), float(spread[0])),
        sweep.travel, (float(sweep.command.min()), float(sweep.command.max())),
        float(np.percentile(np.abs(speed), 99)), float(np.abs(sweep.current_a).max()), residual,
        float(abs(delays[0] - delays[1])), sweep.is_rate, float(-x[3]) if sweep.is_rate else 0.0,
    )  # fmt: skip


def _settled(t_s: Floats, rate: Floats) -> npt.NDArray[np.bool_]:
    """Where the command's rate has not changed for SETTLE_S: right after, a delay looks like play."""
    changed = np.abs(np.diff(rate, prepend=rate[0])) > 0.02 * float(np.abs(rate).max())
    last = np.maximum.accumulate(np.where(changed, t_s, -np.inf))
    return np.asarray(t_s - last > SETTLE_S)


def _only(moving: npt.NDArray[np.bool_], part: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    out = np.zeros_like(moving)
    out[part] = True
    return out


def _fit(sweep: Sweep, rate: Floats, moving: npt.NDArray[np.bool_]) -> tuple[Floats, Floats, float]:
    """Coefficients (4,), their covariance, residual RMS; neighbours in time err alike (Newey & West 1987)."""
    way = np.sign(sweep.command if sweep.is_rate else rate)
    a = np.stack([np.ones_like(rate), sweep.command, rate, way], 1)[moving]
    y = sweep.answer[moving]
    x = np.linalg.lstsq(a, y, rcond=None)[0]
    r = y - a @ x
    inverse = np.linalg.pinv(a.T @ a)
    scores = a * r[:, None]
    meat = scores.T @ scores
    lags = 30
    for lag in range(1, lags):
        part = scores[lag:].T @ scores[:-lag]
        meat += (1 - lag / lags) * (part + part.T)
    return np.asarray(x, np.float64), np.asarray(inverse @ meat @ inverse), float(np.sqrt(np.mean(r**2)))  # fmt: skip


def judge_motor(sweep: Sweep, joint: Joint | None) -> list[Finding]:
    """What speaks against a joint; an obstruction speaks first."""
    if sweep.blocked or joint is None:
        at = float(sweep.answer[-1]) if len(sweep.answer) else 0.0
        most = float(np.abs(sweep.current_a).max()) if len(sweep.current_a) else 0.0
        return [Finding("FAIL", f"{sweep.name} is blocked at {at:.2f}: {sweep.blocked or 'no answer'} ({most:.2f} of {sweep.limit_a:.2f} A)", "remove what is in its way, or a hand, then run it again")]  # fmt: skip
    span = max(joint.commanded[1] - joint.commanded[0], 1e-9)
    moved = joint.travel[1] - joint.travel[0]
    if moved < 0.1 * span:
        return [Finding("FAIL", f"{joint.name} did not move: {moved:.3f} of {span:.3f}", "check its power, its plug and its encoder: `companion bringup`")]  # fmt: skip
    if joint.gain < 0:
        return [Finding("FAIL", f"{joint.name} runs against its command", "exchange its motor leads or its encoder's sign: `companion bringup` tells which")]  # fmt: skip
    out = []
    off = RATE_GAIN_OFF if sweep.is_rate else GAIN_OFF
    if abs(joint.gain - 1) > off:
        level: Level = "FAIL" if abs(joint.gain - 1) > 5 * off else "MARGINAL"
        out.append(Finding(level, f"{joint.name} goes {joint.gain:.3f} of what is commanded", "check its scale in the body file, its gear and its set screw"))  # fmt: skip
    if not sweep.is_rate and abs(moved / span - 1) > TRAVEL_OFF:
        out.append(Finding("MARGINAL", f"{joint.name} travels {moved:.3f} of {span:.3f}", "see what it touches at its ends"))  # fmt: skip
    if not 0 <= joint.delay_s <= DELAY_MAX_S or joint.std[1] > DELAY_STD_S:
        out.append(Finding("MARGINAL", f"{joint.name} answers after {joint.delay_s * 1e3:.0f} ± {joint.std[1] * 1e3:.0f} ms", "run it again without load; a loose mount swings"))  # fmt: skip
    if abs(joint.hysteresis) > HYSTERESIS_SHARE * span:
        out.append(Finding("MARGINAL", f"{joint.name} has {joint.hysteresis:.3f} of play", "tighten its horn or gear"))  # fmt: skip
    if abs(joint.friction_rad_s) > FRICTION_RAD_S:
        out.append(Finding("MARGINAL", f"{joint.name} loses {joint.friction_rad_s:.2f} rad/s to friction", "see what rubs: hair on its axle, a bearing, a tyre at the cover"))  # fmt: skip
    return out
