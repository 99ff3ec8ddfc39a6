"""`companion calibrate latency solve`: command to encoder to gyro to image, each delay by itself."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

from calibration.errors import DataError
from calibration.latency import Delay, Means, before, delay, held
from calibration.latency_judge import SAID, Chain, judge_latency
from calibration.stamps import read_stamps
from calibration.verdict import Finding, judged
from calibration.visual_rotation import Lens, Tracks, follow, rays, turn_between, unrolled
from tools.calibrate.finish import Step, add_output, check_output, digest, finish
from tools.calibrate.latency_log import LatencyLog, read_latency
from tools.calibrate.latency_page import page

Floats = npt.NDArray[np.float64]
SHAKE_HZ = 8.0  # far above the chirp
FEWEST_FRAMES = 60
NOTHING = np.full(3, np.nan)
CONVENTIONS = (
    "each delay is how late the second shows the motion after the first, by their own stamps on the"
    " host's clock; t_imu = t_camera + time_offset, which is gyro_to_image with the other sign"
)


def add_solve(parser: argparse.ArgumentParser) -> None:
    """Options of solve."""
    parser.add_argument("--log", type=Path, required=True, metavar="F.npz", help="what record wrote")  # fmt: skip
    add_output(parser)


def solve(args: argparse.Namespace) -> int:
    """Read, follow corners, fit, judge; exit 0 PASS, 3 MARGINAL, 1 FAIL."""
    check_output(args)
    log = read_latency(args.log)
    chain, findings = solve_chain(log)
    verdict = judged("latency", result_of(chain), quality_of(chain, log), findings, digest([args.log]), log.serial, cause_when_good=good_news(chain))  # fmt: skip
    return finish(args, verdict, lambda: page(chain, log, [str(args.log)]))


def solve_chain(log: LatencyLog) -> tuple[Chain, list[Finding]]:
    """All delays that the recording tells, and what speaks against it."""
    zero = int(min(log.command_ns[0], log.state_ns[0], log.imu_ns[0])) if len(log.imu_ns) else 0
    t_imu = (log.imu_ns - zero) / 1e9
    if len(t_imu) < 100 or len(log.state_ns) < 100:
        raise DataError(f"{len(log.state_ns)} control periods recorded, 800 needed; record 20 s")
    yaw = log.gyro_rad_s[:, 2]
    moved, shake = _motion(t_imu, yaw)
    delays: dict[str, Delay] = {}
    lost, stamps = 0.0, None
    if moved > 0.02:  # else there is nothing to compare, as the judge will say
        t_state, t_command = (log.state_ns - zero) / 1e9, (log.command_ns - zero) / 1e9
        wheels = log.wheel_rad[:, 1] - log.wheel_rad[:, 0]
        asked = log.command_rad_s[:, 1] - log.command_rad_s[:, 0]
        span = (t_command[0], t_command[-1])
        delays["command_to_encoder"] = delay(Means.of_angle(t_state, wheels), held(t_command, asked), span)  # fmt: skip
        turned = CubicSpline(t_imu, yaw).antiderivative()
        rolled = Means.of_angle(t_state, wheels * log.wheel_radius_m / log.track_m)
        delays["encoder_to_gyro"] = before(delay(rolled, turned, (t_imu[0], t_imu[-1])))
        if len(log.frames) < FEWEST_FRAMES:
            raise DataError(f"{len(log.frames)} frames recorded, {FEWEST_FRAMES} needed; does the camera deliver? `companion doctor`")  # fmt: skip
        seen, lost = seen_rates(log, zero)
        delays["gyro_to_image"] = delay(seen, turned, (t_imu[0], t_imu[-1]))
        stamps = read_stamps((log.frame_ns - zero) / 1e9, (log.frame_arrival_ns - zero) / 1e9)
    chain = Chain(delays, stamps, moved, shake, lost, len(log.frames))
    return chain, judge_latency(chain)


def _motion(t_s: Floats, yaw_rad_s: Floats) -> tuple[float, float]:
    """RMS turn rate below SHAKE_HZ [rad/s], and the RMS above by it."""
    step = float(np.median(np.diff(t_s)))
    width = max(1, round(1 / (SHAKE_HZ * step)))
    slow = np.convolve(yaw_rad_s, np.ones(width) / width, "same")
    inner = slice(width, -width)
    moved = float(np.std(slow[inner]))
    return moved, float(np.std((yaw_rad_s - slow)[inner])) / max(moved, 1e-9)


def seen_rates(log: LatencyLog, zero_ns: int) -> tuple[Means, float]:
    """The pictures' turn rate about the axis they turned most about, and the share of frames lost.

    Twice: the first rates tell how a rolling shutter sheared each frame, the second are without it.
    """
    lens = Lens(log.camera_matrix, log.distortion)
    step = Step("frames", len(log.frames) - 1)
    tracks = []
    for one, other in zip(log.frames[:-1], log.frames[1:], strict=True):
        tracks.append(follow(one, other))
        step()
    stamp = (log.frame_ns - zero_ns) / 1e9
    width = np.diff(stamp)[:, None]
    pairs = [(rays(t.before, lens), rays(t.after, lens)) if len(t.before) else None for t in tracks]
    rate = np.array([turn_between(*pair)[0] if pair else NOTHING for pair in pairs]) / width
    if log.readout_s > 0:
        at = _at_frames(rate)
        for k, (pair, t) in enumerate(zip(pairs, tracks, strict=True)):
            if pair is not None:
                late = _late_s(t, log)
                straight = [unrolled(pair[i], late[i], at[k + i]) for i in (0, 1)]
                rate[k] = turn_between(*straight)[0] / width[k]
    good = np.asarray(np.isfinite(rate).all(axis=1))
    if good.sum() < FEWEST_FRAMES - 1:
        raise DataError(f"{int(good.sum())} of {len(good)} frames have corners that can be followed, {FEWEST_FRAMES} needed; record in good light, before a wall with texture")  # fmt: skip
    axis = np.linalg.svd(rate[good] - np.median(rate[good], axis=0), full_matrices=False)[2][0]
    axis = -axis if axis[1] > 0 else axis  # to the left, where the picture's y is down
    return Means(stamp[:-1], stamp[1:], rate @ axis).part(good), float(1 - good.mean())


def _at_frames(rate: Floats) -> Floats:
    """(K, 3) rates of intervals -> (K + 1, 3) at the frames; lost ones are bridged."""
    number = np.arange(len(rate))
    good = np.isfinite(rate).all(axis=1)
    if not good.any():
        return np.zeros((len(rate) + 1, 3))
    whole = np.stack([np.interp(number, number[good], rate[good, i]) for i in range(3)], 1)
    found: Floats = np.concatenate([whole[:1], (whole[1:] + whole[:-1]) / 2, whole[-1:]])
    return found


def _late_s(tracks: Tracks, log: LatencyLog) -> tuple[Floats, Floats]:
    """How long after the middle row each corner's row was exposed, in either frame."""
    height = log.frames.shape[1]
    middle = (height - 1) / 2
    return (
        (tracks.before[:, 1] - middle) / height * log.readout_s,
        (tracks.after[:, 1] - middle) / height * log.readout_s,
    )


def good_news(chain: Chain) -> str:
    """The chain in one sentence."""
    ms = [f"{SAID[k][0]} {d.delay_s * 1e3:.1f} ms" for k, d in chain.delays.items()]
    return f"every delay is known and steady: {', '.join(ms)} after its cause"


def result_of(chain: Chain) -> dict[str, Any]:
    """Milliseconds by name; the sum along the chain with them."""
    out: dict[str, Any] = {f"{name}_ms": found.delay_s * 1e3 for name, found in chain.delays.items()}  # fmt: skip
    std: dict[str, Any] = {f"{name}_ms": found.std_s * 1e3 for name, found in chain.delays.items()}
    if len(chain.delays) == len(SAID):
        out["command_to_image_ms"] = sum(d.delay_s for d in chain.delays.values()) * 1e3
        std["command_to_image_ms"] = 1e3 * float(np.sqrt(sum(d.std_s**2 for d in chain.delays.values())))  # fmt: skip
        out["time_offset_s"] = -chain.delays["gyro_to_image"].delay_s
        std["time_offset_s"] = chain.delays["gyro_to_image"].std_s
    return {**out, "conventions": CONVENTIONS, "std": std}


def quality_of(chain: Chain, log: LatencyLog) -> dict[str, Any]:
    """Figures that say how good it is; on the twin the errors against its truth."""
    found = chain.delays
    out: dict[str, Any] = {
        "halves_apart_ms": {k: d.halves_apart_s * 1e3 for k, d in found.items()},
        "jitter_p95_ms": {k: d.jitter_s * 1e3 for k, d in found.items()},
        "correlation": min((abs(d.correlation) for d in found.values()), default=0.0),
        "std_ms": max((d.std_s * 1e3 for d in found.values()), default=None),
        "gain": {k: d.gain for k, d in found.items()},
        "turn_rate_rms_rad_s": chain.moved_rad_s,
        "shake": chain.shake,
        "frames": chain.frames,
        "frames_lost": chain.lost,
        "seconds": float(np.ptp(log.state_ns)) / 1e9,
        "sensor_age_ms": float(np.median(log.state_arrival_ns - log.state_ns)) / 1e6,
    }
    if chain.stamps is not None:
        s = chain.stamps
        out |= {"frame_hz": 1 / s.period_s, "stamp_jitter_p95_ms": s.jitter_s * 1e3, "frames_missing": s.missing}  # fmt: skip
        out |= {"frame_age_ms": s.age_s * 1e3, "frame_age_jitter_p95_ms": s.age_jitter_s * 1e3}
    if len(log.truth_ms) == len(found) == len(SAID):
        errors = [d.delay_s * 1e3 for d in found.values()] - log.truth_ms
        out["truth_error_ms"] = dict(zip(found, errors.tolist(), strict=True))
    return out
