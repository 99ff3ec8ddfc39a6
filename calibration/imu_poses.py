"""IMU calibration without a turntable: gravity in many still poses, and the moves between them.

Tedaldi, Pretto, Menegatti, "A robust and easy to implement method for IMU calibration without
external equipments", ICRA 2014. Added here: standard deviations, held-out errors, the gyro's bias
from all still periods, and which axes were mounted how. Frame: the calibrated accelerometer's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.accel_fit import AccelFit, Triad, fit_accel
from calibration.errors import DataError
from calibration.gyro_fit import GyroFit, fit_gyro, moves_between
from calibration.stillness import Still, noise_floor, spread, still_periods

Floats = npt.NDArray[np.float64]

FACTORS = (1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0)  # of the noise floor: the threshold sweep
WINDOWS_S = (1.0, 0.5)  # the longer one unless poses were held too shortly for it
LEAST_POSES = 12  # nine unknowns
GOOD_POSES = 24
SAME_POSE_DEG = 3.0
DISTINCT_DEG = 10.0
LONGEST_MOVE_S = 30.0
STANDARD_GRAVITY = 9.80665


@dataclass(frozen=True, slots=True)
class ImuPoses:
    """What the poses say; arrays over P still poses and M moves between neighbours."""

    accel: Triad
    gyro: Triad
    accel_fit: AccelFit
    gyro_fit: GyroFit
    poses: tuple[Still, ...]
    ways: Floats  # (P, 3) unit vectors: up, in the accelerometer's frame
    spreads: Floats  # of the accelerometer in each window, raw units
    limit: float  # of the spread: below it is still
    sweep: tuple[tuple[float, int, float], ...]  # factor, poses, held-out error [m/s^2]
    bias_range: Floats  # (3,) raw units: what still means of the gyro differ by, as std
    distinct: int  # poses that differ by 10 degrees from all before
    saturated: int  # gyro samples at the end of its range
    move_index: tuple[int, ...]  # (M,) pose before each move

    @property
    def held_out_g_m_s2(self) -> float:
        """RMS of |a| - g of poses that the fit had not seen."""
        return float(np.sqrt(np.nanmean(self.accel_fit.held_out_m_s2**2)))

    @property
    def gyro_deg_per_move(self) -> float:
        """RMS angle by which gravity, carried along by the gyro, misses its place; held out."""
        return float(np.rad2deg(np.sqrt(np.nanmean(self.gyro_fit.held_out_rad**2))))


def solve(
    accel_t_s: Floats, accel: Floats, gyro_t_s: Floats, gyro: Floats,
    gravity_m_s2: float = STANDARD_GRAVITY, gravity_std_m_s2: float = 0.0,
) -> ImuPoses:  # fmt: skip
    """Raw logs (N,), (N, 3) and (K,), (K, 3) on one clock [s] -> ImuPoses; any raw units.

    DataError where there are too few poses, the files are swapped, or nothing turned.
    """
    _check_clocks(accel_t_s, gyro_t_s)
    poses, spreads, limit, sweep = _choose(accel_t_s, accel, gravity_m_s2)
    _check_sensors(accel_t_s, accel, gyro_t_s, gyro, poses)
    fit = fit_accel(_means(accel_t_s, accel, poses), gravity_m_s2)
    ways = fit.triad.si(_means(accel_t_s, accel, poses))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    means = _means(gyro_t_s, gyro, poses)
    bias, bias_std = _bias(gyro_t_s, gyro, poses, means)
    index, spans = _spans(poses, fit.kept, gyro_t_s)
    if len(index) < 6:
        raise DataError(
            f"{len(index)} moves between still poses can be used, 6 needed for the gyro;"
            " turn the device from pose to pose within a few seconds"
        )
    pairs = np.stack([ways[index], ways[[i + 1 for i in index]]], axis=1)
    near = (means[index] + means[[i + 1 for i in index]]) / 2
    gyro_fit = fit_gyro(moves_between(gyro_t_s, gyro, near, spans, pairs), bias, bias_std)
    return ImuPoses(
        accel=_with_gravity(fit.triad, gravity_std_m_s2 / gravity_m_s2),
        gyro=gyro_fit.triad, accel_fit=fit, gyro_fit=gyro_fit, poses=poses, ways=ways,
        spreads=spreads, limit=limit, sweep=sweep, bias_range=means.std(axis=0, ddof=1),
        distinct=distinct_ways(ways[fit.kept]), saturated=saturated(gyro), move_index=tuple(index),
    )  # fmt: skip


def _with_gravity(triad: Triad, share: float) -> Triad:
    """Gravity's own uncertainty is one factor in all scales."""
    std = np.hypot(triad.inverse_scale_std, share * triad.inverse_scale)
    return Triad(triad.inverse_scale, triad.bias, triad.misalignment, std, triad.bias_std, triad.misalignment_std)  # fmt: skip


def _check_clocks(accel_t_s: Floats, gyro_t_s: Floats) -> None:
    common = min(accel_t_s[-1], gyro_t_s[-1]) - max(accel_t_s[0], gyro_t_s[0])
    if common < 0.9 * max(np.ptp(accel_t_s), np.ptp(gyro_t_s)):
        raise DataError(
            f"the accelerometer's and the gyro's log share {max(common, 0):.1f} s of"
            f" {np.ptp(accel_t_s):.1f} and {np.ptp(gyro_t_s):.1f} s; give two logs of one recording"
        )


def _choose(
    t_s: Floats, accel: Floats, gravity_m_s2: float
) -> tuple[tuple[Still, ...], Floats, float, tuple[tuple[float, int, float], ...]]:
    """The threshold with the smallest held-out error among those that find most poses."""
    found: list[Still] = []
    for window_s in WINDOWS_S:
        window = max(5, round(window_s / float(np.median(np.diff(t_s)))))
        if window * 4 > len(t_s):
            break
        spreads = spread(accel, window)
        floor = noise_floor(spreads)
        tried = []
        for factor in FACTORS:
            poses = _merged(
                still_periods(t_s, spreads, factor * floor, window, 1.3 * window_s), t_s, accel
            )
            found = max(found, poses, key=len)
            error = (
                _held_out(t_s, accel, poses, gravity_m_s2) if len(poses) >= LEAST_POSES else np.inf
            )
            if np.isfinite(error):
                tried.append((factor, poses, error))
        if tried:
            most = max(len(poses) for _, poses, _ in tried)
            factor, poses, _ = min(
                (t for t in tried if len(t[1]) >= 0.8 * most), key=lambda t: t[2]
            )
            return tuple(poses), spreads, factor * floor, tuple((f, len(p), e) for f, p, e in tried)
    raise DataError(
        f"{len(found)} still poses found in {np.ptp(t_s):.0f} s, at least {LEAST_POSES} needed"
        f" ({GOOD_POSES} for a good answer); lay the device down in each pose, hands off, for 2 s"
    )


def _held_out(t_s: Floats, accel: Floats, poses: list[Still], gravity_m_s2: float) -> float:
    try:
        held = fit_accel(_means(t_s, accel, poses), gravity_m_s2, folds=3).held_out_m_s2
    except DataError:  # this threshold's poses are none; another's may be
        return np.inf
    return float(np.sqrt(np.nanmean(held**2))) if np.isfinite(held).any() else np.inf


def _means(t_s: Floats, raw: Floats, poses: tuple[Still, ...] | list[Still]) -> Floats:
    """(P, 3) mean of a sensor over each pose, by time: the logs may have different rates."""
    first = np.searchsorted(t_s, [p.start_s for p in poses])
    end = np.maximum(np.searchsorted(t_s, [p.end_s for p in poses], side="right"), first + 1)
    return np.array([raw[a:b].mean(axis=0) for a, b in zip(first, end, strict=True)])


def _merged(poses: list[Still], t_s: Floats, accel: Floats) -> list[Still]:
    """A knock within a pose makes two of one: the longer half stays."""
    if len(poses) < 2:
        return poses
    means = _means(t_s, accel, poses)
    centre = (means.max(axis=0) + means.min(axis=0)) / 2
    ways = (means - centre) / np.maximum(
        np.linalg.norm(means - centre, axis=1, keepdims=True), 1e-300
    )
    keep = [0]
    for i in range(1, len(poses)):
        same = ways[i] @ ways[keep[-1]] > np.cos(np.deg2rad(SAME_POSE_DEG))
        if not (same and poses[i].start_s - poses[keep[-1]].end_s < WINDOWS_S[0]):
            keep.append(i)
        elif poses[i].length_s > poses[keep[-1]].length_s:
            keep[-1] = i
    return [poses[i] for i in keep]


def _check_sensors(
    accel_t_s: Floats, accel: Floats, gyro_t_s: Floats, gyro: Floats, poses: tuple[Still, ...]
) -> None:
    """At rest an accelerometer shows every pose differently, a gyro always the same."""
    a, g = _posed(accel_t_s, accel, poses), _posed(gyro_t_s, gyro, poses)
    if a < 0.3 and g > 0.5:
        raise DataError(
            "the files are swapped: at rest the accelerometer's file shows the same in every pose, and"
            " the gyro's changes with the pose as gravity does; swap --accel and --gyro"
        )
    if a < 0.3:
        raise DataError(
            "at rest the accelerometer's file shows the same in every pose, as a gyro does; was the"
            " device turned, and is this file the accelerometer's?"
        )
    if g > 0.5:
        raise DataError(
            "at rest the gyro's file changes with the pose, as gravity does; is it the gyro's file?"
        )


def _posed(t_s: Floats, raw: Floats, poses: tuple[Still, ...]) -> float:
    """How much of a sensor's whole spread its still means show: near 1 for an accelerometer."""
    means = _means(t_s, raw, poses)
    centre = np.median(means, axis=0)
    whole = float(np.sqrt(np.mean((raw - centre) ** 2)))
    return float(np.sqrt(np.mean((means - centre) ** 2))) / max(whole, 1e-300)


def _bias(
    t_s: Floats, gyro: Floats, poses: tuple[Still, ...], means: Floats
) -> tuple[Floats, Floats]:
    """The gyro at rest over all poses, weighted by their length, poses that turned left out.

    Its std is the larger of two: by the spread of the means, which holds drift and what gravity does
    to the gyro, and by the noise.
    """
    weight = np.array([p.length_s for p in poses])
    off = np.abs(means - np.median(means, axis=0))
    limit = 6 * 1.4826 * np.median(off, axis=0) + 1e-12
    still = np.max(off - limit, axis=1) <= 0
    weight = np.where(still, weight, 0) / weight[still].sum()
    bias: Floats = weight @ means
    of_means = (weight[:, None] * (means - bias)) ** 2
    of_means = of_means.sum(axis=0) * still.sum() / max(still.sum() - 1, 1)
    longest = max(poses, key=lambda p: p.length_s)
    inside = gyro[(t_s >= longest.start_s) & (t_s <= longest.end_s)]
    total_s = sum(p.length_s for p, s in zip(poses, still.tolist(), strict=True) if s)
    of_noise = inside.var(axis=0, ddof=1) * float(np.median(np.diff(t_s))) / total_s
    return bias, np.sqrt(np.maximum(of_means, of_noise))


def _spans(
    poses: tuple[Still, ...], kept: npt.NDArray[np.bool_], gyro_t_s: Floats
) -> tuple[list[int], list[tuple[float, float]]]:
    """Moves between neighbouring good poses, without gaps in the gyro's log."""
    index, spans = [], []
    period = float(np.median(np.diff(gyro_t_s)))
    for i in range(len(poses) - 1):
        start, end = poses[i].end_s, poses[i + 1].start_s
        inside = gyro_t_s[(gyro_t_s > start - 2 * period) & (gyro_t_s < end + 2 * period)]
        whole = len(inside) > 2 and np.diff(inside).max() < 5 * period
        if kept[i] and kept[i + 1] and whole and period < end - start < LONGEST_MOVE_S:
            index.append(i)
            spans.append((start, end))
    return index, spans


def distinct_ways(ways: Floats) -> int:
    """How many poses differ by at least 10 degrees from all before."""
    chosen: list[Floats] = []
    for way in ways:
        if all(way @ other < np.cos(np.deg2rad(DISTINCT_DEG)) for other in chosen):
            chosen.append(way)
    return len(chosen)


def saturated(raw: Floats) -> int:
    """Samples that stand at the largest or smallest value of their axis, three in a row or more."""
    count = 0
    for axis in raw.T:
        for end in (axis.max(), axis.min()):
            at = axis == end
            runs = at[:-2] & at[1:-1] & at[2:]
            count += int(runs.sum())
    return count if np.ptp(raw) > 0 else 0
