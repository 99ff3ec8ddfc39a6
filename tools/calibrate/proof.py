"""The proof drive: a square of one metre, where the wheels say the robot went and where it was.

On the twin the measured path is the truth. A robot has none on board: there the gyro's heading is
held against the wheels', and the tape measure on the floor does the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.verdict import Finding
from tools.calibrate.figures import BAD, DATA, FAINT, figure, svg
from tools.calibrate.page import Plot
from tools.calibrate.rig import Rig, Sample, TwinRig

Floats = npt.NDArray[np.float64]
SIDE_M = 1.0
SPEED_RAD_S, TURN_RAD_S = 3.6, 1.8
SLOW_M, SLOW_RAD = 0.15, 0.35  # from here on it slows down, so as to stop where it should
PLACE_M, HEADING_RAD = 0.03, 0.035


@dataclass(frozen=True)
class Proof:
    """Paths (N, 3): x, y [m], yaw [rad]; `measured` is the truth, or the gyro's heading alone."""

    predicted: Floats
    nominal: Floats
    measured: Floats
    has_truth: bool

    @property
    def place_error_m(self) -> float:
        """At the end of the drive."""
        return float(np.linalg.norm(self.predicted[-1, :2] - self.measured[-1, :2]))

    @property
    def heading_error_rad(self) -> float:
        """At the end of the drive."""
        return float(abs(np.angle(np.exp(1j * (self.predicted[-1, 2] - self.measured[-1, 2])))))


def drive_square(rig: Rig, diameter_m: float, base_over_diameter: float, right_over_left: float, gyro_bias_rad_s: float) -> Proof:  # fmt: skip
    """Drive it by the calibrated wheels; both paths from the same samples."""
    left_m = diameter_m / (1 + right_over_left)
    radii = (left_m, right_over_left * left_m)
    base_m = base_over_diameter * diameter_m
    start = rig.advance()
    truth = [_pose(rig)]
    samples = [start]
    with rig.armed():
        for _ in range(4):
            _leg(rig, samples, truth, radii, base_m, SIDE_M, 0.0)
            _leg(rig, samples, truth, radii, base_m, 0.0, np.pi / 2)
    g = rig.body.geometry
    predicted = dead_reckon(samples, radii, base_m)
    nominal = dead_reckon(samples, (g.wheel_radius_m, g.wheel_radius_m), g.track_width_m)
    if isinstance(rig, TwinRig):
        return Proof(predicted, nominal, _relative(np.array(truth)), True)
    measured = predicted.copy()
    measured[:, 2] = _gyro_yaw(samples, gyro_bias_rad_s)
    return Proof(predicted, nominal, measured, False)


def _leg(rig: Rig, samples: list[Sample], truth: list[Floats], radii: tuple[float, float], base_m: float, metres: float, turn_rad: float) -> None:  # fmt: skip
    """One side, or one corner, by the wheels; slower towards its end."""
    first = samples[-1]
    for _ in range(1500):
        done = samples[-1].position_rad[:2] - first.position_rad[:2]
        left, right = done * radii
        if metres:
            rest = metres - (left + right) / 2
            speed = SPEED_RAD_S * min(1.0, max(rest, 0.0) / SLOW_M + 0.08)
            rig.drive(speed, speed)
        else:
            rest = turn_rad - (right - left) / base_m
            speed = TURN_RAD_S * min(1.0, max(rest, 0.0) / SLOW_RAD + 0.08)
            rig.drive(-speed, speed)
        if rest <= 0.004:
            break
        samples.append(rig.advance())
        truth.append(_pose(rig))
    rig.drive(0.0, 0.0)
    for _ in range(40):
        samples.append(rig.advance())
        truth.append(_pose(rig))


def _pose(rig: Rig) -> Floats:
    return np.array(rig.twin.pose() if isinstance(rig, TwinRig) else (0.0, 0.0, 0.0))


def _relative(path: Floats) -> Floats:
    """The path from where it began, facing x."""
    x, y, yaw = path[0]
    c, s = np.cos(yaw), np.sin(yaw)
    dx, dy = path[:, 0] - x, path[:, 1] - y
    return np.stack([c * dx + s * dy, -s * dx + c * dy, np.unwrap(path[:, 2]) - yaw], 1)


def dead_reckon(samples: list[Sample], radii: tuple[float, float], base_m: float) -> Floats:
    """(N, 3) path by the wheels alone."""
    wheels = np.array([s.position_rad[:2] for s in samples])
    steps = np.diff(wheels, axis=0) * radii
    turn = (steps[:, 1] - steps[:, 0]) / base_m
    yaw = np.concatenate([[0.0], np.cumsum(turn)])
    middle = yaw[:-1] + turn / 2
    travel = steps.mean(1)
    x = np.concatenate([[0.0], np.cumsum(travel * np.cos(middle))])
    y = np.concatenate([[0.0], np.cumsum(travel * np.sin(middle))])
    return np.stack([x, y, yaw], 1)


def _gyro_yaw(samples: list[Sample], bias_rad_s: float) -> Floats:
    rate = np.array([float(np.mean(s.gyro_rad_s[:, 2])) for s in samples]) - bias_rad_s
    t = np.array([s.t_ns for s in samples], float) / 1e9
    return np.concatenate([[0.0], np.cumsum(np.diff(t) * (rate[1:] + rate[:-1]) / 2)])


def judge_proof(proof: Proof) -> list[Finding]:
    """The drive has to end where the wheels say."""
    out = []
    if proof.has_truth and proof.place_error_m > PLACE_M:
        out.append(Finding("FAIL", f"after a square of one metre the wheels are {proof.place_error_m * 1e3:.0f} mm off", "calibrate the wheels again, on the floor it will drive on"))  # fmt: skip
    if proof.heading_error_rad > HEADING_RAD:
        out.append(Finding("FAIL", f"after a square the wheels' heading is {np.degrees(proof.heading_error_rad):.1f} deg off", "calibrate imu-static and the wheels again"))  # fmt: skip
    return out


def plot_proof(proof: Proof) -> Plot:
    """The square as predicted and as measured."""
    drawn, axes = figure(6.4, 5.4)
    axes.plot(
        *proof.nominal[:, :2].T, color=FAINT, lw=1.2, ls="--", label="by the drawing's wheels"
    )
    axes.plot(*proof.predicted[:, :2].T, color=DATA, lw=1.6, label="by the calibrated wheels")
    if proof.has_truth:
        axes.plot(*proof.measured[:, :2].T, color=BAD, lw=1.0, label="measured")
    axes.plot(0, 0, "o", color="black", ms=5)
    axes.set(xlabel="x [m]", ylabel="y [m]", aspect="equal")
    axes.legend(fontsize=8)
    see = (
        f"It ended {proof.place_error_m * 1e3:.0f} mm and {np.degrees(proof.heading_error_rad):.2f} deg from where the wheels say."
        if proof.has_truth
        else f"Gyro and wheels end {np.degrees(proof.heading_error_rad):.2f} deg apart. Measure on the floor how far it is from its mark."
    )
    return Plot("Proof drive: a square of one metre", see, svg(drawn))
