"""Kalibr's files: the IMU's noise (imu.yaml) as text, in continuous units.

Kalibr, wiki "IMU Noise Model": densities are continuous; a discrete value is the density times the
root of the rate. Files that mix the two are a common cause of bad calibrations (kalibr #351, #354).
"""

from __future__ import annotations

from dataclasses import dataclass

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
    remarks: dict[str, str]
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
