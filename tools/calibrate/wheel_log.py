"""Logs of driving -> stretches: tuples (one JSON object a line), or columns of a CSV."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibration.errors import DataError
from calibration.wheels import Stretches
from tools.calibrate.columns import Sheet, read_sheet
from tools.calibrate.logs import UNIT_NS, require_alive, time_unit

Floats = npt.NDArray[np.float64]
NAMES = {
    "t": r"(t|time|stamp|timestamp)(_?(s|ms|us|ns))?",
    "dt": r"(dt|duration|interval)(_s)?",
    "left": r"(phi|wheel|enc|encoder|angle|pos|position|q)?_?(l|left)(_?(wheel|enc|encoder|angle|pos|position|ticks?|count|counts|rad|phi))*",
    "right": r"(phi|wheel|enc|encoder|angle|pos|position|q)?_?(r|right)(_?(wheel|enc|encoder|angle|pos|position|ticks?|count|counts|rad|phi))*",
    "left_rate": r"((vel|velocity|omega|w|speed|rate)_?(l|left)(_?(wheel))?|(l|left|wheel_left|left_wheel)_?(vel|velocity|omega|speed|rate))(_rad_?_?s)?",
    "right_rate": r"((vel|velocity|omega|w|speed|rate)_?(r|right)(_?(wheel))?|(r|right|wheel_right|right_wheel)_?(vel|velocity|omega|speed|rate))(_rad_?_?s)?",
    "gyro": r"(gyro_?z|gz|wz|omega_?z|yaw_?rate|angular_velocity_?z|gyro)(_rad_?_?s)?",
    "x": r"(pose_?|sm_?|ref_?|true_?)?x(_m)?",
    "y": r"(pose_?|sm_?|ref_?|true_?)?y(_m)?",
    "yaw": r"(pose_?|sm_?|ref_?|true_?)?(yaw|theta|heading|th)(_rad)?",
}  # fmt: skip
WINDOW_S = 1.0
DELAY_S = 0.3  # most that the reference may lag the wheels
STILL = 0.02  # rad of wheel rotation: standing says nothing
TYPICAL_HZ = 30.0  # odometry, and poses by scan matching
LEAST_GYRO_HZ = 10.0
MOST_LOST = 0.02  # share of the rows
EXPLAINED = 0.5  # of the turning: less is no likeness, and its best delay none
SENSED = ("left", "right", "left_rate", "right_rate", "gyro")
JUMP = 20.0  # times the median step: a counter that wrapped or a log that was cut


@dataclass(frozen=True)
class WheelLog:
    """What a log held: stretches, and in words how it was read."""

    stretches: Stretches
    notes: list[str]
    seconds: float


def read_wheels(path: Path, columns: str = "", ticks_per_turn: float = 0.0) -> WheelLog:
    """Read a log of driving; DataError says what is missing."""
    if not path.is_file():
        raise DataError(f"no file {path}; give a log of driving")
    with path.open("rb") as stream:
        first = stream.read(4096).lstrip()
    if first.startswith(b"{"):
        return _tuples(path)
    held = _columns(path, columns)
    scale = 2 * np.pi / ticks_per_turn if ticks_per_turn else 1.0
    return _windows(path, held, scale)


def _tuples(path: Path) -> WheelLog:
    """Censi's form: T, mean wheel speeds phi_l and phi_r [rad/s], the sensor's motion sm."""
    rows = []
    with path.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                o = json.loads(line)
                rows.append([float(o["T"]), float(o["phi_l"]), float(o["phi_r"]), *map(float, o["sm"])])  # fmt: skip
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{path}, line {number}: {type(error).__name__} {error}; every line needs T, phi_l, phi_r and"
                    " sm [x, y, theta]"
                ) from error
    data = np.array(rows, float).reshape(-1, 6)
    data = data[np.isfinite(data).all(1) & (data[:, 0] > 0)]
    moved = Stretches(data[:, 0], data[:, 1] * data[:, 0], data[:, 2] * data[:, 0], data[:, 5], data[:, 3:5], False)  # fmt: skip
    return WheelLog(moved, [f"{len(data)} tuples, wheel speeds in rad/s"], float(data[:, 0].sum()))


def _columns(path: Path, given: str) -> dict[str, tuple[str, Floats]]:
    """Columns by meaning: name as logged, values."""
    sheet = read_sheet(path)
    names = [n.strip() for n in given.split(",")] if given else _header(sheet)
    if len(names) != sheet.width:
        raise DataError(
            f"{path}: {sheet.width} columns and {len(names)} names; name them all with --columns, as"
            " t,left,right,gyro_z (or x,y,yaw; _ for a column to skip)"
        )
    held: dict[str, tuple[str, Floats]] = {}
    values = sheet.numbers(list(range(sheet.width))) if sheet.width else np.zeros((0, 0))
    for name, column in zip(names, values.T, strict=True):
        plain = re.sub(r"\s*[\[(].*[\])]\s*$", "", name).strip().lower().replace(" ", "_")
        for meaning, pattern in NAMES.items():
            if meaning not in held and re.fullmatch(pattern, plain):
                held[meaning] = (name, column)
                break
    found = ", ".join(names) or "no names"
    wheels = {"left", "right"} <= set(held) or {"left_rate", "right_rate"} <= set(held)
    reference = "gyro" in held or {"x", "y", "yaw"} <= set(held)
    if not (wheels and reference and "t" in held):
        raise DataError(
            f"{path}: columns {found}; needed are t, left and right (wheel rotation in rad, or left_rate,"
            " right_rate), and gyro_z or x, y, yaw; name them with --columns"
        )
    return held


def _header(sheet: Sheet) -> list[str]:
    if not sheet.skip:
        return []
    text = list(itertools.islice(sheet.lines(), sheet.skip))[-1].lstrip("#% ").strip()
    return [c.strip() for c in text.split(sheet.delimiter)]


def _windows(path: Path, held: dict[str, tuple[str, Floats]], scale: float) -> WheelLog:
    """Stretches of a second from samples, the reference's delay found and taken out."""
    held, lost = _finite(path, held)
    t, said = _seconds(path, held["t"])
    require_alive(path, {name: x for key, (name, x) in held.items() if key in SENSED})
    left, right = (_rotation(path, held, side, t) * scale for side in ("left", "right"))
    notes = [said] + ([f"{lost} rows without a number left out"] if lost else [])
    if "gyro" in held:
        rate_hz = 1 / max(float(np.median(np.diff(t))), 1e-9)
        if rate_hz < LEAST_GYRO_HZ:
            raise DataError(f"{path}: {rate_hz:.3g} rows a second, a gyro that is summed up needs {LEAST_GYRO_HZ:.0f}; log at the sensor's rate")  # fmt: skip
        yaw = _integral(t, held["gyro"][1])
        place, biased = None, True
    else:
        yaw = np.unwrap(held["yaw"][1])
        place, biased = np.stack([held["x"][1], held["y"][1]], 1), False
    delay = _delay(path, t, right - left, yaw)
    if abs(delay) >= 5e-4:
        notes.append(f"the reference lags the wheels by {delay * 1e3:.0f} ms")
    edges = np.arange(t[0] + DELAY_S, t[-1] - DELAY_S, WINDOW_S)
    if len(edges) < 3:
        raise DataError(f"{path}: {t[-1] - t[0]:.1f} s of driving; drive for a minute and more")
    dl, dr = (np.diff(np.interp(edges, t, w)) for w in (left, right))
    turn = np.diff(np.interp(edges + delay, t, yaw))
    shift = None if place is None else _shifts(t, place, yaw, edges + delay)
    moved = (np.abs(dl) + np.abs(dr) > STILL) & np.isfinite(turn)
    data = Stretches(np.diff(edges), dl, dr, turn, shift, biased)
    return WheelLog(data if moved.sum() == 0 else data.of(moved), notes, float(t[-1] - t[0]))


def _finite(path: Path, held: dict[str, tuple[str, Floats]]) -> tuple[dict[str, tuple[str, Floats]], int]:  # fmt: skip
    """Without the rows in which a used column holds no number, and how many those are."""
    rows = np.stack([x for _, x in held.values()], axis=1)
    good = np.asarray(np.isfinite(rows).all(axis=1))
    lost = int((~good).sum())
    if lost > MOST_LOST * len(rows):
        raise DataError(f"{path}: {lost} of {len(rows)} rows hold no number somewhere; find why the recorder lost them and record again")  # fmt: skip
    return {key: (name, x[good]) for key, (name, x) in held.items()}, lost


def _seconds(path: Path, held: tuple[str, Floats]) -> tuple[Floats, str]:
    name, t = held
    stated = re.search(r"_(s|ms|us|ns)$|\[(s|ms|us|ns)\]", name.strip().lower())
    unit, said = time_unit(path, t - t[0], float(t[0]), (stated.group(1) or stated.group(2)) if stated else "", TYPICAL_HZ)  # fmt: skip
    seconds = (t - t[0]) * (UNIT_NS[unit] / 1e9)
    back = np.flatnonzero(np.diff(seconds) < 0)
    if len(back):
        raise DataError(f"{path}: time goes back at row {back[0] + 2}; sort the log by its clock")
    return seconds, said


def _rotation(path: Path, held: dict[str, tuple[str, Floats]], side: str, t: Floats) -> Floats:
    """Rotation of a wheel since the start; a rate is integrated, a jump of the counter refused."""
    if side not in held:
        return _integral(t, held[f"{side}_rate"][1])
    name, values = held[side]
    steps = np.abs(np.diff(values))
    usual = float(np.percentile(steps, 95)) if len(steps) else 0.0
    if usual > 0 and steps.max() > JUMP * usual:
        raise DataError(
            f"{path}: {name} jumps by {steps.max():.4g} at row {int(steps.argmax()) + 2}; the counter wrapped"
            " or rows are missing: unwrap it or cut the log there"
        )
    return np.asarray(values - values[0])


def _integral(t: Floats, rate: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(np.diff(t) * (rate[1:] + rate[:-1]) / 2)])


def _delay(path: Path, t: Floats, difference: Floats, yaw: Floats) -> float:
    """How much later the reference turns than the wheels [s], to a few milliseconds."""
    step = 0.005
    grid = np.arange(t[0] + DELAY_S, t[-1] - DELAY_S, step)
    if len(grid) < 100:
        return 0.0
    wheels = np.diff(np.interp(grid, t, difference))
    wheels = wheels - wheels.mean()
    shifts = np.arange(-DELAY_S, DELAY_S + step / 2, step)
    costs, still = [], 0.0
    for shift in shifts:
        turn = np.diff(np.interp(grid + shift, t, yaw))
        turn = turn - turn.mean()
        slope = float(wheels @ turn) / max(float(wheels @ wheels), 1e-12)
        costs.append(float(((turn - slope * wheels) ** 2).sum()))
        still = max(still, float(turn @ turn))
    k = int(np.argmin(costs))
    if k in (0, len(shifts) - 1):
        if costs[k] < EXPLAINED * still:
            raise DataError(
                f"{path}: wheels and reference turn alike, but {DELAY_S:g} s apart or more; log both by one clock"
            )
        return 0.0
    low, middle, high = costs[k - 1 : k + 2]
    return float(shifts[k] + step * 0.5 * (low - high) / max(low - 2 * middle + high, 1e-30))


def _shifts(t: Floats, place: Floats, yaw: Floats, edges: Floats) -> Floats:
    """(N, 2) motion in each window, in the sensor's frame at its start."""
    at = np.stack([np.interp(edges, t, place[:, k]) for k in (0, 1)], 1)
    heading = np.interp(edges, t, yaw)[:-1]
    step = np.diff(at, axis=0)
    c, s = np.cos(heading), np.sin(heading)
    return np.stack([c * step[:, 0] + s * step[:, 1], -s * step[:, 0] + c * step[:, 1]], 1)
