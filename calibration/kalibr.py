"""Kalibr's imu.yaml, and the same figures in EuRoC's sensor.yaml of an IMU: continuous densities.

Kalibr, wiki "IMU Noise Model": densities are continuous; a discrete value is the density times the
root of the rate. Files that mix the two are a common cause of bad calibrations (kalibr #351, #354).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from calibration.errors import DataError

DENSITY_UNITS = {
    "accelerometer_noise_density": "m/s^2/sqrt(Hz)",
    "accelerometer_random_walk": "m/s^3/sqrt(Hz)",
    "gyroscope_noise_density": "rad/s/sqrt(Hz)",
    "gyroscope_random_walk": "rad/s^2/sqrt(Hz)",
}


@dataclass(frozen=True, slots=True)
class ImuNoise:
    """Kalibr's four figures, continuous, the worst axis of each; None where not measured."""

    values: dict[str, float | None]  # by the names of DENSITY_UNITS
    rate_hz: float
    remarks: dict[str, str] = field(default_factory=dict)
    topic: str = "/imu0"


def imu_yaml(noise: ImuNoise) -> str:
    """The text of an imu.yaml that Kalibr reads; discrete values stand in comments alone."""
    lines = ["# Continuous-time noise, worst axis; discrete = density x sqrt(update_rate)."]
    root = noise.rate_hz**0.5
    for name, unit in DENSITY_UNITS.items():
        value, remark = noise.values.get(name), noise.remarks.get(name, "")
        note = f"; {remark}" if remark else ""
        if value is None:
            lines.append(f"# {name}: not measured{note}")
            continue
        discrete = value * root if name.endswith("density") else value / root
        lines.append(f"{name}: {value:.6e}  # {unit}; discrete {discrete:.6e}{note}")
    return "\n".join([*lines, f"rostopic: {noise.topic}", f"update_rate: {noise.rate_hz:.6g}", ""])


def from_imu_yaml(tree: dict[str, Any]) -> ImuNoise:
    """Of Kalibr's imu.yaml or EuRoC's sensor.yaml of an IMU; figures that are absent are None."""
    rate = tree.get("update_rate", tree.get("rate_hz"))
    if rate is None or not float(rate) > 0:
        raise DataError("no update_rate (Kalibr) or rate_hz (EuRoC) in this imu.yaml")
    values = {n: float(tree[n]) if tree.get(n) is not None else None for n in DENSITY_UNITS}
    return ImuNoise(values, float(rate), topic=str(tree.get("rostopic", "/imu0")))
