"""The named conditions of engaging: all shown at once, each with what to do."""

from __future__ import annotations

from enum import IntFlag


class Condition(IntFlag):
    """A set bit means the condition is met."""

    LINK = 1
    FIRMWARE = 2
    SENSORS = 4
    BELIEF = 8
    BUNDLE = 16
    CALIBRATED = 32
    SURPRISE = 64
    STOP_INPUT = 128
    OPERATOR = 256
    TEMPERATURE = 512
    MEMORY = 1024
    DISK = 2048
    BATTERY = 4096
    CAMERA = 8192
    MIND = 16384


ALL = Condition(0)
for _condition in Condition:
    ALL |= _condition

# Conditions the mind checks outside the loop; the controller checks the others.
MIND_CHECKS = Condition.TEMPERATURE | Condition.MEMORY | Condition.DISK | Condition.BATTERY

# What the model says of the world, and what is kept of the run, is nothing to who looks and drives.
NOT_FOR_HANDS = Condition.BELIEF | Condition.SURPRISE | Condition.DISK

CONDITIONS: dict[Condition, tuple[str, str]] = {
    Condition.LINK: ("link good", "check the motor controller's cable and power"),
    Condition.FIRMWARE: ("firmware matches", "end this run, then `companion flash`"),
    Condition.SENSORS: ("sensors fresh", "check the motor controller's cable"),
    Condition.BELIEF: ("world model running", "wait for the first frames; else see the log"),
    Condition.BUNDLE: ("bundle matches", "install a bundle for this body"),
    Condition.CALIBRATED: ("calibrated", "run the calibration of the named device"),
    Condition.SURPRISE: ("surprise low", "wait, or move the robot to a known place"),
    Condition.STOP_INPUT: ("stop input closed", "release the stop button or connect it"),
    Condition.OPERATOR: ("operator present", "open the page"),
    Condition.TEMPERATURE: ("temperature", "let the computer cool"),
    Condition.MEMORY: ("memory", "stop other programs"),
    Condition.DISK: ("disk", "delete old logs"),
    Condition.BATTERY: ("battery", "charge the robot"),
    Condition.CAMERA: ("motors allowed with this camera", "a recording has no body: choose a live camera"),
    Condition.MIND: ("mind running", "see the mind process in the log"),
}  # fmt: skip


def missing(bits: int) -> list[str]:
    """Names of the conditions that are not met."""
    return [name for flag, (name, _) in CONDITIONS.items() if not bits & flag]
