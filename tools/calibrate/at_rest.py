"""What the tools for an IMU at rest share: its axes in SI units, plots, files of others."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.allan import Curve, Noise, Reading
from calibration.noise_judge import AXES, PER_SI, SI, judge_turned, unit_of
from calibration.still import Still
from calibration.verdict import Finding
from runtime.errors import ConfigError
from tools.calibrate.figures import BAD, DATA, FAINT, GOOD, figure, svg
from tools.calibrate.logs import Log

Floats = npt.NDArray[np.float64]
COLOURS = (DATA, "#b5651d", GOOD)
UNITS = {"gyro": ("rad/s", "mrad/s", "deg/s", "deg/h"), "accel": ("m/s^2", "g", "mg", "ug")}


def add_units(parser: argparse.ArgumentParser) -> None:
    """`--gyro-unit`, `--accel-unit` and `--rate`, for logs that do not say."""
    for kind, units in UNITS.items():
        parser.add_argument(f"--{kind}-unit", choices=units, help="for a log that does not say it")
    parser.add_argument("--rate", type=float, metavar="HZ", help="for a log without a time column")


def in_si(log: Log, args: argparse.Namespace) -> tuple[dict[str, Floats], list[Finding]]:
    """(N, 3) of each sensor of a log in SI units, and what is odd about their units."""
    given = {"gyro": log.gyro, "accel": log.accel}
    if log.unnamed is not None:
        level = _level(log.unnamed.xyz)
        heavy = any(abs(level / (9.80665 * PER_SI[u]) - 1) < 0.1 for u in ("m/s^2", "g", "mg"))
        given["accel" if heavy else "gyro"] = log.unnamed
    found, findings = {}, []
    for kind in (k for k, axes in given.items() if axes is not None):
        axes = log.axes(kind)
        stated = getattr(args, f"{kind}_unit") or axes.unit
        unit, odd = unit_of(kind, stated, _level(axes.xyz))
        found[kind] = axes.xyz / PER_SI[unit]
        findings += odd
    if "accel" in found:
        findings = judge_turned(log.t_s, found["accel"]) + findings
    return found, findings


def _level(xyz: Floats) -> float:
    """Length of a usual sample: gravity's even where the device was turned."""
    return float(np.median(np.linalg.norm(xyz, axis=1)))


def read_published(path: Path) -> dict[str, float]:
    """Noise densities out of a Kalibr imu.yaml or one of imu_utils: {"gyro": ..., "accel": ...}."""
    import yaml

    if not path.is_file():
        raise ConfigError(f"no file {path}; give the imu.yaml to compare with")
    text = "\n".join(x for x in path.read_text(errors="replace").splitlines() if not x.startswith("%"))  # fmt: skip
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())[:100]}") from error
    found: dict[str, float] = {}
    _walk(tree, found)
    if not found:
        raise ConfigError(f"{path} holds no gyroscope_noise_density or gyr_n; give an imu.yaml")
    return found


NAMES = {
    "gyroscope_noise_density": "gyro", "gyr_n": "gyro", "gyro_noise": "gyro",
    "accelerometer_noise_density": "accel", "acc_n": "accel", "acc_noise": "accel",
}  # fmt: skip


def _walk(tree: Any, found: dict[str, float]) -> None:
    """imu_utils nests its figures: the average over the axes comes first, and counts."""
    if not isinstance(tree, Mapping):
        return
    for key, value in tree.items():
        kind = NAMES.get(str(key))
        if kind and kind not in found:
            try:
                found[kind] = float(value)
            except (TypeError, ValueError):
                pass
        _walk(value, found)


def table(axes: tuple[Noise, ...] | list[Noise], kind: str) -> dict[str, Any]:
    """A sensor's noise as a result: lists over the axes, None where there is no such region."""
    parts = {"noise_density": "density", "bias_instability": "instability", "random_walk": "walk"}
    readings: dict[str, list[Reading | None]] = {k: [getattr(a, v) for a in axes] for k, v in parts.items()}  # fmt: skip
    unit = SI.get(kind, "the curve's unit")
    return {
        **{k: [r and r.value for r in found] for k, found in readings.items()},
        "random_walk_at_most": [a.walk_limit for a in axes],
        "units": f"noise_density {unit}/sqrt(Hz), bias_instability {unit}, random_walk {unit}/s/sqrt(Hz); continuous",
        "std": {k: [r and r.std for r in found] for k, found in readings.items()},
        "interval95": {k: [r and [r.low, r.high] for r in found] for k, found in readings.items()},
        "not_readable": sorted({f"{AXES[i]}: {why}" for i, a in enumerate(axes) for why in a.reasons.values()}),
    }  # fmt: skip


def allan_plot(
    curves: tuple[Curve, ...] | list[Curve], axes: tuple[Noise, ...] | list[Noise], unit: str
) -> str:
    """The curves with their bands, and the lines that the figures were read from."""
    drawn, axis = figure(6.4, 4.2)
    for i, (one, found) in enumerate(zip(curves, axes, strict=True)):
        share = 1 / np.sqrt(2 * one.freedom)
        axis.fill_between(one.tau_s, one.deviation * (1 - share).clip(0.05), one.deviation * (1 + share), color=COLOURS[i % 3], alpha=0.15, lw=0)  # fmt: skip
        axis.loglog(one.tau_s, one.deviation, color=COLOURS[i % 3], lw=1.4, label=AXES[i % 3])
        for reading, power, scale in ((found.density, -0.5, 1.0), (found.walk, 0.5, 3**-0.5)):
            if reading is not None:
                tau = np.array([reading.from_s, reading.to_s])
                axis.loglog(tau, reading.value * scale * tau**power, color=BAD, lw=3, alpha=0.5)
        if found.instability is not None:
            axis.plot(found.instability.from_s, np.interp(found.instability.from_s, one.tau_s, one.deviation), "o", color=BAD)  # fmt: skip
    axis.set(xlabel="averaging time [s]", ylabel=f"Allan deviation [{unit}]")
    axis.grid(which="both", color=FAINT, alpha=0.3, lw=0.5)
    axis.legend()
    return svg(drawn)


def spectrum_plot(found: Still, unit: str) -> str:
    """The spectrum of each axis; what shakes it is marked."""
    drawn, axis = figure()
    for i in range(3):
        axis.semilogy(
            found.frequency_hz[1:], found.density[1:, i], color=COLOURS[i], lw=0.9, label=AXES[i]
        )
        line = found.lines[i]
        if line is not None:
            axis.axvline(line.frequency_hz, color=BAD, lw=0.8, ls="--")
    axis.set(xlabel="frequency [Hz]", ylabel=f"density [{unit}/sqrt(Hz)]")
    axis.legend()
    return svg(drawn)


def trace_plot(t_s: Floats, xyz: Floats, found: Still, unit: str) -> str:
    """Each axis over time less its mean, in at most a thousand points; movement is marked."""
    drawn, axis = figure()
    size = max(1, len(xyz) // 1000)
    count = len(xyz) // size
    mean = (xyz - found.bias)[: count * size].reshape(count, size, 3).mean(axis=1)
    for i in range(3):
        axis.plot(t_s[: count * size : size], mean[:, i], color=COLOURS[i], lw=0.8, label=AXES[i])
    for at in found.moved_s[:50]:
        axis.axvline(at, color=BAD, lw=1.2)
    axis.set(xlabel="time [s] (red: moved)", ylabel=f"less its mean [{unit}]")
    axis.legend()
    return svg(drawn)
