"""The calibration tools: who runs each, how long it takes, how long it holds. The one place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Tool:
    """One row: `where` is factory, field or automatic; `due_days` 0: does not age."""

    name: str
    where: str
    minutes: float
    due_days: int
    what: str
    headline: tuple[str, ...]  # quality keys that `status` shows
    device: str  # camera | mcu: whose serial the record carries

    @property
    def help(self) -> str:
        """One line for the command's help."""
        return f"{self.what}: {self.where}, {self.minutes:g} min"


TOOLS = {
    tool.name: tool
    for tool in (
        Tool("target", "field", 2, 0, "a board to print, and its true size", (), "camera"),
        Tool("camera", "field", 3, 180, "the lens", ("held_out_px", "rms_px"), "camera"),
        Tool("camera-quick", "field", 0.5, 30, "has the lens moved since", ("drift_px",), "camera"),
        Tool("imu-static", "field", 1, 30, "IMU bias and noise, standing still", ("length_s", "rate_hz"), "mcu"),
        Tool("imu-multi", "factory", 10, 365, "IMU scale, axes and bias from many poses", ("held_out_g_m_s2", "gyro_deg_per_move"), "mcu"),
        Tool("imu-allan", "factory", 240, 0, "IMU noise over hours", (), "mcu"),
        Tool("cam-imu", "field", 1, 180, "rotation and time between camera and IMU", ("correlation", "halves_rotation_apart_deg"), "camera"),
        Tool("motor", "field", 2, 365, "zero, travel, backlash, delay and gain of each joint", ("travel_error_percent",), "mcu"),
        Tool("wheels", "field", 3, 180, "wheel ratio and base over diameter", ("heading_held_out_deg",), "mcu"),
        Tool("latency", "field", 0.5, 180, "command to encoder to gyro to image, each delay", ("std_ms", "correlation"), "mcu"),
        Tool("head", "field", 2, 365, "where the camera sits on the head", ("held_out_px", "std_mm", "std_deg"), "camera"),
    )
}  # fmt: skip
RECORDED = tuple(t for t in TOOLS if t not in ("target", "camera-quick"))  # these install something


def age_of(date: str, wall_ns: int) -> float:
    """Days from an ISO 8601 date to now [ns since 1970]; ValueError where it is no date."""
    then = datetime.fromisoformat(date.replace("Z", "+00:00"))
    return (wall_ns / 1e9 - then.timestamp()) / 86_400


def quality_line(tool: Tool, quality: dict[str, object]) -> str:
    """The figures of a record worth a line."""
    shown = [f"{k} {quality[k]:.3g}" for k in tool.headline if isinstance(quality.get(k), (int, float))]  # fmt: skip
    return ", ".join(shown)
