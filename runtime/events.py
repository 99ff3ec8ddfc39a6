"""The one table of events: effect, the operator's sentence, the fix."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum


class Effect(Enum):
    """What an event does to the mode machine."""

    NOTE = "note"  # told, nothing more
    SLOW = "slow"  # speed caps go down
    HOLD = "hold"  # motion pauses and goes on when the cause has gone
    STOP = "stop"  # latched until an operator re-arms
    FAULT = "fault"  # latched, and the cause must have gone


class Event(IntEnum):
    """Every event a part may raise; the number is what channels carry."""

    NONE = 0
    STARTED = 1
    ENGAGED = 2
    DISENGAGED = 3
    OPERATOR_STOP = 4
    REARMED = 5
    TELEOP = 6
    LINK_LOST = 7
    LINK_READY = 8
    FIRMWARE_MISMATCH = 9
    SENSORS_STALE = 10
    BELIEF_STALE = 11
    INTENT_STALE = 12
    MCU_STOP = 13
    CAMERA_DARK = 14
    CAMERA_FROZEN = 15
    SLIP = 16
    DIVERGENCE = 17
    IMAGE_SURPRISE = 18
    IMU_SURPRISE = 19
    RARE_STATE = 20
    PROCESS_DIED = 21
    PROCESS_BACK = 22
    PLANNER_LOST = 23
    PLANNER_BACK = 24
    PLAN_REJECTED = 25
    PLAN_STARTED = 26
    PLAN_DONE = 27
    END_OF_RECORDING = 28
    BATTERY_LOW = 29
    MEMORY_LOW = 30
    DISK_LOW = 31
    TOO_HOT = 32
    OPERATOR_GONE = 33
    SKILL_CHANGED = 34
    RUN_ENDED = 35
    CONTROLLER_FAILED = 36
    NO_FIFO = 37
    BACKEND_FALLBACK = 38
    RECORDER_MISSED = 39
    CAMERA_LOST = 40
    BAD_NUMBERS = 41
    DISARMED = 42
    MCU_SAYS = 43
    DRIVE_SURPRISE = 44
    VIBRATION = 45
    CALIBRATION_DRIFT = 46
    WATCH_UNKEPT = 47
    UNCALIBRATED = 48
    OUT_OF_SIGHT = 49
    SOMEBODY = 50
    NOT_ARMED = 51
    HOLD_ENDED = 52
    PLAN_ENDED = 53
    FORESIGHT_OFF = 54
    RECORDING_OFF = 55
    SKILL_REFUSED = 56


@dataclass(frozen=True, slots=True)
class Row:
    """Effect, the operator's sentence ({0}, {1}, {text} from the record) and what to do."""

    effect: Effect
    sentence: str
    fix: str = ""


E, R = Effect, Row
EVENTS: dict[Event, Row] = {
    Event.NONE: R(E.NOTE, ""),
    Event.STARTED: R(E.NOTE, "the run started on {text}"),
    Event.ENGAGED: R(E.NOTE, "engaged: {text} drives"),
    Event.DISENGAGED: R(E.NOTE, "disengaged: motors parked"),
    Event.OPERATOR_STOP: R(E.STOP, "STOP was pressed", "look around, then hold re-arm for 2 s"),
    Event.REARMED: R(E.NOTE, "re-armed by the operator"),
    Event.TELEOP: R(E.NOTE, "driven by hand"),
    Event.LINK_LOST: R(E.HOLD, "the motor controller is silent", "check cable and power"),
    Event.LINK_READY: R(E.NOTE, "motor controller ready, round trip {0:.0f} us"),
    Event.FIRMWARE_MISMATCH: R(E.FAULT, "firmware and host differ: {text}", "end this run, then `companion flash`"),
    Event.SENSORS_STALE: R(E.HOLD, "wheel and IMU data are {0:.2f} s old", "check the motor controller's cable"),
    Event.BELIEF_STALE: R(E.HOLD, "the world model is {0:.2f} s behind", "see the perception process and its camera"),
    Event.INTENT_STALE: R(E.HOLD, "the mind is silent", "see the mind process in the log"),
    Event.MCU_STOP: R(E.STOP, "the motor controller stopped the motors: {text}", "remove the cause, then re-arm"),
    Event.CAMERA_DARK: R(E.HOLD, "the camera sees nothing (brightness {0:.3f})", "uncover the camera or switch on a light"),
    Event.CAMERA_FROZEN: R(E.HOLD, "the camera repeats the same picture", "check the camera's cable"),
    Event.SLIP: R(E.HOLD, "wheels and gyro disagree by {0:.2f} rad/s", "is a wheel in the air or slipping?"),
    Event.DIVERGENCE: R(E.SLOW, "the world is not as expected ({0:.1f} nats)", "goes away as the model adapts; else drive by hand"),
    Event.IMAGE_SURPRISE: R(E.SLOW, "the picture is not as expected ({0:.4f})", "goes away as the model adapts"),
    Event.IMU_SURPRISE: R(E.SLOW, "the motion felt is not as expected ({0:.2f})", "was the robot pushed or lifted?"),
    Event.DRIVE_SURPRISE: R(E.SLOW, "the wheels do not turn as they were told (off by {0:.0%} of full speed)", "is something pushing, or in the wheels?"),
    Event.VIBRATION: R(E.SLOW, "knocks or shaking of {0:.1f} m/s^2", "is the floor slippery or uneven, or did it hit something?"),
    Event.RARE_STATE: R(E.SLOW, "a situation the model has hardly seen ({0:.2f})", "drive by hand to a known place"),
    Event.PROCESS_DIED: R(E.HOLD, "the process {text} died", "it is restarted; see the log"),
    Event.PROCESS_BACK: R(E.NOTE, "the process {text} is back"),
    Event.PLANNER_LOST: R(E.NOTE, "the planner is gone: the skill is finished, then idle", "start `companion planner serve`"),
    Event.PLANNER_BACK: R(E.NOTE, "the planner answers"),
    Event.PLAN_REJECTED: R(E.NOTE, "a plan was refused: {text}"),
    Event.PLAN_STARTED: R(E.NOTE, "a plan of {0:.0f} steps starts: {text}"),
    Event.PLAN_DONE: R(E.NOTE, "the plan is done: {text}"),
    Event.PLAN_ENDED: R(E.NOTE, "the plan ends here: {text}", "choose a skill, or start the run again with its goal"),
    Event.END_OF_RECORDING: R(E.NOTE, "the recording has ended"),
    Event.BATTERY_LOW: R(E.HOLD, "the battery is at {0:.1f} V", "charge the robot"),
    Event.MEMORY_LOW: R(E.HOLD, "only {0:.0f} MB of memory are free", "stop other programs"),
    Event.DISK_LOW: R(E.NOTE, "only {0:.0f} MB of disk are free: recording may end", "delete old logs"),
    Event.TOO_HOT: R(E.HOLD, "the computer is at {0:.0f} C", "let it cool"),
    Event.OPERATOR_GONE: R(E.HOLD, "no operator is watching", "open the page or connect the gamepad"),
    Event.SKILL_CHANGED: R(E.NOTE, "skill {text}"),
    Event.SKILL_REFUSED: R(E.NOTE, "{text} is not possible: its place was lost when the mind was restarted", "choose another skill"),
    Event.RUN_ENDED: R(E.NOTE, "the run ended: {text}"),
    Event.CONTROLLER_FAILED: R(E.FAULT, "the control loop failed: {text}", "send the log to the developers"),
    Event.NO_FIFO: R(E.NOTE, "real-time priority is not allowed here: ticks may be late", "allow LimitRTPRIO for this user"),
    Event.BACKEND_FALLBACK: R(E.SLOW, "{text}", "see `companion doctor`"),
    Event.FORESIGHT_OFF: R(E.NOTE, "{text}", "the policy drives alone"),
    Event.RECORDING_OFF: R(E.NOTE, "{text}", "delete old logs, then start the run again"),
    Event.RECORDER_MISSED: R(E.NOTE, "the recorder missed {0:.0f} records"),
    Event.CAMERA_LOST: R(E.HOLD, "the camera gives no frames", "check the camera's cable"),
    Event.BAD_NUMBERS: R(E.HOLD, "the model gave numbers that are not finite", "reload the bundle; send the log"),
    Event.DISARMED: R(E.NOTE, "motors stay disarmed: {text}"),
    Event.MCU_SAYS: R(E.NOTE, "the motor controller says: {text}"),
    Event.CALIBRATION_DRIFT: R(E.SLOW, "a calibration has drifted: {text}", "nothing is changed by itself; `companion calibrate status` tells all"),
    Event.WATCH_UNKEPT: R(E.NOTE, "what the calibration watch learnt cannot be kept: {text}"),
    Event.UNCALIBRATED: R(E.NOTE, "calibration not used: {text}"),
    Event.OUT_OF_SIGHT: R(E.NOTE, "the person is out of sight: it looks for them"),
    Event.SOMEBODY: R(E.NOTE, "the person in {text} is meant"),
    Event.NOT_ARMED: R(E.NOTE, "the motor controller does not switch the motors on ({text}): disengaged", "remove what it names, then engage again"),
    Event.HOLD_ENDED: R(E.NOTE, "it paused for {0:.0f} s and does not go on by itself", "engage again"),
}  # fmt: skip

# Which event each surprise channel raises.
SURPRISE_EVENTS = {
    "divergence": Event.DIVERGENCE,
    "image_error": Event.IMAGE_SURPRISE,
    "imu_error": Event.IMU_SURPRISE,
    "odometry": Event.SLIP,
    "drive": Event.DRIVE_SURPRISE,
    "vibration": Event.VIBRATION,
    "rarity": Event.RARE_STATE,
    "frozen": Event.CAMERA_FROZEN,
    "dark": Event.CAMERA_DARK,
}


def sentence(event: Event, values: tuple[float, float] = (0.0, 0.0), text: str = "") -> str:
    """The operator's sentence of one raised event."""
    row = EVENTS[event]
    said = row.sentence.format(*values, text=text)
    return f"{said} ({row.fix})" if row.fix else said
