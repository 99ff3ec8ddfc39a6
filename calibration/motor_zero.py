"""LeRobot's motor calibration (read only): ids, homing offsets and ranges, with its known traps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from calibration.errors import DataError

TICKS = 4096  # of a turn of the usual bus servos
KEYS = ("id", "drive_mode", "homing_offset", "range_min", "range_max")


@dataclass(frozen=True, slots=True)
class Motor:
    """One motor: what LeRobot stores, and what its sweep says about it."""

    name: str
    identity: int
    inverted: bool
    homing_offset: int  # ticks
    range_min: int  # ticks
    range_max: int
    doubts: tuple[str, ...]


def from_lerobot(tree: dict[str, Any]) -> list[Motor]:
    """A calibration JSON's motors; DataError names what is missing."""
    if not isinstance(tree, dict) or not tree:
        raise DataError("no motors in this file; a calibration JSON of LeRobot expected")
    motors = []
    for name, part in tree.items():
        missing = [k for k in KEYS if not isinstance(part, dict) or k not in part]
        if missing:
            raise DataError(
                f"motor {name}: no {', '.join(missing)}; a calibration JSON of LeRobot expected"
            )
        low, high, offset = (
            int(part["range_min"]),
            int(part["range_max"]),
            int(part["homing_offset"]),
        )
        motors.append(Motor(name, int(part["id"]), bool(part["drive_mode"]), offset, low, high, _doubts(low, high, offset)))  # fmt: skip
    return motors


def _doubts(low: int, high: int, offset: int) -> tuple[str, ...]:
    """Its sweep keeps plain smallest and largest ticks: a wrap inside looks like a whole turn."""
    out = []
    if low >= high:
        out.append(f"range {low} to {high} is empty: the motor was not moved in the sweep")
    elif high - low >= TICKS - 16:
        out.append(f"range {low} to {high} is a whole turn: the sweep went over the encoder's zero")
    if abs(offset) > TICKS // 2 - 1:
        out.append(
            f"homing offset {offset} is larger than {TICKS // 2 - 1}, which the motor cannot hold"
        )
    return tuple(out)
