"""Logs of gyros and accelerometers -> seconds and axes, checked: nothing odd passes unsaid.

Reads text (see `columns.py`) and MCAP (`logs_mcap.py`). Clocks are subtracted as integers before they
become floats; their unit is the header's, or the only one that gives a plausible rate, said in words.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibration.errors import DataError
from calibration.spikes import MANY, spike_share
from calibration.still import piece_starts
from tools.calibrate.columns import Column, Sheet, read_sheet

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

UNIT_NS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
RATES_HZ = (0.5, 20_000.0)
TYPICAL_HZ = 200.0
ENOUGH_ROWS = 50
FEW_REPEATS = 0.01  # share of rows with the stamp of the row before that is dropped and told


@dataclass(frozen=True, slots=True)
class Axes:
    """Three columns: (N, 3) values as logged, and the unit that the log states, or ``."""

    xyz: Floats
    unit: str


@dataclass(frozen=True, slots=True)
class Log:
    """A log of one or two sensors: (N,) seconds after `start_ns` on the log's own clock."""

    path: Path
    t_s: Floats
    start_ns: int
    gyro: Axes | None
    accel: Axes | None
    unnamed: Axes | None  # three axes that no header names
    notes: tuple[str, ...]
    gaps: tuple[tuple[float, float], ...]  # (start, length) [s] of missing stretches

    @property
    def rate_hz(self) -> float:
        """Samples a second, by the median period."""
        return 1 / float(np.median(np.diff(self.t_s)))

    def axes(self, kind: str) -> Axes:
        """The axes of `gyro` or `accel`; unnamed ones are taken at the word of who gave the file."""
        found = self.gyro if kind == "gyro" else self.accel
        other = self.accel if kind == "gyro" else self.gyro
        found = found or self.unnamed
        if found is not None:
            require_alive(self.path, {f"{kind} {a}": found.xyz[:, i] for i, a in enumerate("xyz")})
            return found
        held = f"only {'accel' if kind == 'gyro' else 'gyro'} axes" if other else "no axes"
        raise DataError(
            f"{self.path}: {kind} asked, {held} found; name another file or its columns"
        )


def require_alive(path: Path, columns: dict[str, Floats]) -> None:
    """DataError for columns (N,) that never change, or in which wild samples stand between others."""
    dead = [name for name, x in columns.items() if x.min() == x.max()]
    if dead:
        raise DataError(
            f"{path}: {', '.join(dead)} never changes from {columns[dead[0]][0] + 0.0:g}; find out whether"
            " the sensor answers and whether these are its columns, and record again"
        )
    wild = {name: share for name, x in columns.items() if (share := spike_share(x)) > MANY}
    if wild:
        worst = max(wild, key=lambda name: wild[name])
        raise DataError(
            f"{path}: {wild[worst]:.0%} of the samples of {worst} jump away from their neighbours and"
            " back; look for a loose cable or lost bytes, and record again"
        )


def read_log(path: Path, rate_hz: float | None = None) -> Log:
    """Read and check a log; `rate_hz` only where it has no clock. DataError says what is wrong."""
    file, topic = split_topic(path)
    if file.suffix == ".mcap":
        from tools.calibrate.logs_mcap import read_mcap

        return checked(file, *read_mcap(file, topic), ["time in ns, from its messages"])
    sheet = read_sheet(path)
    groups = _groups(sheet)
    places = [c.place for group in groups.values() for c in group]
    values = sheet.numbers(places)
    t_ns, start_ns, said = _clock(sheet, len(values), rate_hz)
    found: dict[str, Axes | None] = {"gyro": None, "accel": None, "unnamed": None}
    for i, (kind, group) in enumerate(groups.items()):
        found[kind] = Axes(values[:, 3 * i : 3 * i + 3], group[0].unit)
    if not sheet.columns and len(groups) == 2:
        found, note = _by_gravity(path, found)
        said = f"{said}; {note}"
    return checked(path, t_ns, start_ns, found, [said])


def split_topic(path: Path) -> tuple[Path, str]:
    """`F.mcap:TOPIC` -> the file and the topic among several; others as they are."""
    name, colon, topic = str(path).partition(".mcap:")
    return (Path(f"{name}.mcap"), topic.strip("/").replace("/", ".")) if colon else (path, "")


def _groups(sheet: Sheet) -> dict[str, list[Column]]:
    """Which columns are whose axes."""
    groups = {k: sheet.of(k)[:3] for k in ("gyro", "accel")}
    groups = {k: g for k, g in groups.items() if [c.axis for c in g] == [0, 1, 2]}
    if groups:
        return groups
    clock = 1 if _has_clock(sheet) else 0
    places = range(clock, sheet.width)
    named = [c for c in sheet.columns if c.kind != "time"]
    loose = named or [Column(p, "", 0, "", "") for p in places]
    if len(loose) == 3:
        return {"unnamed": loose}
    if len(loose) == 6 and not named:
        return {"gyro": loose[:3], "accel": loose[3:]}
    header = ", ".join(c.name for c in sheet.columns) or f"{sheet.width} columns without a header"
    raise DataError(
        f"{sheet.path}: expected axes named like gyro_x or a_RS_S_x, or plain columns t, x, y, z;"
        f" found {header}; name the columns in a first line"
    )


def _has_clock(sheet: Sheet) -> bool:
    return bool(sheet.of("time")) if sheet.columns else sheet.width in (4, 7)


def _by_gravity(path: Path, found: dict[str, Axes | None]) -> tuple[dict[str, Axes | None], str]:
    """Six columns without a header: the accelerometer is the one with a constant length."""
    spread = {}
    for kind in ("gyro", "accel"):
        axes = found[kind]
        assert axes is not None
        length = np.linalg.norm(axes.xyz, axis=1)
        spread[kind] = float(np.nanstd(length) / max(float(np.nanmean(length)), 1e-300))
    steady = min(spread, key=lambda k: spread[k])
    other = "gyro" if steady == "accel" else "accel"
    if spread[steady] * 3 > spread[other]:
        raise DataError(
            f"{path}: six columns without a header, and neither half shows gravity clearly;"
            " name the columns in a first line (t, gyro_x, ..., accel_z)"
        )
    named = {"accel": found[steady], "gyro": found[other], "unnamed": None}
    order = "gyro first" if steady == "accel" else "accelerometer first"
    return named, f"six columns without a header: {order}, by the length that gravity keeps"


def _clock(sheet: Sheet, rows: int, rate_hz: float | None) -> tuple[Ints, int, str]:
    """(N,) ns after the first stamp, the first stamp [ns], and how the clock was read."""
    if not _has_clock(sheet):
        if rate_hz is None:
            raise DataError(f"{sheet.path}: no time column; give --rate HZ, or a log with one")
        return _counted(rows, rate_hz), 0, f"no time column: {rate_hz:g} Hz as given"
    columns = sheet.of("time")
    exact = [c for c in columns if "stamp" in c.name.lower()]
    parts = {c.name.lower().rsplit(".", 1)[-1]: c for c in exact}
    if "secs" in parts and "nsecs" in parts:  # ROS 1 exports the stamp in two columns
        pair = sheet.numbers([parts["secs"].place, parts["nsecs"].place])
        start_ns = int(pair[0, 0]) * 10**9 + int(pair[0, 1])
        after = (pair - pair[0]).astype(np.int64)
        return after[:, 0] * 10**9 + after[:, 1], start_ns, "time in s and ns, says the header"
    use = (exact or columns or [Column(0, "time", 0, "", "")])[0]
    ticks, scale = sheet.ticks(use.place)
    first = sheet.first(use.place)
    if scale == 1 and len(ticks) > 2 and bool((np.diff(ticks) == 1).all()):
        if rate_hz is None:
            raise DataError(
                f"{sheet.path}: its first column counts rows and is no clock; give --rate HZ"
            )
        return _counted(rows, rate_hz), 0, f"rows are counted: {rate_hz:g} Hz as given"
    unit, said = time_unit(sheet.path, ticks / scale, first, use.unit)
    t_ns = ticks * UNIT_NS[unit] if scale == 1 else np.round(ticks * (UNIT_NS[unit] / scale))
    return t_ns.astype(np.int64), int(first * UNIT_NS[unit]), said


def _counted(rows: int, rate_hz: float) -> Ints:
    return np.round(np.arange(rows) * (1e9 / rate_hz)).astype(np.int64)


def time_unit(path: Path, after: Floats, first: float, stated: str, typical_hz: float = TYPICAL_HZ) -> tuple[str, str]:  # fmt: skip
    """The unit of a clock, and how it was found; `after` (N,) since the first stamp, in that unit.

    Without a header: the size of an epoch stamp tells; else the unit whose rate is nearest to `typical_hz`, an IMU's.
    """
    steps = np.diff(after)
    period = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    if period <= 0:
        how = "runs backwards" if (steps < 0).any() else "does not move"
        raise DataError(f"{path}: the time column {how}; is the first column a clock? Export the log in order of time")  # fmt: skip
    rates = {unit: 1e9 / (period * ns) for unit, ns in UNIT_NS.items()}
    likely = [u for u, hz in rates.items() if RATES_HZ[0] <= hz <= RATES_HZ[1]]
    if stated:
        if stated not in likely:
            better = ", ".join(f"{u} would be {rates[u]:.4g} Hz" for u in likely)
            raise DataError(
                f"{path}: the header says time in {stated}, which is {rates[stated]:.3g} Hz"
                f" ({better or 'no unit gives a plausible rate'}); correct the header's unit"
            )
        return stated, f"time in {stated}, says the header: {rates[stated]:.4g} Hz"
    if not likely:
        raise DataError(
            f"{path}: steps of {period:g} in its first column are no IMU's clock in s, ms, us or ns;"
            " give a log with a time column"
        )
    epoch = [u for u, ns in UNIT_NS.items() if 1e18 < first * ns < 3e18 and u in likely]
    unit = (epoch or sorted(likely, key=lambda u: abs(np.log(rates[u] / typical_hz))))[0]
    return unit, f"time taken for {unit}, by its rate: {rates[unit]:.4g} Hz (no unit in the header)"


def checked(
    path: Path, t_ns: Ints, start_ns: int, found: dict[str, Axes | None], notes: list[str]
) -> Log:
    """A log whose rows are finite and in order; DataError where too much is wrong to go on."""
    for kind, axes in found.items():
        bad = [] if axes is None else np.flatnonzero(~np.isfinite(axes.xyz).all(axis=1)).tolist()
        if bad:
            raise DataError(
                f"{path}: {len(bad)} of {len(t_ns)} {kind} rows are not finite, the first is row"
                f" {bad[0] + 1}; find why the recorder lost them and record again"
            )
    steps = np.diff(t_ns)
    if (steps < 0).any():
        row = int(np.argmax(steps < 0)) + 2
        raise DataError(
            f"{path}: time goes back by {-steps[row - 2] / 1e9:.3g} s at row {row}"
            f" ({int((steps < 0).sum())} times); use the sensor's stamps, not arrival times, in order"
        )
    keep = np.concatenate(([True], steps > 0))
    repeats = int((~keep).sum())
    if repeats > FEW_REPEATS * len(keep):
        raise DataError(
            f"{path}: {repeats} of {len(keep)} rows repeat the stamp before; the clock is too coarse"
            " or rows are doubled: log the sensor's own stamps"
        )
    if repeats:
        notes = [*notes, f"{repeats} rows with a repeated stamp dropped"]
    t_s = t_ns[keep] / 1e9
    if len(t_s) < ENOUGH_ROWS:
        raise DataError(f"{path}: {len(t_s)} rows, at least {ENOUGH_ROWS} needed; record longer")
    sensors = {k: None if a is None else Axes(a.xyz[keep], a.unit) for k, a in found.items()}
    gaps = _gaps(t_s)
    if gaps:
        lost = sum(length for _, length in gaps)
        notes = [*notes, f"{len(gaps)} gaps, {lost:.3g} s missing, the first at {gaps[0][0]:.1f} s"]
    return Log(path=path, t_s=t_s, start_ns=start_ns, notes=tuple(notes), gaps=gaps, **sensors)


def _gaps(t_s: Floats) -> tuple[tuple[float, float], ...]:
    return tuple((float(t_s[i - 1]), float(t_s[i] - t_s[i - 1])) for i in piece_starts(t_s))
